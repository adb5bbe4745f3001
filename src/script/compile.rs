//! Luau's compiler: the only maker of bytecode.
//!
//! A state runs bytecode without checking it, so a [`Bytecode`] is made here and nowhere else, kept in memory only.

use std::hash::{Hash, Hasher};
use std::sync::Once;

use mlua::Lua;
use mlua::chunk::Compiler;

/// Sets what must be set before the first state of the process.
pub(super) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The first ends a `table.move` over holes, the second keeps a table whole that finds no memory to grow.
        for flag in ["LuauTableMoveTimeoutFix", "LuauTableRobustOom"] {
            let known = Lua::set_fflag(flag, true).is_ok();
            debug_assert!(known, "{flag}: not a flag of this Luau");
        }
    });
}

/// What our compiler made of a script's text.
#[derive(Clone, Debug)]
pub(super) struct Bytecode(Box<[u8]>);

impl Bytecode {
    /// What tells it from other code.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Compiles a script; the error is `line: text`.
pub(super) fn compile(source: &str) -> Result<Bytecode, String> {
    prepare();
    // Level 2 is no faster here, and its inlining takes frames out of tracebacks.
    let compiler = Compiler::new().set_optimization_level(1).set_debug_level(1);
    match compiler.compile(source) {
        Ok(code) => Ok(Bytecode(code.into())),
        Err(mlua::Error::SyntaxError { message, .. }) => Err(message),
        Err(error) => Err(error.to_string()),
    }
}
