//! The generations of hooks that a worker knows: the one in force, the one before until its last messages have
//! passed, the next one while it is made ready.
//!
//! [pure] A message carries its generation; its home runs `on_batch` of that one. `conn.data` follows its connection into
//! the next one a slice at a time, so that no worker stands still for it.

use crate::pipeline::Pipeline;
use crate::types::{ConnId, Generation};

/// The generations of hooks that a worker knows.
pub struct Generations {
    current: (Generation, Pipeline),
    old: Option<(Generation, Pipeline)>,
    next: Option<(Generation, Pipeline)>,
    /// The connections whose data the old one still has, by their slots.
    uncarried: Vec<Option<ConnId>>,
    /// The old one goes as soon as it has no data left.
    retired: bool,
}

impl Generations {
    /// The first one.
    #[must_use]
    pub fn new(generation: Generation, pipeline: Pipeline) -> Self {
        Self {
            current: (generation, pipeline),
            old: None,
            next: None,
            uncarried: Vec::new(),
            retired: false,
        }
    }

    /// The number of the one in force.
    #[must_use]
    pub const fn number(&self) -> Generation {
        self.current.0
    }

    /// The one in force.
    pub const fn current(&mut self) -> &mut Pipeline {
        &mut self.current.1
    }

    /// The one in force, with all that it knows of the connection.
    pub(super) fn current_for(&mut self, conn: ConnId) -> &mut Pipeline {
        if !self.uncarried.is_empty() {
            self.carry_one(conn);
        }
        &mut self.current.1
    }

    /// That one, or the one in force if it is not known (any more).
    pub fn of(&mut self, generation: Generation) -> &mut Pipeline {
        match (&mut self.old, &mut self.next) {
            (Some((number, pipeline)), _) if *number == generation => pipeline,
            (_, Some((number, pipeline))) if *number == generation => pipeline,
            _ => &mut self.current.1,
        }
    }

    /// The connection is gone: nothing is kept for it any more.
    pub fn forget(&mut self, conn: ConnId) {
        if let Some(place) = self.uncarried.get_mut(conn.slot as usize) {
            *place = place.filter(|known| *known != conn);
        }
        self.current.1.forget(conn);
        for (_, pipeline) in self.old.iter_mut().chain(&mut self.next) {
            pipeline.forget(conn);
        }
    }

    /// The next one is ready.
    pub fn prepare(&mut self, generation: Generation, pipeline: Pipeline) {
        self.next = Some((generation, pipeline));
    }

    /// The next one is not wanted.
    pub fn discard(&mut self, generation: Generation) {
        self.next = self.next.take().filter(|(number, _)| *number != generation);
    }

    /// The next one comes into force; false if there is none of that number. The data of these connections follows, in
    /// slices ([`Generations::carry`]) or when a hook is asked for one.
    pub fn switch(&mut self, generation: Generation, conns: impl Iterator<Item = ConnId>) -> bool {
        let Some(next) = self.next.take_if(|(number, _)| *number == generation) else {
            return false;
        };
        self.carry(usize::MAX);
        self.old = Some(std::mem::replace(&mut self.current, next));
        self.retired = false;
        for conn in conns {
            let slot = conn.slot as usize;
            if self.uncarried.len() <= slot {
                self.uncarried.resize(slot + 1, None);
            }
            self.uncarried[slot] = Some(conn);
        }
        true
    }

    /// No message of the one before is on its way any more.
    pub fn retire(&mut self) {
        self.retired = true;
        self.drop_retired();
    }

    /// Whether data is still to be carried over.
    #[must_use]
    pub(super) const fn is_carrying(&self) -> bool {
        !self.uncarried.is_empty()
    }

    /// Carries the data of so many connections over.
    pub(super) fn carry(&mut self, most: usize) {
        let mut left = most;
        while left > 0
            && let Some(last) = self.uncarried.pop()
        {
            if let Some(conn) = last {
                self.carry_data(conn);
                left -= 1;
            }
        }
        self.drop_retired();
    }

    fn carry_one(&mut self, conn: ConnId) {
        let waits = self
            .uncarried
            .get_mut(conn.slot as usize)
            .and_then(|place| place.take_if(|known| *known == conn));
        if let Some(conn) = waits {
            self.carry_data(conn);
        }
    }

    fn carry_data(&mut self, conn: ConnId) {
        if let Some((_, old)) = &mut self.old
            && let Some(data) = old.hooks().export_data(conn)
        {
            self.current.1.hooks().import_data(conn, data);
        }
    }

    fn drop_retired(&mut self) {
        if self.retired && self.uncarried.is_empty() {
            self.old = None;
        }
    }
}
