//! Why the daemon did not start, and how that is told: the text, the exit code, the record in the journal.
//!
//! Where standard error is the journal, a refused start is one record with its MESSAGE_ID, and nobody prints the same
//! lines beside it; everywhere else whoever called [`super::run`] prints them.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::listen::BindError;
use crate::control::server as control;
use crate::systemd::{self, fds};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The control socket could not be bound.
    #[error("{place}")]
    Control {
        /// Where the key stands.
        place: String,
        /// Why.
        source: control::BindError,
    },
    /// systemd passed what cannot be used.
    #[error("sockets from systemd")]
    Descriptors(#[from] fds::FdsError),
    /// The system refused what every process needs.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `NOTIFY_SOCKET` is set to what cannot be used.
    #[error("NOTIFY_SOCKET")]
    Notify(#[from] systemd::NotifyError),
    /// Configuration or scripts are refused; each problem as it is printed.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

impl StartError {
    /// The process's exit code: 78 where what the operator wrote is refused, so that another try would be refused as
    /// well; 1 where the surroundings fail.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.is_final() { 78 } else { 1 })
    }

    /// A configuration, a script or a socket unit must be changed first.
    fn is_final(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Descriptors(_) => true,
            Self::Bind(_) | Self::Control { .. } | Self::Io { .. } | Self::Notify(_) => false,
        }
    }

    /// Makes a record of it.
    pub(super) fn log(&self) {
        let text = report(self);
        if let Self::Refused(problems) = self {
            let count = problems.len();
            let s = if count == 1 { "" } else { "s" };
            tracing::error!(target: "start", event = "start_refused", "start refused: {count} problem{s}\n{text}");
        } else if self.is_final() {
            tracing::error!(target: "start", event = "start_refused", "start refused: {text}");
        } else {
            tracing::error!(target: "start", event = "start_failed", "cannot start: {text}");
        }
    }
}

/// A start that did not succeed.
#[derive(Debug)]
pub struct NotStarted {
    /// Why.
    pub error: StartError,
    /// It is in the journal already: nothing is left to be printed.
    pub logged: bool,
}

pub(super) fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}

/// An error and its causes in one line, joined by `: `.
#[must_use]
pub fn report(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_joins_the_causes() {
        let error = io_error("admin.http")(io::Error::other("no more ports"));
        assert_eq!(report(&error), "admin.http: no more ports");
    }

    #[test]
    fn only_what_the_operator_must_mend_is_final() {
        let code = |error: StartError| format!("{:?}", error.exit_code());
        let refused = format!("{:?}", ExitCode::from(78));
        assert_eq!(code(StartError::Refused(vec!["x".to_owned()])), refused);
        assert_eq!(code(fds::FdsError::Threads.into()), refused);
        let failed = format!("{:?}", ExitCode::from(1));
        assert_eq!(code(io_error("x")(io::Error::other("y"))), failed);
    }
}
