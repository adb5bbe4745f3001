//! Values on and off Lua's stack, without a way to break it.
//!
//! A [`Stack`] is the frame of a host function or a protected call. Places count from 1 and are checked: its methods are
//! safe in any order. What finds no memory or calls Lua may leave by a C++ exception, which only that call may catch.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;

use mlua::ffi;

use crate::script::compile::Bytecode;
use crate::script::value::{Frame, Kind, Raise};

/// One frame of a Lua state.
pub(in crate::script) struct Stack {
    state: *mut ffi::lua_State,
    /// Stays on its thread.
    _local: PhantomData<*mut ()>,
}

/// A value that is kept from the collector until it is released.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::script) struct Ref(c_int);

impl Stack {
    /// The frame that is running on `state`.
    ///
    /// # Safety
    /// `state` must be live and be the one whose C function is running, for as long as the value exists.
    pub(super) const unsafe fn new(state: *mut ffi::lua_State) -> Self {
        Self {
            state,
            _local: PhantomData,
        }
    }

    pub(super) const fn state(&self) -> *mut ffi::lua_State {
        self.state
    }

    /// The highest place that is filled.
    pub(in crate::script) fn top(&self) -> i32 {
        // SAFETY: the state is live.
        unsafe { ffi::lua_gettop(self.state) }
    }

    /// Empties the places above `top`, or fills up to it with nil.
    pub(in crate::script) fn set_top(&mut self, top: i32) {
        // SAFETY: not negative, and small: a frame always has room for 20.
        unsafe { ffi::lua_settop(self.state, top.clamp(0, self.top().max(20))) }
    }

    pub(in crate::script) fn kind(&self, place: i32) -> Kind {
        // SAFETY: a place above the top is answered with none.
        Kind::of(unsafe { ffi::lua_type(self.state, place.max(1)) })
    }

    /// False for nil, false and nothing.
    pub(in crate::script) fn truthy(&self, place: i32) -> bool {
        // SAFETY: any place is answered.
        unsafe { ffi::lua_toboolean(self.state, place.max(1)) != 0 }
    }

    /// The number there; a string is none.
    pub(in crate::script) fn number(&self, place: i32) -> Option<f64> {
        // SAFETY: the kind is checked, so nothing is converted in place.
        (self.kind(place) == Kind::Number)
            .then(|| unsafe { ffi::lua_tonumber(self.state, place.max(1)) })
    }

    /// The string there; a number is none.
    pub(in crate::script) fn bytes(&self, place: i32) -> Option<&[u8]> {
        if self.kind(place) != Kind::String {
            return None;
        }
        let mut length = 0;
        // SAFETY: the kind is checked, so nothing is converted in place.
        let text = unsafe { ffi::lua_tolstring(self.state, place.max(1), &raw mut length) };
        // SAFETY: a string's bytes stay while it is on the stack, and only `&mut self` takes it off.
        Some(unsafe { std::slice::from_raw_parts(text.cast(), length) })
    }

    /// What tells a string, table or function from every other one that is alive.
    pub(in crate::script) fn identity(&self, place: i32) -> usize {
        // SAFETY: any value is answered.
        unsafe { ffi::lua_topointer(self.state, place.max(1)) as usize }
    }

    /// Elements of a table from 1 on, or bytes of a string.
    pub(in crate::script) fn length(&self, place: i32) -> usize {
        match self.kind(place) {
            // SAFETY: it is a table or a string.
            Kind::Table | Kind::String => unsafe { ffi::lua_objlen(self.state, place.max(1)) },
            _ => 0,
        }
    }

    pub(in crate::script) fn push_nil(&mut self) {
        // SAFETY: a push grows the stack or raises.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    pub(in crate::script) fn push_bool(&mut self, value: bool) {
        // SAFETY: a push grows the stack or raises.
        unsafe { ffi::lua_pushboolean(self.state, c_int::from(value)) }
    }

    pub(in crate::script) fn push_number(&mut self, value: f64) {
        // SAFETY: a push grows the stack or raises.
        unsafe { ffi::lua_pushnumber(self.state, value) }
    }

    pub(in crate::script) fn push_bytes(&mut self, value: &[u8]) {
        // SAFETY: the bytes are copied before it returns.
        unsafe { ffi::lua_pushlstring_(self.state, value.as_ptr().cast(), value.len()) }
    }

    /// `json.null`.
    pub(in crate::script) fn push_null(&mut self) {
        // SAFETY: a push grows the stack or raises.
        unsafe { ffi::lua_pushlightuserdata(self.state, std::ptr::null_mut()) }
    }

    pub(in crate::script) fn push_copy(&mut self, place: i32) {
        // SAFETY: a place above the top is nil.
        unsafe { ffi::lua_pushvalue(self.state, place.max(1)) }
    }

    /// A new table with room for so many elements and fields.
    pub(in crate::script) fn push_table(&mut self, elements: usize, fields: usize) {
        let bound = |n: usize| c_int::try_from(n.min(1 << 20)).unwrap_or(0);
        // SAFETY: sizes are not negative.
        unsafe { ffi::lua_createtable(self.state, bound(elements), bound(fields)) }
    }

    /// A copy of a table with the same metatable; nil for anything else.
    pub(in crate::script) fn push_clone(&mut self, place: i32) {
        if self.kind(place) == Kind::Table {
            // SAFETY: it is a table.
            unsafe { ffi::lua_clonetable(self.state, place.max(1)) }
        } else {
            self.push_nil();
        }
    }

    /// Keeps the topmost value and takes it off.
    pub(in crate::script) fn keep(&mut self) -> Ref {
        let top = self.top();
        // SAFETY: a place above the top is nil.
        let kept = Ref(unsafe { ffi::lua_ref(self.state, top.max(1)) });
        self.pop();
        kept
    }

    /// Lets go of a kept value; it must not be used after.
    pub(in crate::script) fn release(&mut self, kept: Ref) {
        // SAFETY: only `keep` makes them, and a slot of the registry is a number and never a pointer.
        unsafe { ffi::lua_unref(self.state, kept.0) };
    }

    pub(in crate::script) fn push_ref(&mut self, kept: Ref) {
        // SAFETY: the registry is a table.
        unsafe { ffi::lua_rawgeti_(self.state, ffi::LUA_REGISTRYINDEX, kept.0) };
    }

    /// Pushes element `n`; nil if the place is no table.
    pub(in crate::script) fn element(&mut self, table: i32, n: usize) {
        match c_int::try_from(n) {
            Ok(n) if self.kind(table) == Kind::Table => {
                // SAFETY: it is a table.
                unsafe { ffi::lua_rawgeti_(self.state, table.max(1), n) };
            }
            _ => self.push_nil(),
        }
    }

    /// Takes the topmost value off and makes it element `n`.
    pub(in crate::script) fn set_element(&mut self, table: i32, n: usize) {
        match c_int::try_from(n) {
            Ok(n) if self.kind(table) == Kind::Table && self.top() > table => {
                // SAFETY: it is a table and there is a value above it.
                unsafe { ffi::lua_rawseti_(self.state, table.max(1), n) };
            }
            _ => self.pop(),
        }
    }

    /// Replaces the topmost value, a key, by the field of that name; metatables are not asked.
    pub(in crate::script) fn field(&mut self, table: i32) {
        if self.kind(table) == Kind::Table && self.top() > table {
            // SAFETY: it is a table and there is a key above it.
            unsafe { ffi::lua_rawget(self.state, table.max(1)) };
        } else {
            self.pop();
            self.push_nil();
        }
    }

    /// Takes key and value off the top and sets that field; metatables are not asked. Raises for a nil key.
    pub(in crate::script) fn set_field(&mut self, table: i32) {
        if self.kind(table) == Kind::Table && self.top() >= table + 2 {
            // SAFETY: it is a table and there are two values above it.
            unsafe { ffi::lua_rawset(self.state, table.max(1)) };
        } else {
            let top = self.top();
            self.set_top((top - 2).max(0));
        }
    }

    /// The entry after `from` (0 to begin): pushes its key and value.
    pub(in crate::script) fn next(&mut self, table: i32, from: i32) -> Option<i32> {
        if self.kind(table) != Kind::Table {
            return None;
        }
        // SAFETY: it is a table, and the position is not negative.
        let next = unsafe { ffi::lua_rawiter(self.state, table.max(1), from.max(0)) };
        (next >= 0).then_some(next)
    }

    /// Takes a table off the top and makes it the metatable of the table at that place.
    pub(in crate::script) fn set_metatable(&mut self, table: i32) {
        let top = self.top();
        if self.kind(table) == Kind::Table && self.kind(top) == Kind::Table && top > table {
            // SAFETY: both are tables.
            unsafe { ffi::lua_setmetatable(self.state, table.max(1)) };
        } else {
            self.pop();
        }
    }

    /// Pushes the metatable of a table, if it has one.
    pub(in crate::script) fn metatable(&mut self, table: i32) -> bool {
        // SAFETY: any place is answered.
        self.kind(table) == Kind::Table
            && unsafe { ffi::lua_getmetatable(self.state, table.max(1)) != 0 }
    }

    /// Makes a table constant.
    pub(in crate::script) fn freeze(&mut self, table: i32) {
        if self.kind(table) == Kind::Table {
            // SAFETY: it is a table.
            unsafe { ffi::lua_setreadonly(self.state, table.max(1), 1) };
        }
    }

    /// Lets library calls of code in this environment take the short way.
    pub(in crate::script) fn set_safe_environment(&mut self, table: i32) {
        if self.kind(table) == Kind::Table {
            // SAFETY: it is a table.
            unsafe { ffi::lua_setsafeenv(self.state, table.max(1), 1) };
        }
    }

    /// Calls the function below the topmost `arguments` values, which its `results` replace. Raises what it raises.
    pub(in crate::script) fn call(&mut self, arguments: i32, results: i32) {
        if self.top() > arguments {
            // SAFETY: there is a value below the arguments; what is no function raises.
            unsafe { ffi::lua_call(self.state, arguments, results) };
        }
    }

    /// Calls the function that the running one stands before, in its frame.
    pub(in crate::script) fn original(&mut self) -> i32 {
        // SAFETY: any index of an upvalue is answered.
        match unsafe { ffi::lua_tocfunction(self.state, ffi::lua_upvalueindex(1)) } {
            // SAFETY: the frame has its arguments, and functions of the libraries that are guarded have no upvalues.
            Some(function) => unsafe { function(self.state) },
            None => 0,
        }
    }

    /// Pushes what `tostring` makes of a value; may call `__tostring`.
    pub(in crate::script) fn push_shown(&mut self, place: i32) {
        // SAFETY: any value is taken; errors raise.
        unsafe { ffi::luaL_tolstring_(self.state, place.max(1), std::ptr::null_mut()) };
    }

    /// Pushes a function with the table at `environment` as its globals. False: an error text was pushed.
    pub(in crate::script) fn push_chunk(
        &mut self,
        name: &CStr,
        code: &Bytecode,
        environment: i32,
    ) -> bool {
        let code = code.bytes();
        // SAFETY: Luau does not check bytecode, and a `Bytecode` is only made by its compiler; name and code are copied.
        let status = unsafe {
            ffi::luau_load(
                self.state,
                name.as_ptr(),
                code.as_ptr().cast(),
                code.len(),
                environment.max(1),
            )
        };
        status == 0
    }

    /// How many arguments the topmost value, a Lua function, takes (all for `...`), and the line where it begins.
    pub(in crate::script) fn signature(&self) -> (i32, u32) {
        let mut record = std::mem::MaybeUninit::<ffi::lua_Debug>::zeroed();
        // SAFETY: a level of -1 is the topmost value; what is no function is answered with 0.
        unsafe { ffi::lua_getinfo(self.state, -1, c"as".as_ptr(), record.as_mut_ptr()) };
        // SAFETY: zeroes are a valid record.
        let record = unsafe { record.assume_init_ref() };
        let arguments = if record.isvararg == 0 {
            i32::from(record.nparams)
        } else {
            i32::MAX
        };
        (arguments, u32::try_from(record.linedefined).unwrap_or(0))
    }

    /// The Lua functions around the running one, innermost first.
    pub(in crate::script) fn callers(&self) -> Vec<Frame> {
        super::frames(self.state, 1)
    }

    /// Puts those of Luau's libraries that do not reach outside into the state's globals, and makes the metatable of
    /// strings constant.
    pub(in crate::script) fn open_libraries(&mut self) {
        let libraries: [(&CStr, ffi::lua_CFunction); 9] = [
            (c"", ffi::luaopen_base),
            (c"bit32", ffi::luaopen_bit32),
            (c"buffer", ffi::luaopen_buffer),
            (c"coroutine", ffi::luaopen_coroutine),
            (c"math", ffi::luaopen_math),
            (c"os", ffi::luaopen_os),
            (c"string", ffi::luaopen_string),
            (c"table", ffi::luaopen_table),
            (c"utf8", ffi::luaopen_utf8),
        ];
        for (name, open) in libraries {
            // SAFETY: a push grows the stack or raises.
            unsafe { ffi::lua_pushcclosurek(self.state, open, name.as_ptr(), 0, None) };
            self.push_bytes(name.to_bytes());
            self.call(1, 0);
        }
        let top = self.top();
        self.push_bytes(b"");
        // SAFETY: the value is a string.
        if unsafe { ffi::lua_getmetatable(self.state, -1) } != 0 {
            self.freeze(top + 2);
        }
        self.set_top(top);
    }

    /// Pushes the state's globals.
    pub(in crate::script) fn push_globals(&mut self) {
        // SAFETY: the pseudo-index of the globals is valid in every frame.
        unsafe { ffi::lua_pushvalue(self.state, ffi::LUA_GLOBALSINDEX) };
    }

    /// Takes the topmost table off and makes it the globals, where a chunk's library calls are looked up as it loads.
    pub(in crate::script) fn set_globals(&mut self) {
        if self.kind(self.top()) == Kind::Table {
            // SAFETY: there is a table on the top, and the globals can be replaced by one.
            unsafe { ffi::lua_replace(self.state, ffi::LUA_GLOBALSINDEX) };
        }
    }

    /// Raises `error` with the caller's place before it.
    pub(super) fn raise(&mut self, error: Raise) -> ! {
        self.push_bytes(self.placed(&error).as_bytes());
        drop(error);
        // SAFETY: there is an error object on the top.
        unsafe { ffi::lua_error(self.state) }
    }

    /// A pointer that a host function was made with.
    pub(super) fn upvalue(&self, n: c_int) -> *mut c_void {
        // SAFETY: any index of an upvalue is answered, with null if it is none.
        unsafe { ffi::lua_tolightuserdata(self.state, ffi::lua_upvalueindex(n)) }
    }
}
