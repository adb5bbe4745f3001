//! `wsd reload`: asks for a reload, waits for its end, and prints every problem. `ExecReload=` of the unit.

use std::time::Duration;

use super::args::{Args, Target};
use super::{Failure, output, refused, socket, unreachable_daemon};
use crate::control::message::{Request, Response};

pub(super) fn run(args: &Args, target: &Target) -> Result<(), Failure> {
    let mut daemon = socket::connect(args, target)?;
    let response = daemon
        .ask(&Request::Reload, LIMIT)
        .map_err(|error| unreachable_daemon(&error))?;
    match response {
        Response::Reloaded { generation, notes } => {
            // A reader that has gone does not undo the reload.
            let _ = output::line(format_args!("reloaded: generation {generation}"));
            for note in notes {
                output::error(note);
            }
            Ok(())
        }
        Response::Refused {
            generation,
            problems,
        } => {
            for problem in &problems {
                output::error(problem);
            }
            let count = match problems.len() {
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            };
            output::error(format_args!(
                "wsd: reload refused: {count}; generation {generation} stays"
            ));
            Err(Failure::Failed)
        }
        other => Err(refused(other)),
    }
}

/// Every script is loaded by every worker, each within `hooks.time_limit.load`, and tests may run before.
const LIMIT: Duration = Duration::from_secs(300);
