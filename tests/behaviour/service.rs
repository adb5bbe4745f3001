//! What systemd is told over the notify socket, and where the control socket is in a service: without a systemd, by
//! standing in its place. `scripts/test-systemd` shows the same with a real one.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::{DEADLINE, Site, binary, eventually, signal};

/// A node as a service, and this side of its notify socket.
struct Service {
    site: Site,
    child: Child,
    socket: UnixDatagram,
}

impl Service {
    fn start(config: &str) -> Self {
        let site = Site::new(config, &[]);
        let socket = UnixDatagram::bind(site.path("notify")).unwrap();
        std::fs::create_dir(site.path("run")).unwrap();
        let child = binary()
            .args(["run", "-c"])
            .arg(site.config())
            .env("NOTIFY_SOCKET", site.path("notify"))
            .env("RUNTIME_DIRECTORY", site.path("run"))
            .env("WATCHDOG_USEC", "1000000")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            site,
            child,
            socket,
        }
    }

    /// The next datagram that is neither a mere status nor the watchdog's.
    #[track_caller]
    fn next(&self) -> String {
        self.find(|text| !text.starts_with("STATUS=") && !text.starts_with("WATCHDOG="))
    }

    #[track_caller]
    fn find(&self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "systemd was not told in time");
            self.socket.set_read_timeout(Some(left)).unwrap();
            let length = self.socket.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            if wanted(text) {
                return text.to_owned();
            }
        }
    }

    fn reload(&self) -> Option<i32> {
        let mut command: Command = binary();
        command
            .arg("reload")
            .env("RUNTIME_DIRECTORY", self.site.path("run"));
        command.output().unwrap().status.code()
    }

    #[track_caller]
    fn expect_reload(&self) {
        let begin = self.next();
        let lines: Vec<_> = begin.lines().collect();
        assert!(lines.contains(&"RELOADING=1"), "{begin:?}");
        let time = lines
            .iter()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(time.unwrap().parse::<u64>().unwrap() > 0, "{begin:?}");
        let end = self.next();
        assert!(end.lines().any(|line| line == "READY=1"), "{end:?}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn systemd_is_told_of_every_turn() {
    let mut service = Service::start("");
    let ready = service.next();
    assert!(ready.starts_with("READY=1\nSTATUS="), "{ready:?}");
    service.find(|text| text == "WATCHDOG=1\n");
    let status = service.find(|text| text.starts_with("STATUS="));
    assert!(
        status.contains("generation 1, last reload ok"),
        "{status:?}"
    );

    assert_eq!(service.reload(), Some(0));
    service.expect_reload();
    service.site.write_hook("bad.lua", "function on_message(\n");
    assert_eq!(service.reload(), Some(1));
    service.expect_reload();
    service.site.write_config("[limits]\nconections = 1\n");
    assert_eq!(service.reload(), Some(1));
    service.expect_reload();
    signal(service.child.id(), "HUP");
    service.expect_reload();
    service.find(|text| text.contains("last reload refused"));

    signal(service.child.id(), "TERM");
    let stopping = service.next();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping:?}");
    let extend = service.next();
    assert_eq!(extend, "EXTEND_TIMEOUT_USEC=10000000\n");
    eventually!(service.child.try_wait().unwrap().is_some());
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_start_that_is_refused_never_says_ready() {
    let mut service = Service::start("[listen]\naddresses = []\n");
    eventually!(service.child.try_wait().unwrap().is_some());
    assert_eq!(service.child.wait().unwrap().code(), Some(78));
    service.socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    assert!(service.socket.recv(&mut buffer).is_err());
}
