//! [pure] A configuration that is a text and no file.
//!
//! What `load.rs` does without the disk: for tests that must not touch it, and for fuzzing.

use std::path::{Path, PathBuf};

use super::check::Check;
use super::problem::{Problems, Source, resolve};
use super::{Config, StageLists, raw, validate};

/// What a text would be as the only file, if none of the files that it names were looked at.
///
/// Paths in it count from `/etc/wsd`.
pub fn check_text(text: &str) -> Result<Config, Problems> {
    let mut faults = Vec::new();
    let root = raw::merged(vec![raw::parse(text, 0, &mut faults)]);
    let sources = [Source {
        shown: PathBuf::from("wsd.toml"),
        text: text.to_owned(),
    }];
    let bases = [PathBuf::from("/etc/wsd")];
    let mut check = Check {
        root: &root,
        sources: &sources,
        bases: &bases,
        disk: None,
        faults,
        warnings: Vec::new(),
        stages: StageLists::new(),
        scripts: None,
        files: Vec::new(),
    };
    let config = validate::config(&mut check, Path::new("/etc/wsd/secrets"));
    let faults = check.faults;
    if faults.is_empty() {
        Ok(config)
    } else {
        Err(resolve(faults, &sources))
    }
}
