//! Reads the configuration's files and has them checked.
//!
//! The main file, its drop-ins in lexical order, then `raw.rs` and `validate/`. Nothing is kept from one load to the
//! next but the lists of stages. The daemon calls [`load`] at start and at every reload, `wsd check` once.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::Check;
use super::problem::{Fault, Place, Problem, Problems, Source, line_and_column, resolve};
use super::raw::{self, Table};
use super::stages::StageLists;
use super::{Config, Hooks, validate};

/// How to load.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoadOptions {
    /// `$CREDENTIALS_DIRECTORY`, where that is set.
    pub credentials: Option<PathBuf>,
    /// What a credential is that cannot be read.
    pub missing_credential: MissingCredential,
    /// The time since 1970, by which certificates are judged.
    pub now: Duration,
}

/// What a credential is that cannot be read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MissingCredential {
    /// A warning, and a placeholder stands for it: `check` outside the service.
    Placeholder,
    /// A problem.
    #[default]
    Problem,
}

/// A configuration and what it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Checked.
    pub config: Config,
    /// What is odd but no reason to refuse it.
    pub warnings: Vec<Problem>,
    /// Every file and directory that it was made of, absolute, for watching: also drop-in, script and module directories
    /// that are not there yet.
    pub files: Vec<PathBuf>,
    /// Where `admin.control`, `admin.http` and `listen.addresses` stand, as `path:line:column`; the main file's path for one that is not written.
    pub places: Vec<(&'static str, String)>,
}

/// Keys whose values are found to be impossible only when the daemon tries them.
pub(super) const BOUND: [&str; 3] = ["admin.control", "admin.http", "listen.addresses"];

/// Loads a configuration file with its drop-ins and checks it: all of it, or every problem of all files.
///
/// `stages` grows only if the configuration is good.
pub fn load(
    path: &Path,
    options: &LoadOptions,
    stages: &mut StageLists,
) -> Result<Loaded, Problems> {
    let mut files = Files::default();
    let drop_ins = drop_in_directory(path);
    let root = files.read_all(path, &drop_ins);
    let secrets = files.secrets();
    let mut check = Check {
        root: &root,
        sources: &files.sources,
        bases: &files.bases,
        disk: Some(options),
        faults: Vec::new(),
        warnings: Vec::new(),
        stages: stages.clone(),
        scripts: None,
        files: Vec::new(),
    };
    let config = validate::config(&mut check, &secrets);
    let Check {
        faults,
        warnings,
        stages: grown,
        files: credentials,
        ..
    } = check;

    let mut watched: Vec<PathBuf> = files
        .sources
        .iter()
        .map(|source| absolute(&source.shown))
        .collect();
    watched.push(absolute(&drop_ins));
    watched.extend([config.hooks.directory.clone(), config.hooks.modules.clone()]);
    watched.extend(credentials);
    watched.extend(files_in(&secrets));
    watched.sort();
    watched.dedup();

    let faults = files.with_syntax(faults);
    if !faults.is_empty() {
        let mut problems = resolve(faults, &files.sources);
        problems.files = watched;
        return Err(problems);
    }
    *stages = grown;
    let places = BOUND.map(|key| {
        (
            key,
            files.place(path, root.find(key).map(|entry| entry.key)),
        )
    });
    Ok(Loaded {
        config,
        places: places.into(),
        warnings: resolve(warnings, &files.sources).list,
        files: watched,
    })
}

/// `[hooks]` of a configuration that is refused, as far as it can be made out: its scripts have problems of their own to
/// tell.
#[must_use]
pub fn hooks(path: &Path, options: &LoadOptions) -> Hooks {
    let mut files = Files::default();
    let root = files.read_all(path, &drop_in_directory(path));
    let mut check = Check {
        root: &root,
        sources: &files.sources,
        bases: &files.bases,
        disk: Some(options),
        faults: Vec::new(),
        warnings: Vec::new(),
        stages: StageLists::new(),
        scripts: None,
        files: Vec::new(),
    };
    validate::config(&mut check, &files.secrets()).hooks
}

impl Default for Config {
    /// What holds without any file; nothing outside the program is looked at.
    fn default() -> Self {
        let root = Table::default();
        let mut check = Check {
            root: &root,
            sources: &[],
            bases: &[],
            disk: None,
            faults: Vec::new(),
            warnings: Vec::new(),
            stages: StageLists::new(),
            scripts: None,
            files: Vec::new(),
        };
        validate::config(&mut check, Path::new("/etc/wsd/secrets"))
    }
}

/// The scripts in a directory, tests left out, in lexical order.
pub fn scripts(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(b".") || !has_extension(&name, "lua") {
            continue;
        }
        let Ok(name) = name.into_string() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the name of a script is not UTF-8; rename it",
            ));
        };
        if !name.ends_with("_test.lua") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What went wrong, in the words of messages.
pub(super) fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let mut letters = text.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_lowercase().chain(letters).collect()
            })
        }
    }
}

/// `conf.d` beside `wsd.toml`, `X.d` beside another `X.toml`.
#[must_use]
pub fn drop_in_directory(path: &Path) -> PathBuf {
    let name = match path.file_name() {
        Some(name) if name == "wsd.toml" => "conf.d".into(),
        _ => {
            let mut name = path.file_stem().unwrap_or_default().to_owned();
            name.push(".d");
            name
        }
    };
    path.with_file_name(name)
}

/// The files of one load.
#[derive(Default)]
struct Files {
    sources: Vec<Source>,
    /// The directory of each source, absolute.
    bases: Vec<PathBuf>,
    /// What could not be read, and what is wrong with the syntax.
    faults: Vec<Fault>,
}

impl Files {
    /// A larger file is none that somebody wrote.
    const LARGEST: usize = 1 << 20;

    /// The file with its drop-ins, merged.
    fn read_all(&mut self, path: &Path, drop_ins: &Path) -> Table {
        let mut trees = vec![self.read(path)];
        for file in self.drop_ins(drop_ins) {
            trees.push(self.read(&file));
        }
        raw::merged(trees)
    }

    /// In the form of a problem's.
    fn place(&self, main: &Path, place: Option<Place>) -> String {
        let found = place.and_then(|place| Some((self.sources.get(place.file)?, place.offset)));
        found.map_or_else(
            || main.display().to_string(),
            |(source, offset)| {
                let (line, column) = line_and_column(&source.text, offset);
                format!("{}:{line}:{column}", source.shown.display())
            },
        )
    }

    /// `secrets` beside the main file.
    fn secrets(&self) -> PathBuf {
        self.bases
            .first()
            .cloned()
            .unwrap_or_default()
            .join("secrets")
    }

    /// Reads a file into a tree, an empty one if that cannot be done.
    fn read(&mut self, path: &Path) -> Table {
        let file = self.sources.len();
        let bytes = read_bounded(path, Self::LARGEST);
        let (text, fault) = match bytes {
            Err(error) => (String::new(), Some((Err(file), io_text(&error)))),
            Ok(bytes) if bytes.len() > Self::LARGEST => {
                let what = "is larger than 1 MiB; a configuration is not".to_owned();
                (String::new(), Some((Err(file), what)))
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => (text, None),
                Err(error) => {
                    let offset = error.utf8_error().valid_up_to();
                    let what = "is not UTF-8 from here on; save it as UTF-8".to_owned();
                    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    (text, Some((Ok(Place { file, offset }), what)))
                }
            },
        };
        let readable = fault.is_none();
        self.faults.extend(fault.map(|(place, what)| Fault {
            place,
            key: String::new(),
            what,
        }));
        let tree = if readable {
            raw::parse(&text, file, &mut self.faults)
        } else {
            Table::default()
        };
        let base = absolute(path).parent().map(Path::to_owned);
        self.bases.push(base.unwrap_or_default());
        self.sources.push(Source {
            shown: path.to_owned(),
            text,
        });
        tree
    }

    /// The drop-ins in lexical order; a directory that is not there has none.
    fn drop_ins(&mut self, directory: &Path) -> Vec<PathBuf> {
        let listed = fs::read_dir(directory).and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<Vec<_>>>()
        });
        match listed {
            Ok(mut names) => {
                names.retain(|name| {
                    has_extension(name, "toml") && !name.as_encoded_bytes().starts_with(b".")
                });
                names.sort();
                names.iter().map(|name| directory.join(name)).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let file = self.sources.len();
                self.faults.push(Fault {
                    place: Err(file),
                    key: String::new(),
                    what: io_text(&error),
                });
                self.bases.push(absolute(directory));
                self.sources.push(Source {
                    shown: directory.to_owned(),
                    text: String::new(),
                });
                Vec::new()
            }
        }
    }

    /// Adds what is wrong with files as such. Where a line's syntax is wrong, what the parser made of that line is not
    /// what was meant, so no other problem of it counts, nor that something is missing from then on.
    fn with_syntax(&self, faults: Vec<Fault>) -> Vec<Fault> {
        let line = |place: Place| {
            let source = self.sources.get(place.file)?;
            Some((place.file, line_and_column(&source.text, place.offset).0))
        };
        let broken: Vec<(usize, usize)> = self
            .faults
            .iter()
            .take(Problems::SHOWN)
            .filter_map(|fault| line(fault.place.ok()?))
            .collect();
        let mut all = self.faults.clone();
        if broken.is_empty() {
            all.extend(faults);
            return all;
        }
        // Each place is looked up by counting lines: nobody reads more than these.
        all.extend(faults.into_iter().take(Problems::SHOWN).filter(|fault| {
            let Ok(place) = fault.place else {
                return true;
            };
            let missing = fault.what.starts_with("is missing");
            let file_is_broken = broken.iter().any(|(file, _)| *file == place.file);
            !(file_is_broken && (missing || place.offset == 0))
                && line(place).is_none_or(|line| !broken.contains(&line))
        }));
        all
    }
}

/// At most one byte more than `most`, so that the caller sees that it is too large.
///
/// Of regular files only: a pipe that nobody writes to would be waited for, and a device may never end.
pub fn read_bounded(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files in a directory, as far as it can be read.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect()
}

/// From the root; as it is if the current directory is unknown.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn has_extension(name: &OsStr, extension: &str) -> bool {
    Path::new(name).extension() == Some(OsStr::new(extension))
}
