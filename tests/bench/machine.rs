//! What a figure was measured on and with: it means little without.

use std::fs;
use std::io;
use std::process::Command;

use serde::Serialize;

/// The machine, the program and the day.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// As `2026-11-24`, in UTC.
    date: String,
    processor: String,
    /// How many this process may use.
    cpus: usize,
    memory_mib: u64,
    kernel: String,
    /// Runnable threads of other programs, over the minute before: near 0 on a machine that does nothing else.
    load: f64,
    rustc: String,
    /// The commit of wsd, with `+` behind it when files differ from it; empty outside a repository.
    commit: String,
    version: &'static str,
    command: String,
}

impl Machine {
    /// This one, now, and the command line that measures it.
    pub(crate) fn here(command: String) -> io::Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo")?;
        let kib: u64 = field(&memory, "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .unwrap_or(0);
        let processor =
            field(&fs::read_to_string("/proc/cpuinfo")?, "model name").unwrap_or_default();
        let mut commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
        if !commit.is_empty()
            && !output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty()
        {
            commit.push('+');
        }
        Ok(Self {
            date: output("date", &["-u", "+%F"]),
            processor,
            cpus: std::thread::available_parallelism()?.get(),
            memory_mib: kib / 1_024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            load: fs::read_to_string("/proc/loadavg")?
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            rustc: output("rustc", &["--version"]),
            commit,
            version: env!("CARGO_PKG_VERSION"),
            command,
        })
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Standard output of a command; nothing if there is no such command.
fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
