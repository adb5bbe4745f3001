//! Everything that touches a Lua state by hand.
//!
//! [`Vm`] owns a state; [`Vm::enter`] is the only way to run something in it; [`Stack`] is what runs there sees of it.
//! The rest of `script/` builds on these without unsafe code. mlua brings Luau and its compiler, nothing else: each of its
//! calls is protected by itself once there is a memory limit, which costs a hook's call as much again, and its states
//! forget that a request for memory was refused. mlua is pinned, as the functions under it are what this stands on.

#![expect(
    unsafe_code,
    reason = "the foreign functions of Luau; no other module of script has any"
)]

mod call;
mod deadline;
mod memory;
mod stack;

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::ffi;

pub(in crate::script) use call::expired;
pub(in crate::script) use deadline::Seat;
use memory::Ledger;
pub(in crate::script) use stack::{Ref, Stack};

use crate::script::compile::prepare;
use crate::script::stop::Stop;
use crate::script::value::{Frame, Raise};
use crate::script::watchdog::DeadlineHandle;

/// A Lua state, and what its host functions share.
pub(in crate::script) struct Vm<T: 'static> {
    /// Leaves before the state goes.
    seat: Arc<Seat>,
    state: State,
    entry: call::Entry,
    /// Host functions hold a pointer to it: goes after the state.
    shared: Rc<T>,
}

/// A state by itself. It has no thread: whoever owns it may use it.
struct State {
    state: *mut ffi::lua_State,
    /// Held by the allocator: goes after the state.
    ledger: Box<UnsafeCell<Ledger>>,
}

// SAFETY: Luau's states have no thread of their own, and the owner of this is the only one who knows the pointers.
unsafe impl Send for State {}

/// A host function: takes its arguments from place 1 on, pushes its results and says how many.
pub(in crate::script) type HostFunction<T> = fn(&mut Stack, &T) -> Result<i32, Raise>;

impl<T> Vm<T> {
    /// A state without anything in its globals.
    pub(in crate::script) fn new(
        memory: usize,
        deadline: &DeadlineHandle,
        shared: Rc<T>,
    ) -> Result<Self, String> {
        prepare();
        let ledger = Box::new(UnsafeCell::new(Ledger::new(usize::MAX)));
        // SAFETY: the ledger stays where it is as long as the state.
        let state = unsafe { ffi::lua_newstate(memory::allocate, ledger.get().cast()) };
        let state = State { state, ledger };
        if state.state.is_null() {
            return Err("no memory for a Lua state".into());
        }
        // SAFETY: a new, idle state.
        let mut stack = unsafe { Stack::new(state.state) };
        let mut keep = |function: ffi::lua_CFunction| {
            // SAFETY: there is no memory limit yet, so nothing raises.
            unsafe { ffi::lua_pushcclosurek(stack.state(), function, c"wsd".as_ptr(), 0, None) };
            stack.keep()
        };
        let entry = call::Entry {
            run: keep(call::run),
            handler: keep(call::handler),
        };
        // SAFETY: no call is running, so nobody else looks at it.
        unsafe { &mut *state.ledger.get() }.limit(memory);
        // SAFETY: the state is live.
        let callbacks = unsafe { ffi::lua_callbacks(state.state) };
        // SAFETY: the field is a nullable pointer to a function, and lives as long as the state.
        let slot = deadline::Slot(unsafe { &raw mut (*callbacks).interrupt }.cast());
        let interrupt: unsafe extern "C-unwind" fn(*mut ffi::lua_State, c_int) = call::interrupt;
        // SAFETY: the slot lives until `drop` leaves the list, and the function has its type.
        let seat = unsafe { Seat::new(deadline.alarm(), slot, interrupt as *mut c_void) };
        deadline.watch(&seat);
        Ok(Self {
            seat,
            state,
            entry,
            shared,
        })
    }

    /// Runs `body` in the state, protected and under a time limit. What it returns comes back, or why it did not.
    ///
    /// After [`Cause::Memory`] and [`Cause::Panic`] the state answers, but should be thrown away.
    pub(in crate::script) fn enter<R>(
        &self,
        limit: Duration,
        body: impl FnOnce(&mut Stack) -> R,
    ) -> Result<R, Stop> {
        // SAFETY: the state is ours and live. `Vm` is not handed to host functions, so it is idle.
        unsafe {
            call::enter(
                self.state.state,
                &self.state.ledger,
                self.entry,
                &self.seat,
                limit,
                body,
            )
        }
    }

    /// Replaces the topmost value by a function that scripts can call; the value is its [`Stack::original`].
    pub(in crate::script) fn push_function(
        &self,
        stack: &mut Stack,
        name: &'static CStr,
        function: HostFunction<T>,
    ) {
        if stack.top() == 0 {
            stack.push_nil();
        }
        let shared: *const T = Rc::as_ptr(&self.shared);
        // SAFETY: a push grows the stack or raises.
        unsafe { ffi::lua_pushlightuserdata(stack.state(), shared.cast_mut().cast()) };
        // SAFETY: the same.
        unsafe { ffi::lua_pushlightuserdata(stack.state(), function as *mut c_void) };
        // SAFETY: three values are there, as a frame without any is filled with nil; the name lives as long as the process.
        unsafe {
            ffi::lua_pushcclosurek(stack.state(), host::<T>, name.as_ptr(), 3, None);
        }
    }

    /// What host functions share.
    pub(in crate::script) fn shared(&self) -> &Rc<T> {
        &self.shared
    }

    /// Bytes that the state uses.
    pub(in crate::script) fn memory(&self) -> usize {
        // SAFETY: the allocator alone writes to it, and does not run now.
        unsafe { &*self.state.ledger.get() }.used()
    }

    /// Frees what nothing refers to; 5 to 30 ms for 64 MiB.
    pub(in crate::script) fn collect(&self) {
        // SAFETY: the state is ours and live; Luau has no finalizers that could raise.
        unsafe { ffi::lua_gc(self.state.state, ffi::LUA_GCCOLLECT, 0) };
    }
}

impl<T> Drop for Vm<T> {
    fn drop(&mut self) {
        self.seat.leave();
        if self.memory() > CLOSE_AT_ONCE {
            let empty = State {
                state: std::ptr::null_mut(),
                ledger: Box::new(UnsafeCell::new(Ledger::new(0))),
            };
            let state = std::mem::replace(&mut self.state, empty);
            // If there can be no thread for it, it is closed here, as what could not be moved is dropped.
            let _ = std::thread::Builder::new()
                .name("lua-close".into())
                .spawn(move || drop(state));
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if !self.state.is_null() {
            // SAFETY: ours, live, and nothing runs in it.
            unsafe { ffi::lua_close(self.state) };
        }
    }
}

/// Bytes of a state that are given back in less than a millisecond; the connections of a worker need not wait for more.
const CLOSE_AT_ONCE: usize = 1 << 20;

/// What Lua calls for every host function.
unsafe extern "C-unwind" fn host<T: 'static>(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: it is running in this state.
    let mut stack = unsafe { Stack::new(state) };
    let shared = stack.upvalue(2).cast::<T>();
    // SAFETY: `push_function` put the function there.
    let function = unsafe { std::mem::transmute::<*mut c_void, HostFunction<T>>(stack.upvalue(3)) };
    // SAFETY: the `Vm` holds it longer than its state.
    match function(&mut stack, unsafe { &*shared }) {
        Ok(results) => results,
        Err(error) => stack.raise(error),
    }
}

/// The Lua functions that are running from `level` outwards, at most 20. Takes no memory of the state.
fn frames(state: *mut ffi::lua_State, level: c_int) -> Vec<Frame> {
    let mut found = Vec::new();
    let mut record = std::mem::MaybeUninit::<ffi::lua_Debug>::zeroed();
    for level in level..level + 100 {
        let wanted = c"sln".as_ptr();
        // SAFETY: a level that is not there is answered with 0.
        let known = unsafe { ffi::lua_getinfo(state, level, wanted, record.as_mut_ptr()) };
        if known == 0 || found.len() == 20 {
            break;
        }
        // SAFETY: zeroes are a valid record, and it was filled since.
        let record = unsafe { record.assume_init_ref() };
        let Ok(line) = u32::try_from(record.currentline) else {
            continue;
        };
        found.push(Frame {
            chunk: text(record.short_src).unwrap_or_default(),
            line,
            function: text(record.name),
        });
    }
    found
}

/// A copy of a C string.
fn text(pointer: *const c_char) -> Option<Box<str>> {
    let pointer = NonNull::new(pointer.cast_mut())?;
    // SAFETY: Luau's strings end with a zero, and nothing runs that could free it.
    let text = unsafe { CStr::from_ptr(pointer.as_ptr()) };
    Some(text.to_string_lossy().into())
}

/// A question that the caller of a hook lends for the length of the call.
pub(in crate::script) struct Lent<R: 'static>(Cell<Option<NonNull<dyn Fn() -> R>>>);

impl<R> Lent<R> {
    pub(in crate::script) const fn nothing() -> Self {
        Self(Cell::new(None))
    }

    /// Runs `body` while the question can be asked.
    pub(in crate::script) fn lend<O>(
        &self,
        question: &dyn Fn() -> R,
        body: impl FnOnce() -> O,
    ) -> O {
        struct Return<'a, R: 'static>(&'a Lent<R>, Option<NonNull<dyn Fn() -> R>>);
        impl<R> Drop for Return<'_, R> {
            fn drop(&mut self) {
                self.0.0.set(self.1);
            }
        }
        // SAFETY: only the lifetime changes, and the guard takes it back before the borrow ends.
        let question = unsafe {
            std::mem::transmute::<NonNull<dyn Fn() -> R + '_>, NonNull<dyn Fn() -> R>>(
                NonNull::from(question),
            )
        };
        let _guard = Return(self, self.0.replace(Some(question)));
        body()
    }

    /// Asks; `None` if nothing is lent.
    pub(in crate::script) fn ask(&self) -> Option<R> {
        // SAFETY: lent, so its borrow has not ended.
        self.0
            .get()
            .map(|question| (unsafe { question.as_ref() })())
    }
}
