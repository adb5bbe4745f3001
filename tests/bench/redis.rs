//! A Redis of the run's own: on a free port, in a fresh directory, without persistence.
//!
//! `launch.rs` starts it before the nodes of a scenario that has several, and ends it after them. Its CPU time is not
//! counted: what is measured is wsd.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::launch::{free_port, fresh_directory};
use crate::sys;

/// A Redis that takes connections.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    directory: PathBuf,
}

impl Redis {
    /// Starts one and waits until it takes connections.
    #[expect(
        clippy::disallowed_methods,
        reason = "a condition in another process, with a deadline"
    )]
    pub(crate) fn start() -> io::Result<Self> {
        let (port, directory) = (free_port()?, fresh_directory()?);
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string(), "--dir"])
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        sys::die_with_parent(&mut command);
        let child = command.spawn().map_err(|e| {
            let _left = fs::remove_dir_all(&directory);
            io::Error::other(format!("cannot start redis-server: {e}"))
        })?;
        let redis = Self {
            child,
            port,
            directory,
        };
        let deadline = Instant::now() + READY_WITHIN;
        while let Err(e) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "redis-server does not answer: {e}"
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(redis)
    }

    /// Fails if it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!(
                "redis-server has ended with {status}"
            ))),
        }
    }

    /// As `broker.url` has it.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be gone already, which is all that is wanted.
        let _gone = self.child.kill();
        let _status = self.child.wait();
        let _left = fs::remove_dir_all(&self.directory);
    }
}

const READY_WITHIN: Duration = Duration::from_secs(10);
