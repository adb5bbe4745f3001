//! The command line: arguments in, exit code out.
//!
//! One small file per subcommand; `args.rs` says what there is, `socket.rs` which daemon is meant, `output.rs` how
//! things are printed. This is the only layer that prints and that looks at the environment. Exit codes are the same for
//! every subcommand: 0 done, 1 failed, 2 usage, 70 a bug, 78 configuration or script refused.

mod args;
mod backend;
mod bench;
mod check;
mod output;
mod publish;
mod reload;
mod rights;
mod socket;
mod status;
mod subscribe;
mod test;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;

use crate::control::client::ClientError;
use crate::control::message::{RequestError, Response};
use crate::daemon::report;
use args::{Args, Subcommand};

/// Runs the program: parses `args`, does what they say, and returns the exit code.
///
/// A panic that reaches this far is one line on stderr and exit code 70.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(panicked));
    let args = match Args::read(args) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are "errors" with exit code 0; a closed stdout changes nothing.
            let _ = error.print();
            return if error.use_stderr() {
                Failure::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    guarded(|| dispatch(&args))
}

/// Why a subcommand ended otherwise than well: its exit code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// A fault of wsd's own: 70.
    Bug,
    /// The operation failed: 1.
    Failed,
    /// Configuration or script refused: 78.
    Refused,
    /// Arguments that make no sense: 2.
    Usage,
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(match failure {
            Failure::Failed => 1,
            Failure::Usage => 2,
            Failure::Bug => 70,
            Failure::Refused => 78,
        })
    }
}

/// A panic in `run` has been reported by the hook; here it becomes its exit code.
fn guarded(run: impl FnOnce() -> ExitCode) -> ExitCode {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Failure::Bug.into())
}

fn dispatch(args: &Args) -> ExitCode {
    let done = match &args.subcommand {
        None | Some(Subcommand::Run) => return backend::run(&args.config()),
        Some(Subcommand::Bench(options)) => bench::run(options),
        Some(Subcommand::Check(options)) => check::run(&args.config(), *options),
        Some(Subcommand::Completions { shell }) => {
            // A reader that has gone has seen enough.
            let _ = output::line(Args::completions(*shell));
            Ok(())
        }
        Some(Subcommand::Publish(options)) => publish::run(args, options),
        Some(Subcommand::Reload(target)) => reload::run(args, target),
        Some(Subcommand::Status(options)) => status::run(args, options),
        Some(Subcommand::Subscribe(options)) => subscribe::run(args, options),
        Some(Subcommand::Test(options)) => test::run(&args.config(), options),
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

/// Says why the daemon could not be asked.
fn unreachable_daemon(error: &ClientError) -> Failure {
    output::error(report(error));
    Failure::Failed
}

/// Says what is wrong with an argument.
fn bad_argument(error: &RequestError) -> Failure {
    output::error(report(error));
    Failure::Usage
}

/// Says why the daemon did not do it.
fn refused(response: Response) -> Failure {
    match response {
        Response::Error { reason } => {
            output::error(reason);
            Failure::Failed
        }
        // It keeps to the protocol or it is none of ours.
        other => {
            output::error(format_args!(
                "the daemon answered something else: {other:?}"
            ));
            Failure::Bug
        }
    }
}

/// One line a panic, with its place; a back-trace where `RUST_BACKTRACE` asks for one.
fn panicked(panic: &PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("a panic without words");
    let place = panic
        .location()
        .map_or_else(|| "somewhere".to_owned(), ToString::to_string);
    output::error(format_args!(
        "wsd: a bug: {place}: {}",
        what.replace('\n', " ")
    ));
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        output::error(trace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_exit_code_70() {
        let code = guarded(|| panic!("for this test"));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(70)));
    }
}
