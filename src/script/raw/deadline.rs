//! One state's seat under the watchdog: what its worker says of the running call, and the interrupt that ends it.
//!
//! A call costs its worker two stores. `watchdog.rs` has the thread that looks at every seat and arms the interrupt of
//! a state whose call has used up its CPU time; hooks in time never pay for it.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

use crate::script::watchdog::Alarm;

#[expect(
    clippy::disallowed_types,
    reason = "a state must not go while the thread writes to it; both hold it for one store"
)]
type Guarded<T> = std::sync::Mutex<T>;

/// What is known of one state's present call.
pub(in crate::script) struct Seat {
    alarm: Arc<Alarm>,
    /// Odd while a call runs.
    call: AtomicU64,
    /// CPU time of the present call in nanoseconds.
    limit: AtomicU64,
    /// The call that is to be stopped.
    stopped: AtomicU64,
    /// The clock of the worker's thread.
    clock: libc::clockid_t,
    slot: Guarded<Option<Slot>>,
    interrupt: *mut c_void,
    /// The call that the thread saw last, and when it first did.
    seen: AtomicU64,
    since: AtomicU64,
}

/// Luau's own pointer to the interrupt function; null is none.
#[derive(Clone, Copy)]
pub(super) struct Slot(pub(super) *mut *mut c_void);

// SAFETY: the pointer is only followed by atomic operations, and only while the state is there.
unsafe impl Send for Slot {}
// SAFETY: `interrupt` is a function and only copied; the rest is shared by nature.
unsafe impl Send for Seat {}
// SAFETY: the same.
unsafe impl Sync for Seat {}

impl Seat {
    /// For a state of the calling thread.
    ///
    /// # Safety
    /// `slot` must stay valid until [`Seat::leave`] and hold a function of `interrupt`'s type or null.
    pub(super) unsafe fn new(alarm: Arc<Alarm>, slot: Slot, interrupt: *mut c_void) -> Arc<Self> {
        // SAFETY: it has no conditions.
        let thread = unsafe { libc::pthread_self() };
        let mut clock = libc::CLOCK_MONOTONIC;
        // SAFETY: the thread is the calling one. If there is no clock for it, the monotonic one stays.
        unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
        Arc::new(Self {
            alarm,
            call: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            clock,
            slot: Guarded::new(Some(slot)),
            interrupt,
            seen: AtomicU64::new(0),
            since: AtomicU64::new(0),
        })
    }

    /// A call begins.
    pub(super) fn begin(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.limit.store(limit, Ordering::Relaxed);
        let call = self.call.load(Ordering::Relaxed);
        self.call.store(call + 1, Ordering::Release);
        self.alarm.call_begins();
    }

    /// It returned; true if it was to be stopped.
    pub(super) fn end(&self) -> bool {
        let call = self.call.load(Ordering::Relaxed);
        let stopped = self.stopped.load(Ordering::Acquire) == call;
        self.call.store(call + 1, Ordering::Release);
        if stopped {
            self.disarm();
        }
        stopped
    }

    /// Whether the present call is to be stopped: what takes long asks now and then.
    pub(super) fn expired(&self) -> bool {
        let call = self.call.load(Ordering::Relaxed);
        !call.is_multiple_of(2) && self.stopped.load(Ordering::Acquire) == call
    }

    /// Takes the interrupt out, on the state's own thread.
    pub(super) fn disarm(&self) {
        self.set(std::ptr::null_mut());
    }

    /// The state goes: after this nobody touches it.
    pub(super) fn leave(&self) {
        self.disarm();
        *self
            .slot
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        self.alarm.leave(self);
    }

    /// The thread's look: whether there was a call since its last one, and the limit of one that is running.
    pub(in crate::script) fn look(&self) -> (bool, Option<Duration>) {
        let call = self.call.load(Ordering::Acquire);
        let before = self.seen.swap(call, Ordering::Relaxed);
        if call.is_multiple_of(2) {
            return (call != before, None);
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let now = self.time();
        if call != before {
            self.since.store(now, Ordering::Relaxed);
        } else if now.saturating_sub(self.since.load(Ordering::Relaxed)) >= limit {
            self.stopped.store(call, Ordering::Release);
            self.set(self.interrupt);
        }
        (true, Some(Duration::from_nanos(limit)))
    }

    fn set(&self, interrupt: *mut c_void) {
        let slot = self
            .slot
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(slot) = *slot {
            // SAFETY: valid until `leave` (`new`), aligned as a pointer, and Luau itself only reads it.
            unsafe { AtomicPtr::from_ptr(slot.0) }.store(interrupt, Ordering::Release);
        }
    }

    /// CPU time of the worker's thread in nanoseconds.
    fn time(&self) -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes one timespec.
        unsafe { libc::clock_gettime(self.clock, &raw mut time) };
        let part = |n: i64| u64::try_from(n).unwrap_or(0);
        part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
    }
}
