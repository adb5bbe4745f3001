//! Lua behind the trait [`Hooks`].
//!
//! Files become a [`Bundle`] once ([`Bundle::load`]); each worker makes its own state from it ([`build`]). [`check`] does
//! the same in a state that is thrown away. Where to look: `call.rs` is a call, `state.rs` a state, `raw/` all that is
//! unsafe, `api/` what scripts can use.

mod api;
mod breaker;
mod call;
mod commons;
mod compile;
mod conn;
mod convert;
mod data;
mod error;
mod guard;
mod hooks;
mod load;
mod raw;
mod sandbox;
mod state;
mod stop;
mod testing;
#[cfg(test)]
mod tests;
mod timers;
mod value;
mod verdict;
mod watchdog;
mod world;

use std::path::Path;
use std::sync::Arc;

pub use api::docs::{API, Doc, api_text};
pub use breaker::Breaker;
pub use commons::Commons;
pub use load::Bundle;
pub use testing::{TestSummary, run_tests, test_files};
pub use watchdog::DeadlineHandle;
pub use world::{Clocks, Host, LoadReason, LogRecord, Secrets};

use crate::config;
use crate::pipeline::{Hook, HookError, Hooks, StageId};
use state::State;

/// Makes a generation's hooks for the worker whose thread calls. Runs the scripts' top-level code and `on_load`.
///
/// What those asked for waits in [`Hooks::take_loaded`].
pub fn build(
    bundle: &Arc<Bundle>,
    host: Host,
    why: LoadReason,
) -> Result<Box<dyn Hooks>, HookError> {
    match State::build(bundle, &host, why, Vec::new()) {
        Ok(state) => Ok(Box::new(hooks::LuaHooks::new(
            Arc::clone(bundle),
            host,
            state,
        ))),
        Err(problems) => Err(first(problems)),
    }
}

/// There is at least one.
fn first(problems: Vec<HookError>) -> HookError {
    problems.into_iter().next().unwrap_or_else(|| HookError {
        fault: crate::pipeline::Fault::Failed,
        script: String::new(),
        line: 0,
        hook: Some(Hook::Load),
        text: "the scripts did not load".into(),
        traceback: None,
        about: None,
        cut: None,
    })
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckReport {
    /// In order.
    pub scripts: Vec<ScriptReport>,
}

/// What one script defines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScriptReport {
    /// `chat.lua`
    pub name: String,
    /// Its full path.
    pub path: String,
    /// The hooks it has, `on_load` left out.
    pub hooks: Vec<Hook>,
    /// What it probably did not mean: line (0: unknown) and text.
    pub warnings: Vec<(u32, String)>,
}

/// Loads every script into a state that is thrown away, with `on_load("check")`. Every problem of every script is found.
pub fn check(bundle: &Arc<Bundle>, host: &Host) -> Result<CheckReport, Vec<HookError>> {
    let state = State::build(bundle, host, LoadReason::Check, Vec::new())?;
    let mut report = CheckReport::default();
    for (place, name) in bundle.names().enumerate() {
        let Some(stage) = state.stages.get(place) else {
            continue;
        };
        let id = StageId(u16::try_from(place).unwrap_or(u16::MAX));
        report.scripts.push(ScriptReport {
            name: name.to_owned(),
            path: bundle
                .script(id)
                .map_or_else(String::new, |chunk| chunk.path.display().to_string()),
            hooks: Hook::FUNCTIONS
                .into_iter()
                .filter(|hook| *hook != Hook::Load && stage.function(*hook).is_some())
                .collect(),
            warnings: stage.warnings.clone(),
        });
    }
    let strays = state.vm.shared().stray.borrow();
    for stray in strays.iter() {
        if let Some(script) = report.scripts.iter_mut().find(|s| s.path == stray.script) {
            let text = format!("global {:?}: write local before it", stray.name);
            script.warnings.push((stray.line, text));
        }
    }
    Ok(report)
}

/// The usual source of secrets: systemd's credentials, else `hooks.secrets`.
#[must_use]
pub fn secrets(hooks: &config::Hooks) -> Secrets {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let secrets = hooks.secrets.clone();
    Arc::new(move |name| {
        let mut tried = Vec::new();
        let directories = credentials.iter().map(Path::new);
        for directory in directories.chain([secrets.as_path()]) {
            let path = directory.join(name);
            match config::read_bounded(&path, SECRET_MAX) {
                Ok(value) if value.len() > SECRET_MAX => {
                    return Err(format!("{}: larger than 64 KiB", path.display()));
                }
                Ok(mut value) => {
                    if value.last() == Some(&b'\n') {
                        value.pop();
                    }
                    return Ok(value);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    tried.push(path.display().to_string());
                }
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
        }
        Err(format!(
            "no such secret; looked for {}",
            tried.join(" and ")
        ))
    })
}

/// Bytes of a secret.
const SECRET_MAX: usize = 64 << 10;
