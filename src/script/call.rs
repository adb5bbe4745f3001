//! What a call into the scripts is, before it is known what it is called with. `hooks.rs` makes it.

use super::state::Function;
use crate::pipeline::{Hook, StageId, Who};
use crate::wire::Upgrade;

/// The call of a hook, before it is known what it is called with.
pub(super) struct Call<'a> {
    pub(super) stage: StageId,
    pub(super) hook: Hook,
    pub(super) who: Option<Who<'a>>,
    pub(super) upgrade: Option<&'a Upgrade>,
    /// Not the script's hook: a timer's function.
    pub(super) function: Option<Function>,
}

impl<'a> Call<'a> {
    pub(super) const fn of(stage: StageId, hook: Hook, who: Who<'a>) -> Self {
        Self {
            stage,
            hook,
            who: Some(who),
            upgrade: None,
            function: None,
        }
    }

    /// Of a timer's function.
    pub(super) const fn timer(stage: StageId, function: Function) -> Self {
        Self {
            stage,
            hook: Hook::Timer,
            who: None,
            upgrade: None,
            function: Some(function),
        }
    }
}
