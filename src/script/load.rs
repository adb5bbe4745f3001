//! Files → [`Bundle`]: every script and module read and compiled once, for all workers.
//!
//! Start, reload, check and test load by this alone. It collects every problem of every file. Bytecode is made here, kept
//! in memory and never read from anywhere. Nothing of Lua runs here; `state.rs` builds a state from a bundle.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::compile::{Bytecode, compile};
use crate::config;
use crate::pipeline::{Fault, HookError, StageId};
use crate::types::StagesId;

/// Every script of a generation, compiled; shared by all workers.
#[derive(Debug)]
pub struct Bundle {
    /// In lexical order: their places are the [`StageId`]s.
    scripts: Vec<Chunk>,
    /// By the name that `require` takes.
    modules: BTreeMap<String, Chunk>,
    /// What each [`StagesId`] stands for; `None` is all.
    lists: Vec<Option<Vec<StageId>>>,
    /// The configuration that it was loaded by.
    hooks: config::Hooks,
}

/// One compiled file.
#[derive(Debug)]
pub(super) struct Chunk {
    /// As messages of Lua name it: `chat.lua`, `lua/rooms.lua`.
    pub(super) name: Arc<str>,
    pub(super) path: PathBuf,
    pub(super) code: Bytecode,
    /// The name with the `=` before it that Luau wants.
    title: CString,
}

impl Bundle {
    /// Reads and compiles what is in the directories. `stages` is [`config::Config::stages`].
    ///
    /// Names in `stages` that are no script here are left out. A directory that is not there is empty if it is the
    /// default one.
    pub fn load(
        hooks: &config::Hooks,
        stages: &[Option<Arc<[String]>>],
    ) -> Result<Arc<Self>, Vec<HookError>> {
        let (bundle, problems) = Self::load_some(hooks, stages);
        if problems.is_empty() {
            Ok(bundle)
        } else {
            Err(problems)
        }
    }

    /// The same, with the scripts that compile whatever the others have: for whoever looks for every problem.
    #[must_use]
    pub fn load_some(
        hooks: &config::Hooks,
        stages: &[Option<Arc<[String]>>],
    ) -> (Arc<Self>, Vec<HookError>) {
        let mut problems = Vec::new();
        let mut scripts = Vec::new();
        for path in list(&hooks.directory, DEFAULT_DIRECTORY, 0, &mut problems) {
            match path.file_name().and_then(|name| name.to_str()) {
                Some(name) if name.ends_with("_test.lua") => {}
                Some(name) => match read_chunk(name, &path) {
                    Ok(chunk) => scripts.push(chunk),
                    Err(problem) => problems.push(problem),
                },
                None => problems.push(problem(&path, 0, "the file's name is not UTF-8".into())),
            }
        }
        let mut modules = BTreeMap::new();
        for path in list(&hooks.modules, DEFAULT_MODULES, MODULE_DEPTH, &mut problems) {
            let Some(name) = module_name(&hooks.modules, &path) else {
                problems.push(problem(
                    &path,
                    0,
                    "the name of a module has only a-z, 0-9, _, -, . and /".into(),
                ));
                continue;
            };
            match read_chunk(&format!("lua/{name}.lua"), &path) {
                Ok(chunk) => drop(modules.insert(name, chunk)),
                // Where modules and scripts share a folder it was told before.
                Err(problem)
                    if problems
                        .iter()
                        .any(|known: &HookError| known.script == problem.script) => {}
                Err(problem) => problems.push(problem),
            }
        }
        if scripts.len() > usize::from(u16::MAX) {
            problems.push(problem(
                &hooks.directory,
                0,
                "more than 65535 scripts".into(),
            ));
        }
        (
            Arc::new(Self::of(scripts, modules, stages, hooks.clone())),
            problems,
        )
    }

    /// One script by itself, with the modules of `hooks`: what a test loads.
    pub(super) fn single(
        hooks: &config::Hooks,
        script: &Path,
    ) -> Result<Arc<Self>, Vec<HookError>> {
        let none = config::Hooks {
            directory: PathBuf::from(DEFAULT_DIRECTORY).join("none"),
            ..hooks.clone()
        };
        let name = script
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let chunk = read_chunk(&name, script).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut modules = BTreeMap::new();
        for path in list(&none.modules, DEFAULT_MODULES, MODULE_DEPTH, &mut problems) {
            if let Some(name) = module_name(&none.modules, &path) {
                match read_chunk(&format!("lua/{name}.lua"), &path) {
                    Ok(chunk) => drop(modules.insert(name, chunk)),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if problems.is_empty() {
            Ok(Arc::new(Self::of(vec![chunk], modules, &[None], none)))
        } else {
            Err(problems)
        }
    }

    fn of(
        scripts: Vec<Chunk>,
        modules: BTreeMap<String, Chunk>,
        stages: &[Option<Arc<[String]>>],
        hooks: config::Hooks,
    ) -> Self {
        let place = |name: &String| {
            let place = scripts.iter().position(|script| *script.name == **name)?;
            u16::try_from(place).ok().map(StageId)
        };
        let lists = stages
            .iter()
            .map(|list| {
                list.as_ref()
                    .map(|names| names.iter().filter_map(place).collect())
            })
            .collect();
        Self {
            scripts,
            modules,
            lists,
            hooks,
        }
    }

    /// The scripts of a list, in order.
    #[must_use]
    pub fn stages(&self, list: StagesId) -> Vec<StageId> {
        let named = usize::try_from(list.0)
            .ok()
            .and_then(|index| self.lists.get(index));
        match named {
            Some(Some(stages)) => stages.clone(),
            Some(None) => self.all(),
            None if list == StagesId::ALL => self.all(),
            None => Vec::new(),
        }
    }

    /// The names of all scripts, in order: the index is the [`StageId`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.scripts.iter().map(|script| &*script.name)
    }

    /// The configuration that it was loaded by.
    #[must_use]
    pub const fn hooks(&self) -> &config::Hooks {
        &self.hooks
    }

    pub(super) fn scripts(&self) -> &[Chunk] {
        &self.scripts
    }

    pub(super) fn script(&self, stage: StageId) -> Option<&Chunk> {
        self.scripts.get(usize::from(stage.0))
    }

    pub(super) fn module(&self, name: &str) -> Option<&Chunk> {
        self.modules.get(name)
    }

    /// The full path of what messages call by this name.
    pub(super) fn path(&self, name: &str) -> Option<&Path> {
        let found = match name
            .strip_prefix("lua/")
            .and_then(|n| n.strip_suffix(".lua"))
        {
            Some(module) => self.modules.get(module),
            None => self.scripts.iter().find(|script| *script.name == *name),
        };
        found.map(|chunk| chunk.path.as_path())
    }

    fn all(&self) -> Vec<StageId> {
        (0..self.scripts.len())
            .filter_map(|place| u16::try_from(place).ok().map(StageId))
            .collect()
    }
}

impl Chunk {
    pub(super) fn title(&self) -> &CStr {
        &self.title
    }
}

/// Reads and compiles one file.
pub(super) fn read_chunk(name: &str, path: &Path) -> Result<Chunk, HookError> {
    let text = read(path).map_err(|text| problem(path, 0, text))?;
    let title = CString::new(format!("={name}"))
        .map_err(|_| problem(path, 0, "the file's name has a zero byte".into()))?;
    let code = compile(&text).map_err(|text| {
        let place = text
            .split_once(": ")
            .and_then(|(line, text)| Some((line.parse().ok()?, text)));
        let (line, text) = place.unwrap_or((0, &text));
        problem(path, line, text.to_owned())
    })?;
    Ok(Chunk {
        name: name.into(),
        path: path.to_owned(),
        code,
        title,
    })
}

/// A file's text, or what is wrong with it.
fn read(path: &Path) -> Result<String, String> {
    let describe = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    let kind = std::fs::metadata(path).map_err(describe)?;
    if !kind.is_file() {
        return Err("is no regular file".into());
    }
    let file = std::fs::File::open(path).map_err(describe)?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(describe)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err("is larger than 1 MiB; a script has at most that".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        format!("line {line} is not UTF-8; a script is UTF-8 text")
    })
}

/// The `*.lua` files of a directory in lexical order, those of folders in it too down to `depth`.
fn list(
    directory: &Path,
    default: &str,
    depth: usize,
    problems: &mut Vec<HookError>,
) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if !directory.starts_with(default) {
                problems.push(problem(directory, 0, "no such directory".into()));
            }
            return Vec::new();
        }
        Err(error) => {
            let text = match error.kind() {
                ErrorKind::NotADirectory => "is no directory".to_owned(),
                ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => error.to_string(),
            };
            problems.push(problem(directory, 0, text));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let path = entry.path();
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if hidden {
                    // An editor's, or the target of a swapped link.
                } else if path.extension().is_some_and(|extension| extension == "lua") {
                    found.push(path);
                } else if depth > 0 && path.is_dir() {
                    found.extend(list(&path, default, depth - 1, problems));
                }
            }
            Err(error) => problems.push(problem(directory, 0, error.to_string())),
        }
    }
    found.sort();
    found
}

/// `rooms/list` for `modules/rooms/list.lua`, if `require` could ask for it.
fn module_name(modules: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(modules).ok()?.to_str()?;
    let name = name.strip_suffix(".lua")?;
    is_module_name(name).then(|| name.to_owned())
}

/// Whether `require` takes it.
pub(super) fn is_module_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains("..")
        && !name.starts_with('/')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_./-".contains(&b))
}

fn problem(path: &Path, line: u32, text: String) -> HookError {
    HookError {
        fault: Fault::Failed,
        script: path.display().to_string(),
        line,
        hook: None,
        text,
        traceback: None,
        about: None,
        cut: None,
    }
}

/// Bytes of a script.
const FILE_MAX: u64 = 1 << 20;
/// Folders below `hooks.modules`.
const MODULE_DEPTH: usize = 4;
/// `hooks.directory` and `hooks.modules` where they are not set: there need be none.
const DEFAULT_DIRECTORY: &str = "/etc/wsd/hooks";
const DEFAULT_MODULES: &str = "/etc/wsd/lua";
