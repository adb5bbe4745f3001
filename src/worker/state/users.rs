//! Users: which connections are whose, and what reaches a user wherever it is.
//!
//! [pure] Part of [`super::State`].

use std::time::Instant;

use super::super::message::Interest;
use super::super::users::Note;
use super::State;
use crate::broker::home::Publish;
use crate::types::{ConnId, Publication};

impl State {
    /// The connection is this user's from now on, or nobody's.
    pub(super) fn set_user(&mut self, now: Instant, id: ConnId, user: Option<Box<str>>) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.peer.user == user {
            return;
        }
        if let Some(user) = &user {
            self.users.add(user, id);
        }
        if let Some(old) = std::mem::replace(&mut conn.peer.user, user) {
            self.users.remove(&old, id);
        }
        self.want_users(now);
    }

    /// A connection that has just been opened may have a user.
    pub(super) fn add_user(&mut self, now: Instant, id: ConnId) {
        if let Some(user) = self
            .conns
            .get(id)
            .and_then(|conn| conn.peer.user.as_deref())
        {
            self.users.add(user, id);
            self.want_users(now);
        }
    }

    /// The connection has gone.
    pub(super) fn remove_user(&mut self, now: Instant, id: ConnId, user: &str) {
        self.users.remove(user, id);
        self.want_users(now);
    }

    /// Publishes what is for a user.
    pub(super) fn tell_user(&mut self, now: Instant, user: &str, note: &Note) {
        let payload = note.to_payload(user);
        if let (Some(channel), Some(payload)) = (self.users.channel.clone(), payload) {
            let publish = Publish {
                channel,
                payload,
                sender: None,
                echo: true,
                gather: None,
                ticket: None,
            };
            self.publish(now, publish);
        }
    }

    /// A publication in a channel without subscribers here: perhaps it is for a user.
    pub(super) fn deliver_note(&mut self, now: Instant, publication: &Publication) {
        if self.users.channel.as_ref() != Some(&publication.channel) {
            return;
        }
        let Some((user, note)) = Note::read(&publication.payload.data) else {
            return;
        };
        for id in self.users.get(user) {
            match &note {
                Note::Close(close) => self.close(now, id, close.clone()),
                Note::Send(payload) => self.send(now, id, payload),
            }
        }
    }

    /// Tells the channel's home when the first user comes and the last one goes.
    fn want_users(&mut self, now: Instant) {
        let wanted = !self.users.is_empty();
        if wanted == self.users.wanted {
            return;
        }
        self.users.wanted = wanted;
        let interest = if wanted {
            Interest::Wanted
        } else {
            Interest::Unwanted
        };
        if let Some(channel) = self.users.channel.clone() {
            self.tell_interest(now, &channel, interest);
        }
    }
}
