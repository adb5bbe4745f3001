//! The control socket: how the tool `wsd` and scripts of the operator speak to a running daemon.
//!
//! `message.rs` is the language (one JSON object a line, versioned), `server.rs` the daemon's end, `client.rs` the
//! tool's. Nothing here decides anything: each request reaches the daemon as a [`server::Call`], and what the daemon
//! says goes back. Who may connect is decided by the mode of the socket's file, 0660: root, the daemon's user and the
//! members of its group.

pub mod client;
pub mod message;
pub mod server;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where the control socket is: in systemd's runtime directory if there is one, else where `admin.control` says.
///
/// `runtime` is the value of `$RUNTIME_DIRECTORY`, a list of paths with colons of which the first counts.
#[must_use]
pub fn socket_path(runtime: Option<&OsStr>, configured: &Path) -> PathBuf {
    let first = runtime
        .and_then(OsStr::to_str)
        .and_then(|list| list.split(':').next())
        .filter(|path| !path.is_empty());
    first.map_or_else(
        || configured.to_owned(),
        |directory| Path::new(directory).join("control.sock"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_directory_comes_first() {
        let configured = Path::new("/srv/wsd.sock");
        let path = |runtime: Option<&str>| socket_path(runtime.map(OsStr::new), configured);
        assert_eq!(path(None), configured);
        assert_eq!(path(Some("")), configured);
        assert_eq!(path(Some("/run/wsd")), Path::new("/run/wsd/control.sock"));
        assert_eq!(
            path(Some("/run/wsd-a:/run/b")),
            Path::new("/run/wsd-a/control.sock")
        );
    }
}
