//! `wsd test`: runs hook tests without a server.

use std::io;
use std::path::Path;

use super::Failure;
use super::args::Test;
use super::{backend, check};

pub(super) fn run(config: &Path, options: &Test) -> Result<(), Failure> {
    let passed = backend::test(config, &options.files, &mut io::stdout().lock());
    match passed {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Failed),
        Err(problems) => Err(check::refused(&problems)),
    }
}
