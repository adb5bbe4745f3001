//! A second opinion: tungstenite's client at the other end.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::client::{IntoClientRequest, client as connect};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Dice, LIMITS, feed, start};
use crate::types::{Close, Kind, Payload};
use crate::wire::frame::{Opcode, encode, encode_control};
use crate::wire::{Event, Frame, ServerFrames, Session, close, handshake};

/// Two directions in memory; an empty one would block.
#[derive(Default)]
struct Pipe {
    to_client: Vec<u8>,
    to_server: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_client.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = buffer.len().min(self.to_client.len());
        buffer[..n].copy_from_slice(&self.to_client[..n]);
        self.to_client.drain(..n);
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.to_server.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe whose server answers a handshake as soon as it is complete.
struct Answering(Pipe);

impl Read for Answering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some((upgrade, size)) = handshake::parse(&self.0.to_server).unwrap() {
            self.0.to_server.drain(..size);
            handshake::accept(&upgrade, Some("wsd.v1"), None, &mut self.0.to_client);
            encode(Kind::Text, b"welcome", &mut self.0.to_client);
        }
        self.0.read(buffer)
    }
}

impl Write for Answering {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn client() -> WebSocket<Pipe> {
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    WebSocket::from_raw_socket(Pipe::default(), Role::Client, Some(config))
}

fn would_block<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock)
}

/// What the session makes of what the client has written.
fn events(session: &mut Session, client: &mut WebSocket<Pipe>, dice: &mut Dice) -> Vec<Event> {
    let written = std::mem::take(&mut client.get_mut().to_server);
    let largest = 1 + dice.below(written.len().max(1));
    let sizes: Vec<usize> = (0..written.len().min(200))
        .map(|_| dice.below(largest))
        .collect();
    feed(session, &written, sizes)
}

#[test]
fn its_handshake_is_answered_to_its_content() {
    let mut request = "ws://example.com/a?b".into_client_request().unwrap();
    request
        .headers_mut()
        .append("Sec-WebSocket-Protocol", "chat, wsd.v1".parse().unwrap());
    let (mut client, response) = connect(request, Answering(Pipe::default())).unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "wsd.v1");
    assert_eq!(client.read().unwrap(), Message::text("welcome"));
}

#[test]
fn what_its_client_writes_is_what_the_session_reads() {
    let mut dice = Dice(3);
    let (mut client, mut session) = (client(), Session::new(start(), LIMITS));
    for round in 0..400 {
        let len = [0, 1, 60, 125, 126, 4000, 65_535, 65_536][round % 8];
        let data = dice.bytes(len);
        let text: String = data.iter().map(|&b| char::from(b)).take(len / 2).collect();
        client.write(Message::binary(data.clone())).unwrap();
        client.write(Message::text(text.clone())).unwrap();
        client.flush().unwrap();
        let data = Payload {
            kind: Kind::Binary,
            data: Bytes::from(data),
        };
        let expected = [Event::Message(data), Event::Message(Payload::text(text))];
        assert_eq!(events(&mut session, &mut client, &mut dice), expected);
    }
}

#[test]
fn what_is_encoded_is_what_its_client_and_our_own_reader_read() {
    let mut dice = Dice(4);
    let mut client = client();
    let (mut frames, mut input) = (ServerFrames::new(), BytesMut::new());
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let data = dice.bytes(len);
        let text = "é".repeat(len / 2);
        let mut out = Vec::new();
        encode(Kind::Binary, &data, &mut out);
        out.extend(encode_control(Opcode::Ping, b"are you there"));
        encode(Kind::Text, text.as_bytes(), &mut out);
        client.get_mut().to_client.extend_from_slice(&out);
        assert_eq!(client.read().unwrap(), Message::binary(data.clone()));
        assert_eq!(
            client.read().unwrap(),
            Message::Ping(Bytes::from_static(b"are you there"))
        );
        assert_eq!(client.read().unwrap(), Message::text(text.clone()));

        let mut read = Vec::new();
        let (mut rest, step) = (&out[..], 1 + dice.below(out.len()));
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(step.min(rest.len()));
            rest = after;
            input.extend_from_slice(piece);
            read.extend(std::iter::from_fn(|| frames.receive(&mut input)));
        }
        let data = Payload {
            kind: Kind::Binary,
            data: Bytes::from(data),
        };
        let ping = Frame::Ping(Bytes::from_static(b"are you there"));
        let text = Frame::Message(Payload::text(text));
        assert_eq!(read, [Frame::Message(data), ping, text]);
    }
}

#[test]
fn it_answers_our_ping_and_we_answer_its() {
    let mut dice = Dice(5);
    let now = start();
    let (mut client, mut session) = (client(), Session::new(now, LIMITS));
    session.handle_timeout(now + LIMITS.ping_after);
    let Some(Event::Reply(ping)) = session.poll_event() else {
        panic!("no ping")
    };
    client.get_mut().to_client.extend_from_slice(&ping);
    assert_eq!(client.read().unwrap(), Message::Ping(Bytes::new()));
    client.flush().unwrap();
    assert_eq!(events(&mut session, &mut client, &mut dice), []);
    assert!(
        session.poll_timeout() < Some(start() + LIMITS.ping_after),
        "heard"
    );

    client
        .send(Message::Ping(Bytes::from_static(b"42")))
        .unwrap();
    for event in events(&mut session, &mut client, &mut dice) {
        let Event::Reply(pong) = event else {
            panic!("{event:?}")
        };
        client.get_mut().to_client.extend_from_slice(&pong);
    }
    assert_eq!(
        client.read().unwrap(),
        Message::Pong(Bytes::from_static(b"42"))
    );
}

#[test]
fn its_close_is_answered() {
    let mut dice = Dice(6);
    let (mut client, mut session) = (client(), Session::new(start(), LIMITS));
    let frame = CloseFrame {
        code: 4000.into(),
        reason: "enough".into(),
    };
    client.close(Some(frame)).unwrap();
    let events = events(&mut session, &mut client, &mut dice);
    let [Event::Reply(reply), Event::Closed(close)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*close, Close::new(4000, "enough"));
    client.get_mut().to_client.extend_from_slice(reply);
    let Message::Close(Some(answer)) = client.read().unwrap() else {
        panic!("no close")
    };
    assert_eq!(u16::from(answer.code), 4000);
    assert!(would_block(client.read()) || !client.can_read());
}

#[test]
fn our_close_is_answered() {
    let mut dice = Dice(7);
    let (mut client, mut session) = (client(), Session::new(start(), LIMITS));
    client.write(Message::text("on its way")).unwrap();
    session.close(start(), Close::GOING_AWAY);
    let Some(Event::Reply(reply)) = session.poll_event() else {
        panic!("no close")
    };
    client.get_mut().to_client.extend_from_slice(&reply);
    let Message::Close(Some(frame)) = client.read().unwrap() else {
        panic!("no close")
    };
    assert_eq!(
        (u16::from(frame.code), &*frame.reason),
        (1001, "going away")
    );
    let _ = client.flush();
    let expected = [Event::Closed(Close::GOING_AWAY)];
    assert_eq!(events(&mut session, &mut client, &mut dice), expected);
}

#[test]
fn our_reader_ends_at_a_close_and_at_a_broken_rule() {
    for (bytes, close) in [
        (close::encode(&Close::RESTART), Close::RESTART),
        (
            Bytes::from_static(b"\x81\x80mask"),
            Close::new(1002, "masked frame"),
        ),
        (
            Bytes::from_static(b"\x81\x01\xff"),
            Close::new(1007, "text is not UTF-8"),
        ),
        (
            Bytes::from_static(b"\x88\x01\x03"),
            Close::new(1002, "close body of one byte"),
        ),
    ] {
        let mut frames = ServerFrames::new();
        let mut input = BytesMut::from(&bytes[..]);
        encode_late(&mut input);
        assert_eq!(frames.receive(&mut input), Some(Frame::Close(close)));
        encode_late(&mut input);
        assert_eq!(frames.receive(&mut input), None);
        assert!(input.is_empty());
    }
}

fn encode_late(input: &mut BytesMut) {
    let mut late = Vec::new();
    encode(Kind::Text, b"late", &mut late);
    input.extend_from_slice(&late);
}
