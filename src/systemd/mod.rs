//! What wsd uses of systemd, all of it optional: outside the service every question here is answered with "no".
//!
//! Owns the notify socket, the watchdog's thread, the inherited descriptors and what the environment says about the
//! journal, credentials and the runtime directory. Decides nothing about configuration and imports nothing of ours: it
//! could be a crate of its own. The daemon calls it, and at start `main` for the descriptors.

pub mod fds;
pub mod notify;
pub mod watchdog;

pub use fds::{FdsError, Inherited, Role, Socket};
pub use notify::{Notifier, NotifyError, Reloading};
pub use watchdog::Watchdog;

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Whether standard error is the journal's own stream: then records belong into the journal with their fields.
///
/// `$JOURNAL_STREAM` alone says only that it was so at the start of the first process of the unit; a shell or a
/// redirection in between leaves the variable and changes the descriptor, so both are compared (systemd.exec(5)).
#[must_use]
pub fn journal_stream() -> bool {
    env::var_os("JOURNAL_STREAM")
        .is_some_and(|stream| is_stream(&stream, std::io::stderr().as_fd()))
}

/// Where systemd put the unit's credentials (`LoadCredential=`).
#[must_use]
pub fn credentials_directory() -> Option<PathBuf> {
    directory(&env::var_os("CREDENTIALS_DIRECTORY")?)
}

/// Where the unit may put sockets (`RuntimeDirectory=`); the first, where the unit names several.
#[must_use]
pub fn runtime_directory() -> Option<PathBuf> {
    directory(&env::var_os("RUNTIME_DIRECTORY")?)
}

/// `DEVICE:INODE` in decimal, against what the descriptor is.
fn is_stream(stream: &OsStr, descriptor: BorrowedFd<'_>) -> bool {
    let Some((device, inode)) = stream.to_str().and_then(|text| text.split_once(':')) else {
        return false;
    };
    let Ok(metadata) = descriptor
        .try_clone_to_owned()
        .map(File::from)
        .and_then(|file| file.metadata())
    else {
        return false;
    };
    device.parse() == Ok(metadata.dev()) && inode.parse() == Ok(metadata.ino())
}

/// The first of a list joined by colons, if it is an absolute path.
fn directory(list: &OsStr) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let first = list.as_bytes().split(|byte| *byte == b':').next()?;
    let path = PathBuf::from(OsStr::from_bytes(first));
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_told_by_device_and_inode() {
        let (ours, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let metadata = File::from(ours.as_fd().try_clone_to_owned().unwrap())
            .metadata()
            .unwrap();
        let stream = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_stream(OsStr::new(&stream), ours.as_fd()));
        assert!(!is_stream(OsStr::new(&stream), other.as_fd()));
        for nonsense in ["", ":", "8", "8:", ":8", "a:b", "-1:-1", "8:9:10"] {
            assert!(!is_stream(OsStr::new(nonsense), ours.as_fd()), "{nonsense}");
        }
    }

    #[test]
    fn the_first_absolute_directory_counts() {
        let of = |list: &str| directory(OsStr::new(list));
        assert_eq!(of("/run/wsd"), Some(PathBuf::from("/run/wsd")));
        assert_eq!(of("/run/wsd:/run/x"), Some(PathBuf::from("/run/wsd")));
        assert_eq!(of(""), None);
        assert_eq!(of("run/wsd"), None);
    }
}
