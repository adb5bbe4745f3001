//! What hooks asked for, done after they returned.
//!
//! [pure] Part of [`super::State`]. An effect may call hooks (joining a channel does), whose effects are carried out
//! before the next one; [`MAX_DEPTH`] ends a hook that would go on for ever.

use std::time::Instant;

use super::super::users::Note;
use super::State;
use crate::broker::home::Publish;
use crate::pipeline::Effect;

/// How deep effects may cause effects. A subscription in `on_subscribe` is 2.
const MAX_DEPTH: u32 = 8;

impl State {
    /// A call of the generation in force has returned: takes its reports, carries out its effects.
    pub(super) fn finish_call(&mut self, now: Instant) {
        let generation = self.generations.number();
        let reports = self.collect_reports(generation);
        if !reports.is_empty() {
            self.tell(now, generation, reports);
        }
        if !self.effects.is_empty() {
            let effects = self.effects.take();
            self.apply(now, effects);
        }
    }

    /// Carries out effects in order.
    pub(super) fn apply(&mut self, now: Instant, effects: Vec<Effect>) {
        if self.depth >= MAX_DEPTH {
            for effect in effects {
                match effect {
                    // Causes nothing now, and the script keeps its function.
                    Effect::Timer(..) => self.apply_one(now, effect),
                    _ => self.metrics.effects_too_deep.inc(),
                }
            }
            return;
        }
        self.depth += 1;
        // A close comes after what was sent, whichever the hook asked for first.
        let (closes, others): (Vec<Effect>, Vec<Effect>) = effects
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Close(..)));
        for effect in others.into_iter().chain(closes) {
            self.apply_one(now, effect);
        }
        self.depth -= 1;
    }

    /// Carries out what does not need the connection, whose handshake was refused.
    pub(super) fn apply_publishes(&mut self, now: Instant, effects: Vec<Effect>) {
        let publishes = effects.into_iter().filter(|effect| {
            use Effect::{KickUser, Publish, SendUser, Timer};
            matches!(
                effect,
                KickUser(..) | Publish { .. } | SendUser(..) | Timer(..)
            )
        });
        let publishes: Vec<Effect> = publishes.collect();
        self.apply(now, publishes);
    }

    fn apply_one(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Close(id, close) => self.close(now, id, close),
            Effect::Expire(id, at) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.expires = at;
                    if let Some(at) = at {
                        self.set_expire_timer(id, at);
                    }
                }
            }
            Effect::Publish {
                channel,
                payload,
                skip,
            } => {
                let sender = skip.map(|conn| self.place.origin(conn));
                let echo = skip.is_none();
                self.publish(
                    now,
                    Publish {
                        channel,
                        payload,
                        sender,
                        echo,
                        gather: None,
                        ticket: None,
                    },
                );
            }
            Effect::KickUser(user, close) => self.tell_user(now, &user, &Note::Close(close)),
            Effect::SendUser(user, payload) => self.tell_user(now, &user, &Note::Send(payload)),
            Effect::Timer(id, after) => self.script_timers.add(now, id, after),
            Effect::Send(id, payload) => self.send(now, id, &payload),
            Effect::SetChannel(id, channel) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.peer.channel = channel;
                }
            }
            Effect::SetUser(id, user) => {
                self.set_user(now, id, user.map(Into::into));
            }
            // The handshake is answered: `on_connect` alone may choose, and its choice was taken before.
            Effect::SetProtocol(..) => {}
            Effect::Subscribe(id, channel, replay) => {
                self.subscribe_by_hook(now, id, channel, replay);
            }
            Effect::Unsubscribe(id, channel) => self.leave(now, id, &channel),
        }
    }
}
