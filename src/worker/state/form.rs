//! The compressed form of a run, for those of its members who take it.
//!
//! [pure] Part of [`super::State`]. A run is compressed at most once, when the first of them gets it.

use std::rc::Rc;

use super::super::run::Run;
use crate::config::Config;
use crate::wire::deflate::{Deflate, Effort};

/// The compressed form of a run, made when it is first asked for.
pub(super) enum Form {
    NotAsked,
    /// No frame of it gets shorter.
    SameAsPlain,
    Made(Rc<Run>),
}

impl Form {
    /// What somebody who takes compressed frames gets of `plain`.
    pub(super) fn of<'a>(
        &'a mut self,
        plain: &'a Rc<Run>,
        deflate: &mut Deflate,
        effort: Effort,
    ) -> &'a Rc<Run> {
        if matches!(self, Self::NotAsked) {
            *self = match plain.deflated(deflate, effort) {
                None => Self::SameAsPlain,
                Some(run) => Self::Made(run),
            };
        }
        match self {
            Self::Made(run) => run,
            Self::NotAsked | Self::SameAsPlain => plain,
        }
    }
}

/// What the configuration says about compressing.
pub(super) fn effort(config: &Config) -> Effort {
    Effort {
        level: config.compression.level,
        min_size: config.compression.min_size,
    }
}
