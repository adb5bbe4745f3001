//! [pure] The pieces of one outbox, the first of them in place.
//!
//! Nearly every outbox holds one piece at a time, from the end of a turn to the write that follows: it costs no
//! allocation and no jump, and a quiet connection keeps no queue.

use std::collections::VecDeque;

use super::Piece;

/// A queue whose first element stands in place.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// `None` only if there is nothing at all.
    first: Option<Piece>,
    /// Those after `first`; no allocation as soon as they are gone.
    rest: VecDeque<Piece>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The only one.
    pub(super) fn single(&self) -> Option<&Piece> {
        self.first.as_ref().filter(|_| self.rest.is_empty())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.first.iter().chain(&self.rest)
    }

    pub(super) const fn front_mut(&mut self) -> Option<&mut Piece> {
        self.first.as_mut()
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut Piece> {
        self.rest.back_mut().or(self.first.as_mut())
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Piece> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(index) => self.rest.get_mut(index),
        }
    }

    pub(super) fn push_back(&mut self, piece: Piece) {
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.rest.push_back(piece);
        }
    }

    pub(super) fn pop_front(&mut self) {
        self.first = self.rest.pop_front();
        self.let_go();
    }

    /// Puts one at `index`, which is at least 1 and at most the length.
    pub(super) fn insert(&mut self, index: usize, piece: Piece) {
        match index.checked_sub(1) {
            Some(index) if self.first.is_some() => self.rest.insert(index, piece),
            _ => self.push_back(piece),
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
        match index.checked_sub(1) {
            None => self.first = self.rest.pop_front(),
            Some(index) => drop(self.rest.remove(index)),
        }
        self.let_go();
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Piece) -> bool) {
        self.first = self.first.take().filter(&mut keep);
        self.rest.retain(keep);
        if self.first.is_none() {
            self.first = self.rest.pop_front();
        }
        self.let_go();
    }

    /// Who was slow once keeps no queue for ever.
    fn let_go(&mut self) {
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}
