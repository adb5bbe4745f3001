//! `wsd subscribe`: prints what is published to a channel, one line a message, until it is interrupted.
//!
//! Text stands as it is, a binary message as `base64:` and its bytes. Everything else goes to stderr.

use std::io;
use std::time::Duration;

use super::args::{Args, Subscribe};
use super::{Failure, bad_argument, output, refused, socket, unreachable_daemon};
use crate::control::message::{Request, Response};

pub(super) fn run(args: &Args, options: &Subscribe) -> Result<(), Failure> {
    let request = Request::subscribe(&options.channel).map_err(|error| bad_argument(&error))?;
    let mut daemon = socket::connect(args, &options.target)?;
    let mut response = daemon.ask(&request, LIMIT);
    loop {
        let printed = match response.map_err(|error| unreachable_daemon(&error))? {
            Response::Subscribed => {
                output::error(format_args!("subscribed to {}", options.channel));
                Ok(())
            }
            Response::Message { text, data64, .. } => message(text, data64),
            Response::Missed { count } => {
                output::error(format_args!(
                    "{count} messages were left out: they were not read in time"
                ));
                Ok(())
            }
            Response::End => {
                output::error("wsd has ended the subscription");
                return Err(Failure::Failed);
            }
            other => return Err(refused(other)),
        };
        if let Err(error) = printed {
            // Whoever read our output has seen enough.
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Ok(());
            }
            output::error(format_args!("standard output: {error}"));
            return Err(Failure::Failed);
        }
        response = daemon.next(None);
    }
}

fn message(text: Option<String>, data64: Option<String>) -> io::Result<()> {
    match (text, data64) {
        (Some(text), _) => output::foreign(&text),
        (None, Some(data)) => output::foreign(&format!("base64:{data}")),
        (None, None) => Ok(()),
    }
}

/// Until the subscription stands.
const LIMIT: Duration = Duration::from_secs(30);
