//! The few system calls that the standard library has no name for: epoll, the limit of open files, signals.
//!
//! The only file of the load generator with unsafe code. It knows nothing of WebSocket. Generator and floors use it alike.
#![expect(
    unsafe_code,
    reason = "epoll, setrlimit, prctl and kill have no safe wrapper in std"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::Duration;

/// One epoll instance, level-triggered.
pub(crate) struct Poll {
    epoll: File,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    /// Opens an instance that reports at most `events` sockets a turn.
    pub(crate) fn open(events: usize) -> io::Result<Self> {
        // SAFETY: takes no pointer; the result is checked.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` is open and nobody else owns it.
        let epoll = unsafe { File::from_raw_fd(fd) };
        Ok(Self {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; events],
        })
    }

    /// Begins to watch a socket, for reading.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, token, Interest::Read)
    }

    /// Changes what a watched socket is watched for.
    pub(crate) fn modify(
        &self,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, token, interest)
    }

    /// Waits for at most `timeout` (`None`: for ever) and says how many sockets are ready: `event(0..n)`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(t.subsec_nanos()),
        });
        let timeout_at = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the buffer is as long as it says, the time and the absent signal mask outlive the call.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len(),
                timeout_at,
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        match usize::try_from(ready) {
            Ok(ready) => Ok(ready),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => Ok(0),
                e => Err(e),
            },
        }
    }

    /// The ready socket at `index` of the last `wait`.
    pub(crate) fn event(&self, index: usize) -> Ready {
        let event = self.events[index];
        let write_only = libc::EPOLLOUT.cast_unsigned();
        Ready {
            token: event.u64,
            read: event.events & !write_only != 0,
            write: event.events & write_only != 0,
        }
    }

    fn control(
        &self,
        what: libc::c_int,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let events = match interest {
            Interest::Read => libc::EPOLLIN,
            Interest::ReadAndWrite => libc::EPOLLIN | libc::EPOLLOUT,
            Interest::Nothing => 0,
        };
        let mut event = libc::epoll_event {
            events: events.cast_unsigned(),
            u64: token,
        };
        // SAFETY: both descriptors are open, and the event outlives the call.
        check(unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                what,
                socket.as_raw_fd(),
                &raw mut event,
            )
        })?;
        Ok(())
    }
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Interest {
    /// Bytes to read.
    Read,
    /// Bytes to read, or room to write.
    ReadAndWrite,
    /// Only that it broke.
    Nothing,
}

/// A socket that is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The number that it was added with.
    pub(crate) token: u64,
    /// It can be read, has ended or broke.
    pub(crate) read: bool,
    /// It can be written.
    pub(crate) write: bool,
}

/// Raises the soft limit of open files to the hard one, which it returns.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one struct that is ours.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads one struct that is ours.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_max)
}

/// Lets this thread's timeouts end when they are due, not up to 50 µs later: paced runs measure latencies of that size.
pub(crate) fn exact_timeouts() -> io::Result<()> {
    // SAFETY: this option takes one number and no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_usize) })?;
    Ok(())
}

/// Has the kernel kill the child when this process dies, so that a killed benchmark leaves no server behind.
pub(crate) fn die_with_parent(command: &mut Command) {
    let ask = || {
        // SAFETY: this option takes one number and no pointer, and prctl may be called between fork and exec.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        Ok(())
    };
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

/// Asks a child that has not been waited for to end.
pub(crate) fn terminate(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::kill(pid, libc::SIGTERM) })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
