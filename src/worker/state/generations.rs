//! The generations of hooks that a worker knows: the one in force, the one before until its last messages have
//! passed, the next one while it is made ready.
//!
//! [pure] A message carries its generation; its home runs `on_batch` of that one.

use crate::pipeline::Pipeline;
use crate::types::{ConnId, Generation};

/// The generations of hooks that a worker knows.
pub struct Generations {
    current: (Generation, Pipeline),
    old: Option<(Generation, Pipeline)>,
    next: Option<(Generation, Pipeline)>,
}

impl Generations {
    /// The first one.
    #[must_use]
    pub const fn new(generation: Generation, pipeline: Pipeline) -> Self {
        Self {
            current: (generation, pipeline),
            old: None,
            next: None,
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

    /// The next one comes into force; returns both, to carry data over.
    pub fn switch(&mut self, generation: Generation) -> Option<(&mut Pipeline, &mut Pipeline)> {
        let next = self.next.take_if(|(number, _)| *number == generation)?;
        self.old = Some(std::mem::replace(&mut self.current, next));
        let old = self.old.as_mut()?;
        Some((&mut old.1, &mut self.current.1))
    }

    /// No message of the one before is on its way any more.
    pub fn retire(&mut self) {
        self.old = None;
    }
}
