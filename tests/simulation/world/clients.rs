//! What clients do: they come, send, go; and what a worker makes of it.

use bytes::BytesMut;
use wsd::types::{ChannelName, Close, ConnId, Payload, StagesId};
use wsd::wire::{Event, Inflate, Session, Upgrade};
use wsd::worker::conns::Phase;
use wsd::worker::remote::Remote;
use wsd::worker::state::{Lane, State};

use super::{World, limits};
use crate::PASSED_ON;
use crate::client::{Client, Stay};
use crate::hooks::{DIRECT, Fact};
use crate::note::Note;

impl World {
    /// A client connects; `path` as in the request.
    pub(crate) fn connect(&mut self, w: usize, path: &str, query: &str) {
        let slow = self.dice.one_in(3);
        let id = self.call(w, State::on_accept);
        if self.dice.one_in(20) {
            // Its request never comes.
            return;
        }
        let upgrade = Upgrade {
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            protocols: Vec::new(),
            accept: "x".to_owned(),
            deflate: None,
        };
        let origin = self.workers[w].state.place().origin(id);
        let mut client = Client::new(origin, slow, true);
        client.seen.entry(DIRECT.to_owned()).or_default().stays = vec![Stay {
            live: Some(0),
            left: None,
        }];
        let worker = &mut self.workers[w];
        let remote = Remote::default();
        let accepted = worker.state.on_upgrade(self.now, id, &upgrade, &remote);
        if accepted.is_err() {
            self.call(w, |state, now| state.on_closed(now, id, &Close::REFUSED));
            return;
        }
        let conn = worker.state.conns().get(id).expect("it was let in");
        let own = conn.peer.channel.clone();
        client.waits = own.map(|name| name.as_str().to_owned());
        let config = worker.state.config();
        client.session = Some(Session::new(self.now, limits(config)));
        worker.clients.insert(id, client);
        self.notice(w, true);
        self.after_session(w, id);
    }

    /// A connection of wsd's own.
    pub(crate) fn attach(&mut self, w: usize, channel: &str) {
        let name = ChannelName::new(channel).expect("a name");
        let worker = &mut self.workers[w];
        let id = worker.state.on_attach(self.now, &name);
        let mut client = Client::new(worker.state.place().origin(id), false, false);
        client.waits = Some(channel.to_owned());
        worker.clients.insert(id, client);
        self.notice(w, true);
    }

    /// Gives so many of the client's bytes to its session, and what comes out to the state.
    pub(crate) fn read(&mut self, w: usize, id: ConnId, most: usize) {
        let now = self.now;
        let Some(client) = self.workers[w].clients.get_mut(&id) else {
            return;
        };
        let Some(session) = &mut client.session else {
            return;
        };
        let size = most.min(client.sending.len());
        let bytes = client.sending.split_to(size);
        client.unread.extend_from_slice(&bytes);
        // A buffer of its own, as a worker gives one to each read.
        let mut buffer = BytesMut::from(&client.unread[..]);
        session.receive(now, &mut buffer, &mut Inflate::new());
        client.unread = buffer;
        self.after_session(w, id);
    }

    pub(super) fn after_session(&mut self, w: usize, id: ConnId) {
        // What the worker keeps for the messages of one read.
        let mut lane = None;
        loop {
            let worker = &mut self.workers[w];
            let client = worker.clients.get_mut(&id);
            let Some(session) = client.and_then(|client| client.session.as_mut()) else {
                return;
            };
            let Some(event) = session.poll_event() else {
                if let Some(at) = session.poll_timeout() {
                    worker.state.set_session_timer(id, at);
                }
                return;
            };
            match event {
                Event::Message(payload) => self.message(w, id, payload, &mut lane),
                Event::Reply(frame) => self.call(w, |state, _| state.send_control(id, &frame)),
                Event::Closed(close) => self.end(w, id, &close),
            }
        }
    }

    pub(super) fn message(
        &mut self,
        w: usize,
        id: ConnId,
        payload: Payload,
        lane: &mut Option<Lane>,
    ) {
        let note = Note::parse(std::str::from_utf8(&payload.data).expect("notes are text"));
        let state = &self.workers[w].state;
        if let Some(conn) = state.conns().get(id) {
            let mut log = self.log.borrow_mut();
            let sent = log.tick();
            let goes = conn.phase != Phase::Closing && conn.route.publish;
            let asked = conn.route.hooks == StagesId::ALL;
            let channel = conn.peer.channel.as_ref();
            log.facts.insert(
                note.id,
                Fact {
                    channel: channel.map_or_else(String::new, |name| name.as_str().to_owned()),
                    sent,
                    published: goes && !asked && channel.is_some(),
                    sender: Some(conn.peer.origin),
                    echo: conn.route.echo,
                    order: Some((conn.peer.origin, sent * 2)),
                    generation: None,
                    batched: false,
                },
            );
        }
        let short = self.call(w, |state, now| {
            // As `worker/conn.rs` does: the short way first.
            let short = state.pass_on(now, id, lane, payload.kind, &payload.data);
            if !short {
                state.on_message(now, id, payload);
            }
            short
        });
        if short {
            self.note(|| PASSED_ON.to_owned());
        }
    }

    /// wsd itself publishes.
    pub(crate) fn publish_from_node(&mut self, w: usize, channel: &str, verb: char) {
        let id = {
            let mut log = self.log.borrow_mut();
            let id = log.new_fact(channel, None, true);
            // Every channel's first route has the first stage, if that has `on_batch` now.
            log.fact(id).generation = Some(self.workers[w].generation);
            id
        };
        let payload = Note::new(id, verb, "a").payload(&mut self.dice);
        let channel = ChannelName::new(channel).expect("a name");
        self.call(w, |state, now| {
            state.on_publish_from_node(now, channel, payload);
        });
    }

    /// The connection has ended.
    pub(crate) fn end(&mut self, w: usize, id: ConnId, close: &Close) {
        let Some(mut client) = self.workers[w].clients.remove(&id) else {
            return;
        };
        let now = self.log.borrow_mut().tick();
        for stay in client.seen.values_mut().filter_map(|s| s.stays.last_mut()) {
            stay.left = stay.left.or(Some(now));
        }
        let conn = self.call(w, |state, now| state.on_closed(now, id, close));
        if let Some(conn) = conn
            && close.code != 1006
        {
            let mut bytes = Vec::new();
            conn.outbox.slices(|slice| {
                bytes.extend_from_slice(slice);
                true
            });
            self.take(&mut client, &bytes);
            assert!(
                client.is_between_frames(),
                "{}: half a frame",
                client.origin
            );
        }
        self.workers[w].gone.push(client);
    }
}
