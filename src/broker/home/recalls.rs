//! What a home asks Redis about its channels' histories, and how answers are put in order with what comes live.
//!
//! [pure] Part of [`super::Home`]. An answer comes over one link and publications over another, so each question leaves a
//! fence among the publications: what came before it is in the answer, what comes behind it is newer. Whichever of the
//! two comes first waits for the other. A home asks for its workers ([`Recall`]) and for itself: where a channel stands
//! when it begins to listen, and what it missed while the link was lost, which it delivers before anything newer.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Home, HomeOutput};
use crate::broker::history::Missed;
use crate::broker::{Ask, Command, LinkStatus, Question, Recalled};
use crate::config::Keep;
use crate::types::{ChannelName, Position, Publication, WorkerId};

/// The questions that are not answered completely.
#[derive(Debug, Default)]
pub(super) struct Recalls {
    last: u64,
    open: BTreeMap<u64, Open>,
}

#[derive(Debug)]
struct Open {
    channel: ChannelName,
    ask: Ask,
    keep: Keep,
    whom: Whom,
    /// The answer came before the fence was passed.
    answer: Option<Missed>,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whom {
    /// The home: what was missed while the link was lost.
    Mend,
    /// The home: where the channel stands.
    Start,
    /// A worker, by its name for the question.
    Worker(WorkerId, u64),
}

/// What a home knows of a channel that keeps a history in Redis.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) keep: Keep,
    /// The newest place that was delivered.
    seen: Option<Position>,
    /// The question about what was missed: until its fence, what comes is in its answer.
    mending: Option<u64>,
    /// A fence came before its answer, which is on its way unless the link is lost: what comes behind it waits here.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    /// The question whose answer is missing.
    by: u64,
    behind: VecDeque<Behind>,
}

#[derive(Debug)]
enum Behind {
    Fence(u64),
    Publication(Arc<Publication>),
}

impl Followed {
    pub(super) const fn new(keep: Keep) -> Self {
        Self {
            keep,
            seen: None,
            mending: None,
            held: None,
        }
    }
}

impl Home {
    /// Asks Redis; answered through [`Home::on_recalled`] and [`Home::on_fence`].
    pub(super) fn ask(&mut self, channel: &ChannelName, ask: Ask, keep: Keep, whom: Whom) -> u64 {
        self.recalls.last += 1;
        let token = self.recalls.last;
        self.recalls.open.insert(
            token,
            Open {
                channel: channel.clone(),
                ask,
                keep,
                whom,
                answer: None,
            },
        );
        self.send_question(token);
        token
    }

    fn send_question(&mut self, token: u64) {
        if self.status == LinkStatus::Up
            && let Some(open) = self.recalls.open.get(&token)
        {
            let question = Question {
                token,
                channel: open.channel.clone(),
                ask: open.ask,
                keep: open.keep,
            };
            self.command(Command::Recall(question));
        }
    }

    /// The subscription of a channel that keeps a history is live: where does it stand?
    pub(super) fn begin_following(&mut self, channel: &ChannelName) {
        let Some(followed) = self.followed(channel) else {
            return;
        };
        if followed.seen.is_none() {
            let keep = followed.keep;
            self.ask(channel, Ask::Newest(0), keep, Whom::Start);
        }
    }

    /// A question was carried out at this place among the channel's publications.
    pub fn on_fence(&mut self, channel: &ChannelName, token: u64) {
        if let Some(followed) = self.followed(channel)
            && let Some(held) = &mut followed.held
        {
            held.behind.push_back(Behind::Fence(token));
        } else {
            self.pass_fence(channel, token);
        }
    }

    /// Nothing waits before this fence: its answer goes out, or is waited for. Returns whether it went out.
    fn pass_fence(&mut self, channel: &ChannelName, token: u64) -> bool {
        let Some(open) = self.recalls.open.get_mut(&token) else {
            return true;
        };
        if let Some(missed) = open.answer.take() {
            self.conclude(token, Some(missed));
            return true;
        }
        if let Some(followed) = self.followed(channel) {
            followed.held = Some(Held {
                by: token,
                behind: VecDeque::new(),
            });
        }
        false
    }

    /// Redis has answered a question, or could not.
    pub fn on_recalled(&mut self, token: u64, missed: Option<Missed>) {
        let Some(open) = self.recalls.open.get_mut(&token) else {
            return;
        };
        let channel = open.channel.clone();
        let holds = self
            .followed(&channel)
            .and_then(|followed| followed.held.as_ref())
            .is_some_and(|held| held.by == token);
        if !holds && missed.is_some() {
            if let Some(open) = self.recalls.open.get_mut(&token) {
                open.answer = missed;
            }
            return;
        }
        self.conclude(token, missed);
        if holds {
            self.release(&channel);
        }
    }

    /// What was held goes on, up to the next fence whose answer is missing.
    fn release(&mut self, channel: &ChannelName) {
        let held = self
            .followed(channel)
            .and_then(|followed| followed.held.take());
        let mut behind = held.map_or_else(VecDeque::new, |held| held.behind);
        while let Some(next) = behind.pop_front() {
            match next {
                Behind::Publication(publication) => self.follow(publication),
                Behind::Fence(token) => {
                    if !self.pass_fence(channel, token) {
                        break;
                    }
                }
            }
        }
        if !behind.is_empty()
            && let Some(followed) = self.followed(channel)
            && let Some(held) = &mut followed.held
        {
            held.behind = behind;
        }
    }

    /// A publication of a channel that keeps a history has come.
    pub(super) fn follow(&mut self, publication: Arc<Publication>) {
        let up = self.status == LinkStatus::Up;
        let Some(followed) = self.followed(&publication.channel) else {
            self.pass(publication);
            return;
        };
        if let Some(held) = &mut followed.held {
            held.behind.push_back(Behind::Publication(publication));
            return;
        }
        if publication.position.is_some() {
            // Until the fence what has a place is in the answer; before the link counts as back, in the one that is asked
            // for then, unless nobody knows where the channel stood: that is told as a gap.
            if followed.mending.is_some() || (!up && followed.seen.is_some()) {
                return;
            }
            if up {
                followed.seen = publication.position;
            }
        }
        self.pass(publication);
    }

    /// The link is lost: what waits for a worker's answer is given out, the questions of the home are dropped. What waits
    /// for the answer that mends is in the next one.
    pub(super) fn unfollow(&mut self) {
        self.recalls
            .open
            .retain(|_, open| matches!(open.whom, Whom::Worker(..)));
        let mut released = Vec::new();
        for channel in self.channels.values_mut() {
            let Some(followed) = &mut channel.followed else {
                continue;
            };
            let mending = followed.mending.take().is_some();
            let held = followed.held.take().into_iter();
            for behind in held.flat_map(|held| held.behind) {
                let Behind::Publication(publication) = behind else {
                    continue;
                };
                if mending && publication.position.is_some() {
                    continue;
                }
                followed.seen = publication.position.or(followed.seen);
                released.push(publication);
            }
        }
        for publication in released {
            self.pass(publication);
        }
    }

    /// The link is back: asks what was missed, and asks again what was not answered. Returns whether the channel's
    /// history can mend what was missed.
    pub(super) fn mend(&mut self, channel: &ChannelName) -> bool {
        let Some(followed) = self.followed(channel) else {
            return false;
        };
        let (keep, seen) = (followed.keep, followed.seen);
        let Some(seen) = seen else {
            self.ask(channel, Ask::Newest(0), keep, Whom::Start);
            return false;
        };
        let token = self.ask(channel, Ask::Since(seen), keep, Whom::Mend);
        if let Some(followed) = self.followed(channel) {
            followed.mending = Some(token);
        }
        true
    }

    /// Asks again what workers want to know.
    pub(super) fn ask_again(&mut self) {
        let tokens: Vec<u64> = self.recalls.open.keys().copied().collect();
        for token in tokens {
            if let Some(open) = self.recalls.open.get_mut(&token) {
                open.answer = None;
            }
            self.send_question(token);
        }
    }

    /// Nobody here wants the channel any more: no fence will come.
    pub(super) fn drop_questions(&mut self, channel: &ChannelName) {
        let tokens: Vec<u64> = self
            .recalls
            .open
            .iter()
            .filter(|(_, open)| open.channel == *channel)
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            self.conclude(token, None);
        }
    }

    fn conclude(&mut self, token: u64, missed: Option<Missed>) {
        let Some(open) = self.recalls.open.remove(&token) else {
            return;
        };
        let channel = &open.channel;
        let top = missed.as_ref().map(|missed| missed.top);
        match open.whom {
            Whom::Start => {}
            Whom::Worker(worker, token) => self
                .outputs
                .push_back(HomeOutput::Recalled(worker, Recalled { token, missed })),
            Whom::Mend => self.conclude_mending(channel, token, missed),
        }
        let Some(followed) = self.followed(channel) else {
            return;
        };
        followed.seen = if open.whom == Whom::Mend {
            top.or(followed.seen)
        } else {
            followed.seen.or(top)
        };
    }

    fn conclude_mending(&mut self, channel: &ChannelName, token: u64, missed: Option<Missed>) {
        let Some(entry) = self.channels.get_mut(channel) else {
            return;
        };
        let wanted = entry.wanted;
        let Some(followed) = &mut entry.followed else {
            return;
        };
        if followed.mending != Some(token) {
            return;
        }
        followed.mending = None;
        match missed {
            Some(missed) if missed.recovered => {
                for (position, payload) in missed.messages {
                    let publication = Arc::new(Publication {
                        channel: channel.clone(),
                        payload,
                        position: Some(position),
                        skip: None,
                    });
                    self.outputs
                        .push_back(HomeOutput::Deliver(wanted, publication));
                }
            }
            _ => {
                self.tell_gap(wanted, channel.clone());
            }
        }
    }

    fn followed(&mut self, channel: &ChannelName) -> Option<&mut Followed> {
        self.channels.get_mut(channel)?.followed.as_mut()
    }
}
