//! What a state may take of memory: the allocator that Luau is given.
//!
//! It counts, and refuses what would pass the limit. That a request was refused is remembered until somebody asks: a
//! script may have caught the error, but its state is not to be trusted after it.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::c_void;

use mlua::ffi;

/// The bytes of one state.
#[derive(Debug)]
pub(super) struct Ledger {
    used: usize,
    limit: usize,
    /// The most that was in use since [`Ledger::begin`], with what was refused.
    peak: usize,
    /// A request was refused since [`Ledger::begin`].
    refused: bool,
}

impl Ledger {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            used: 0,
            limit,
            peak: 0,
            refused: false,
        }
    }

    /// From now on with this limit.
    pub(super) const fn limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// A call begins.
    pub(super) const fn begin(&mut self) -> usize {
        self.peak = self.used;
        self.refused = false;
        self.used
    }

    /// Of the call: how much more than `before` it took or wanted, if it was refused anything.
    pub(super) const fn end(&self, before: usize) -> Option<usize> {
        if self.refused {
            Some(self.peak.saturating_sub(before))
        } else {
            None
        }
    }

    /// Whether so much more is there; notes that it is taken.
    const fn take(&mut self, more: usize) -> bool {
        let after = self.used.saturating_add(more);
        if after > self.peak {
            self.peak = after;
        }
        if after > self.limit {
            self.refused = true;
            return false;
        }
        self.used = after;
        true
    }
}

/// Luau's allocator over the process's own.
///
/// # Safety
/// `ledger` must be a [`Ledger`] that nobody else looks at meanwhile; `block` of `before` bytes must come from here.
pub(super) unsafe extern "C" fn allocate(
    ledger: *mut c_void,
    block: *mut c_void,
    before: usize,
    after: usize,
) -> *mut c_void {
    // SAFETY: the caller's word.
    let ledger = unsafe { &mut *ledger.cast::<Ledger>() };
    let before = if block.is_null() { 0 } else { before };
    if after == 0 {
        if before > 0 {
            ledger.used = ledger.used.saturating_sub(before);
            // SAFETY: it was allocated with this layout.
            unsafe { dealloc(block.cast(), layout(before)) };
        }
        return std::ptr::null_mut();
    }
    if after > LARGEST || !ledger.take(after.saturating_sub(before)) {
        return std::ptr::null_mut();
    }
    let made = if before == 0 {
        // SAFETY: the size is not 0.
        unsafe { alloc(layout(after)) }
    } else {
        // SAFETY: it was allocated with this layout, and the new size is not 0.
        unsafe { realloc(block.cast(), layout(before), after) }
    };
    if made.is_null() {
        ledger.used = ledger.used.saturating_sub(after.saturating_sub(before));
        ledger.refused = true;
    } else {
        ledger.used -= before.saturating_sub(after);
    }
    made.cast()
}

/// What Luau asks for is aligned as `malloc` would.
const fn layout(bytes: usize) -> Layout {
    // SAFETY: the alignment is a power of two and the size at most LARGEST.
    unsafe { Layout::from_size_align_unchecked(bytes, ffi::SYS_MIN_ALIGN) }
}

/// The largest block: rounded up to the alignment it fits in an `isize`.
const LARGEST: usize = 1 << 40;
