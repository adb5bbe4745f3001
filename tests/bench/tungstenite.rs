//! A server over tokio-tungstenite, as somebody would write it who knows tokio: a peer of the benchmark.
//!
//! One current-thread runtime, a task for each connection, a tokio broadcast channel for each path. A task reads all that is
//! there before it writes, and flushes once for all that waits, so messages share writes as far as this library lets them.
//! Whoever falls 1,024 messages behind is let go. Sizes of buffers are the library's defaults.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::sys;

type Channels = Rc<RefCell<HashMap<String, Sender<Message>>>>;

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    sys::raise_open_files()?;
    let runtime = LocalRuntime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let channels = Channels::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let channels = Rc::clone(&channels);
            tokio::task::spawn_local(async move {
                // Whoever breaks the protocol or goes is gone; the others do not hear of it.
                let _gone = converse(stream, &channels).await;
            });
        }
    })
}

async fn converse(stream: TcpStream, channels: &Channels) -> Result<(), Error> {
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own signature")]
    let note_path = |request: &Request, response: Response| {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let socket = accept_hdr_async(stream, note_path).await?;
    let sender = channels
        .borrow_mut()
        .entry(path.clone())
        .or_insert_with(|| broadcast::channel(BEHIND_MAX).0)
        .clone();
    let carried = carry(socket, &sender, sender.subscribe()).await;
    // The last one closes the channel.
    if sender.receiver_count() == 0 {
        channels.borrow_mut().remove(&path);
    }
    carried
}

async fn carry(
    mut socket: WebSocketStream<TcpStream>,
    sender: &Sender<Message>,
    mut receiver: Receiver<Message>,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            biased;
            incoming = socket.next() => match incoming {
                Some(message) => {
                    let message = message?;
                    if message.is_text() || message.is_binary() {
                        // Fails only without receivers, and this task is one.
                        let _count = sender.send(message);
                    }
                }
                None => return Ok(()),
            },
            outgoing = receiver.recv() => {
                let Ok(message) = outgoing else { return Ok(()) };
                socket.feed(message).await?;
                loop {
                    match receiver.try_recv() {
                        Ok(message) => socket.feed(message).await?,
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return Ok(()),
                    }
                }
                socket.flush().await?;
            }
        }
    }
}

const BEHIND_MAX: usize = 1_024;
