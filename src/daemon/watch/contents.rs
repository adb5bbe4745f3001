//! How watched files and directories are now, and which directories the kernel must watch to tell of a change.
//!
//! Reads files and directories and changes nothing. `watch.rs` is the caller.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::Hasher;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use siphasher::sip::SipHasher13;

/// A hash for each watched path. No key is needed: who can write the files needs no collision.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Contents(BTreeMap<PathBuf, u64>);

impl Contents {
    /// Reads everything.
    pub(super) fn read(paths: &[PathBuf]) -> Self {
        let hash = |path: &PathBuf| {
            let mut hasher = SipHasher13::new();
            path_into(path, &mut hasher);
            (path.clone(), hasher.finish())
        };
        Self(paths.iter().map(hash).collect())
    }

    /// For paths that are in both: how they were in `old`.
    pub(super) fn keep_old(&mut self, old: &Self) {
        for (path, hash) in &mut self.0 {
            if let Some(known) = old.0.get(path) {
                *hash = *known;
            }
        }
    }
}

/// A path into a hash: that it is a file and its bytes, or a directory and its files that count, or why neither.
fn path_into(path: &Path, hasher: &mut SipHasher13) {
    let read = fs::metadata(path).and_then(|found| {
        if found.is_file() {
            hasher.write_u8(b'f');
            file_into(path, hasher)
        } else if found.is_dir() {
            hasher.write_u8(b'd');
            for name in names(path)? {
                bytes_into(name.as_encoded_bytes(), hasher);
                let file = path.join(&name);
                // Anything else might wait for a writer.
                if fs::metadata(&file).is_ok_and(|found| found.is_file()) {
                    hasher.write_u8(b'f');
                    file_into(&file, hasher).unwrap_or_else(|error| error_into(&error, hasher));
                } else {
                    hasher.write_u8(b'-');
                }
            }
            Ok(())
        } else {
            hasher.write_u8(b'o');
            Ok(())
        }
    });
    if let Err(error) = read {
        error_into(&error, hasher);
    }
}

fn file_into(path: &Path, hasher: &mut SipHasher13) -> io::Result<()> {
    // More is in no file that counts, and would only take time.
    const MOST: u64 = 16 << 20;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    bytes_into(&bytes, hasher);
    Ok(())
}

fn bytes_into(bytes: &[u8], hasher: &mut SipHasher13) {
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}

fn error_into(error: &io::Error, hasher: &mut SipHasher13) {
    hasher.write_u8(b'!');
    bytes_into(format!("{:?}", error.kind()).as_bytes(), hasher);
}

/// The files of a directory that count, in lexical order.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let extension = Path::new(&name).extension();
        let counts = extension == Some(OsStr::new("lua")) || extension == Some(OsStr::new("toml"));
        if counts && !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The directories in which every change of these paths shows, free of symlinks.
pub(super) fn directories(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in paths {
        walk(path, &mut found);
        for name in names(path).unwrap_or_default() {
            let file = path.join(name);
            // Others are seen in the directory itself.
            if file.is_symlink() {
                walk(&file, &mut found);
            }
        }
    }
    found
}

/// Follows a path from the root and adds each directory with an entry on the way that may be replaced: a symlink, one
/// that is not there yet, the last two; and the path itself if it is a directory.
fn walk(path: &Path, found: &mut BTreeSet<PathBuf>) {
    // Linux follows as many in one path.
    const MOST_LINKS: usize = 40;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut here = PathBuf::from("/");
    let mut ahead = entries(&absolute);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let Ok(kind) = fs::symlink_metadata(&next).map(|found| found.file_type()) else {
            found.insert(here);
            return;
        };
        if kind.is_symlink() {
            found.insert(here.clone());
            links += 1;
            let (Ok(target), false) = (fs::read_link(&next), links > MOST_LINKS) else {
                return;
            };
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            let mut onward = entries(&target);
            onward.append(&mut ahead);
            ahead = onward;
            continue;
        }
        if ahead.len() <= 1 || !kind.is_dir() {
            found.insert(here.clone());
        }
        if !kind.is_dir() {
            return;
        }
        here = next;
    }
    found.insert(here);
}

fn entries(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
        })
        .collect()
}
