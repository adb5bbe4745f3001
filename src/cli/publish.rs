//! `wsd publish`: a message from the command line or standard input.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::args::{Args, Publish};
use super::{Failure, bad_argument, output, refused, socket, unreachable_daemon};
use crate::control::message::{Request, Response};

pub(super) fn run(args: &Args, options: &Publish) -> Result<(), Failure> {
    // The name is judged before standard input is waited for.
    Request::subscribe(&options.channel).map_err(|error| bad_argument(&error))?;
    let data = match &options.data {
        Some(data) if data != OsStr::new("-") => data.as_bytes().to_vec(),
        Some(_) | None => stdin().map_err(|error| {
            output::error(format_args!("standard input: {error}"));
            Failure::Failed
        })?,
    };
    let request = Request::publish(&options.channel, data).map_err(|error| bad_argument(&error))?;
    let mut daemon = socket::connect(args, &options.target)?;
    let response = daemon
        .ask(&request, LIMIT)
        .map_err(|error| unreachable_daemon(&error))?;
    match response {
        Response::Published { waits } => {
            if waits {
                output::error("the broker is away: the message waits for it");
            }
            Ok(())
        }
        other => Err(refused(other)),
    }
}

/// All of standard input, less one newline at its end: what `echo` adds.
fn stdin() -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let read = io::stdin().lock().take(MOST + 1).read_to_end(&mut data)?;
    if read as u64 > MOST {
        let what = "a message on the control socket has at most 8 MiB; send more with POST /publish/CHANNEL";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    if data.last() == Some(&b'\n') {
        data.pop();
    }
    Ok(data)
}

/// What fits a request of the control socket in base64, or as text with its usual share of quotes and newlines.
const MOST: u64 = 8 << 20;

/// The broker must answer within it.
const LIMIT: Duration = Duration::from_secs(30);
