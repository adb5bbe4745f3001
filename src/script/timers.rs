//! The functions that scripts gave to `wsd.every` and `wsd.after`, run when their time has come.

use super::call::Call;
use super::hooks::LuaHooks;
use super::raw::Ref;
use super::state::Function;
use crate::pipeline::{Effect, Effects, Fault, Hook, TimerId, TimerRun};

impl LuaHooks {
    /// Runs a timer's function; one that is not known any more does nothing.
    pub(super) fn run_timer(&mut self, id: TimerId, effects: &mut Effects) -> TimerRun {
        let world = self.world();
        let Some(timer) = world.timers.borrow().live.get(&id).cloned() else {
            return TimerRun::default();
        };
        let call = Call::timer(
            timer.stage,
            Function {
                function: timer.function,
                arguments: 0,
                line: timer.line,
            },
        );
        let result = self.call(&call, effects, |_| {}, &[], 0, |_, _, _| Ok(()));
        let cut = result
            .as_ref()
            .is_err_and(|error| matches!(error.fault, Fault::MemoryCut | Fault::TimeCut));
        let again = timer.every.filter(|_| !cut);
        if cut {
            let world = self.world();
            world.timers.borrow_mut().ended.push(timer.made);
        }
        if again.is_none() {
            // After a memory error the state is another one, which does not know it.
            self.forget_timers(&[id]);
        }
        TimerRun {
            again,
            error: result.err(),
        }
    }

    /// The call that asked for these has failed: there are no such timers.
    pub(super) fn undo_timers(&self, effects: &Effects) {
        let ids: Vec<TimerId> = effects
            .present()
            .iter()
            .filter_map(|effect| match effect {
                Effect::Timer(id, _) => Some(*id),
                _ => None,
            })
            .collect();
        if !ids.is_empty() {
            self.forget_timers(&ids);
        }
    }

    fn forget_timers(&self, ids: &[TimerId]) {
        let functions: Vec<Ref> = {
            let mut timers = self.world().timers.borrow_mut();
            ids.iter()
                .filter_map(|id| timers.live.remove(id))
                .map(|timer| timer.function)
                .collect()
        };
        self.release(Hook::Timer, &functions);
    }
}
