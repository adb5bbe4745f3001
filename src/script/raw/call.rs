//! One protected call into a state: the only way to run anything in it.
//!
//! The whole of a hook's call, arguments and results included, happens inside one `lua_pcall`, so an allocation that
//! finds no memory ends it like any other error. A panic of ours passes through Luau's frames, which hold nothing that
//! needs it, and is caught here; the state is then thrown away by whoever called.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mlua::ffi;

use super::deadline::Seat;
use super::memory::Ledger;
use super::{Ref, Stack, frames};
use crate::script::stop::Stop;
use crate::script::value::Frame;

/// What the error handler and the interrupt find of the running call.
#[derive(Default)]
struct Running {
    seat: Option<Arc<Seat>>,
    /// Where the first interrupt struck.
    cut: Option<Vec<Frame>>,
    /// Where the last error came from.
    error: Vec<Frame>,
}

thread_local! {
    static RUNNING: RefCell<Running> = RefCell::default();
    /// Calls that are one inside the other: a test script's host functions call hooks of another state.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// The functions that every protected call needs, kept in the state.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) run: Ref,
    pub(super) handler: Ref,
}

/// A call's body, as the C function finds it.
type Body<'a> = &'a mut dyn FnMut(&mut Stack);

/// Runs `body` in `state` under the time limit.
///
/// # Safety
/// `state` must be the main state, live and idle or in a host function of ours, with `entry` kept in it; `ledger` must be
/// its allocator's.
pub(super) unsafe fn enter<R>(
    state: *mut ffi::lua_State,
    ledger: &UnsafeCell<Ledger>,
    entry: Entry,
    seat: &Arc<Seat>,
    limit: Duration,
    body: impl FnOnce(&mut Stack) -> R,
) -> Result<R, Stop> {
    let mut body = Some(body);
    let mut result = None;
    let mut step = |stack: &mut Stack| {
        if let Some(body) = body.take() {
            result = Some(body(stack));
        }
    };
    let mut step: Body<'_> = &mut step;
    let outer = (DEPTH.get() > 0).then(|| RUNNING.take());
    DEPTH.set(DEPTH.get() + 1);
    RUNNING.with_borrow_mut(|running| {
        if !running.seat.as_ref().is_some_and(|s| Arc::ptr_eq(s, seat)) {
            running.seat = Some(Arc::clone(seat));
        }
    });
    // SAFETY: the allocator alone looks at it besides, and does not run now.
    let before = unsafe { &mut *ledger.get() }.begin();
    seat.begin(limit);
    // SAFETY: the caller's word.
    let status = catch_unwind(AssertUnwindSafe(|| unsafe {
        protected(state, entry, &raw mut step)
    }));
    let cut = seat.end();
    // SAFETY: as before the call.
    let refused = unsafe { &*ledger.get() }.end(before);
    DEPTH.set(DEPTH.get() - 1);
    let outcome = match status {
        Ok(ffi::LUA_OK) if !cut && refused.is_none() => None,
        Ok(status) => {
            let (at, raised) =
                RUNNING.with_borrow_mut(|r| (r.cut.take(), std::mem::take(&mut r.error)));
            // SAFETY: the call has returned, so this is the frame below it.
            let mut stack = unsafe { Stack::new(state) };
            Some(Stop::of(
                &mut stack,
                status,
                cut,
                refused,
                at.unwrap_or(raised),
            ))
        }
        Err(panic) => Some(Stop::panic(&*panic)),
    };
    if let Some(outer) = outer {
        RUNNING.set(outer);
    }
    match (outcome, result) {
        (None, Some(result)) => Ok(result),
        (Some(stop), _) => Err(stop),
        (None, None) => Err(Stop::panic(&"the call did nothing")),
    }
}

/// The call itself. Leaves the error object on the stack.
///
/// # Safety
/// As for [`enter`]; `step` must live until it returns.
unsafe fn protected(state: *mut ffi::lua_State, entry: Entry, step: *mut Body<'_>) -> c_int {
    // SAFETY: an idle main state is a frame like any other.
    let mut stack = unsafe { Stack::new(state) };
    stack.push_ref(entry.handler);
    let handler = stack.top();
    stack.push_ref(entry.run);
    // SAFETY: there is room for 20 values.
    unsafe { ffi::lua_pushlightuserdata(state, step.cast()) };
    // SAFETY: function and argument were pushed; the handler stands below them.
    let status = unsafe { ffi::lua_pcall(state, 1, 0, handler) };
    // SAFETY: the handler's place is filled.
    unsafe { ffi::lua_remove(state, handler) };
    status
}

/// The function that `lua_pcall` calls: runs the body.
pub(super) unsafe extern "C-unwind" fn run(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: it is running in this state.
    let mut stack = unsafe { Stack::new(state) };
    // SAFETY: the argument is what `protected` pushed.
    let step = unsafe { ffi::lua_tolightuserdata(state, 1) }.cast::<Body<'_>>();
    stack.set_top(0);
    if !step.is_null() {
        // SAFETY: the body outlives the call.
        (unsafe { &mut *step })(&mut stack);
    }
    0
}

/// The error handler: notes where the error came from, without taking memory of the state.
pub(super) unsafe extern "C-unwind" fn handler(state: *mut ffi::lua_State) -> c_int {
    RUNNING.with_borrow_mut(|running| running.error = frames(state, 1));
    1
}

/// The interrupt: raises an error at every safe point until the hook has returned.
pub(super) unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, gc: c_int) {
    if gc >= 0 {
        return; // in a collection nothing can be raised
    }
    let cut = RUNNING.with_borrow_mut(|running| {
        let seat = running.seat.as_ref()?;
        if !seat.expired() {
            seat.disarm(); // meant for an earlier call
            return None;
        }
        running.cut.get_or_insert_with(|| frames(state, 0));
        Some(())
    });
    if cut.is_some() {
        // SAFETY: makes room in a frame that need not have any; raises if there is no memory for it.
        unsafe { ffi::lua_rawcheckstack(state, 1) };
        // SAFETY: there is room; the object takes no memory.
        unsafe { ffi::lua_pushlightuserdata(state, std::ptr::null_mut()) };
        // SAFETY: there is an error object on the top.
        unsafe { ffi::lua_error(state) }
    }
}

/// Whether the running call is to be stopped: for host functions that take long.
pub(in crate::script) fn expired() -> bool {
    RUNNING.with_borrow(|running| running.seat.as_ref().is_some_and(|seat| seat.expired()))
}
