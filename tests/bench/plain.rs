//! A connection that waits: for loads where one thing happens after the other, and messages are of any size.
//!
//! Used by `scale/`. `client.rs` is the one that never waits and takes part in a crowd.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::client::{ACCEPT, KEY};
use crate::frame;

/// A connection after its handshake.
pub(crate) struct Plain {
    stream: BufReader<TcpStream>,
    unsent: Vec<u8>,
}

impl Plain {
    /// Connects to a path, with a receive buffer of so many bytes, or the usual one.
    pub(crate) fn connect(
        address: SocketAddr,
        path: &str,
        receive: Option<usize>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if let Some(bytes) = receive {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect_timeout(&address.into(), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut stream = BufReader::with_capacity(READ, stream);
        let mut accepted = false;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            accepted |= line.trim_end().ends_with(ACCEPT);
            match line.trim_end() {
                "" if accepted => break,
                "" => return Err(io::Error::other("the handshake was refused")),
                _ => {}
            }
        }
        Ok(Self {
            stream,
            unsent: Vec::new(),
        })
    }

    /// Frames a text message; `send` sends it.
    pub(crate) fn put(&mut self, payload: &[u8]) {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        match u16::try_from(payload.len()) {
            Ok(_) => frame::write_header(frame::TEXT, payload.len(), Some(key), &mut self.unsent),
            Err(_) => {
                self.unsent.extend_from_slice(&[frame::TEXT, 0x80 | 127]);
                self.unsent
                    .extend_from_slice(&(payload.len() as u64).to_be_bytes());
                self.unsent.extend_from_slice(&key);
            }
        }
        let start = self.unsent.len();
        self.unsent.extend_from_slice(payload);
        frame::mask(&mut self.unsent[start..], key);
    }

    /// Sends what was framed.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let sent = self.stream.get_mut().write_all(&self.unsent);
        self.unsent.clear();
        sent
    }

    /// Waits for the next message and gives its payload; a ping is answered meanwhile.
    pub(crate) fn receive(&mut self, payload: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.stream.read_exact(&mut length)?;
                    u64::from(u16::from_be_bytes(length))
                }
                127 => {
                    let mut length = [0; 8];
                    self.stream.read_exact(&mut length)?;
                    u64::from_be_bytes(length)
                }
                short => u64::from(short),
            };
            payload.clear();
            let read = (&mut self.stream).take(length).read_to_end(payload)?;
            match head[0] {
                frame::TEXT if read as u64 == length => return Ok(()),
                frame::PING => {
                    let key = [0; 4];
                    frame::write_header(frame::PONG, payload.len(), Some(key), &mut self.unsent);
                    self.unsent.extend_from_slice(payload);
                    self.send()?;
                }
                frame::PONG => {}
                first => {
                    return Err(io::Error::other(format!(
                        "a frame that begins with {first:#04x}"
                    )));
                }
            }
        }
    }
}

const READ: usize = 65_536;
const PATIENCE: Duration = Duration::from_secs(10);
