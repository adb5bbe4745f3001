//! The process: start-up in order, one loop for what is asked of it, the way out.
//!
//! The main thread owns what is not a connection's: configuration, generations, control socket, admin HTTP, signals. It
//! runs the one loop below and speaks with the workers through their inboxes. `reload.rs`, `drain.rs` and `calls.rs` are
//! the three things that happen there; `listen.rs` binds sockets, `limits.rs` says where the system allows too little, `scripts.rs` loads hooks, `watch.rs` sees files change.

mod calls;
mod drain;
mod error;
mod limits;
mod listen;
mod live;
mod node;
mod reload;
mod scripts;
mod start;
pub mod watch;

pub use error::{NotStarted, StartError, report};
pub use listen::BindError;
pub(crate) use scripts::{problems as script_problems, warnings as script_warnings};
pub use start::{run, worker_count};

use std::path::PathBuf;

/// Where systemd keeps this service's credentials, if it has any.
fn credentials() -> Option<PathBuf> {
    crate::systemd::credentials_directory()
}
