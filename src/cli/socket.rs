//! Which daemon a tool speaks to: the path of its control socket and the name of its unit.
//!
//! In this order: `--socket`, `-i NAME`, `$RUNTIME_DIRECTORY`, `admin.control` of the configuration. The configuration
//! is only searched for that one key and never judged: `wsd reload` and `wsd status` must find the daemon also when the
//! file has just been broken.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::args::{Args, Target};
use super::{Failure, unreachable_daemon};
use crate::config::drop_in_directory;
use crate::control;
use crate::control::client::Client;

/// Connects to the daemon that is meant, or says why not.
pub(super) fn connect(args: &Args, target: &Target) -> Result<Client, Failure> {
    let (path, unit) = locate(args, target);
    Client::connect(&path, &unit).map_err(|error| unreachable_daemon(&error))
}

fn locate(args: &Args, target: &Target) -> (PathBuf, String) {
    let unit = args
        .instance
        .as_ref()
        .map_or_else(|| "wsd".to_owned(), |name| format!("wsd@{name}"));
    if let Some(path) = &target.socket {
        return (path.clone(), unit);
    }
    if let Some(name) = &args.instance {
        return (PathBuf::from(format!("/run/wsd-{name}/control.sock")), unit);
    }
    let runtime = std::env::var_os("RUNTIME_DIRECTORY");
    let path = control::socket_path(runtime.as_deref(), &configured(&args.config()));
    (path, unit)
}

/// `admin.control` as the file and its drop-ins say it; the default where they do not, or cannot be read.
fn configured(config: &Path) -> PathBuf {
    let mut path = PathBuf::from("/run/wsd/control.sock");
    let mut files = vec![config.to_owned()];
    files.extend(drop_ins(config));
    for file in files {
        let said = std::fs::read_to_string(&file)
            .ok()
            .and_then(|text| admin_control(&text));
        if let Some(said) = said {
            // A relative path is meant from the file that says it.
            path = file.parent().unwrap_or_else(|| Path::new("")).join(said);
        }
    }
    path
}

/// In lexical order, as far as they can be listed.
fn drop_ins(config: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(drop_in_directory(config))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    files
}

/// The key alone, also out of a text with errors elsewhere.
fn admin_control(text: &str) -> Option<String> {
    // Some errors hide all that comes after them: then the table is read by itself.
    let table = text.split_inclusive('\n').scan(0, |end, line| {
        let start = *end;
        *end += line.len();
        Some((start, line))
    });
    let alone = table
        .filter(|(_, line)| line.trim() == "[admin]")
        .find_map(|(start, _)| control(text.get(start..)?));
    control(text).or(alone)
}

fn control(text: &str) -> Option<String> {
    let (table, _) = DeTable::parse_recoverable(text);
    let control = table.get_ref().get("admin")?.get_ref().get("control")?;
    control.get_ref().as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_a_broken_file() {
        for broken in [
            "[limits]\nmessage = \"64 XB\n",
            "foo bar\n",
            "[limits\n",
            "x = = 3\n",
            "a = [1,\n",
            "a = 1\na = 2\n",
        ] {
            let text = format!("{broken}[admin]\ncontrol = \"/srv/c.sock\"\n");
            assert_eq!(
                admin_control(&text).as_deref(),
                Some("/srv/c.sock"),
                "{text}"
            );
            let text = format!("[admin]\ncontrol = \"/srv/c.sock\"\n{broken}");
            assert_eq!(
                admin_control(&text).as_deref(),
                Some("/srv/c.sock"),
                "{text}"
            );
        }
        assert_eq!(admin_control("[admin]\ncontrol = 5\n"), None);
        assert_eq!(admin_control("admin = 5\n"), None);
    }

    #[test]
    fn a_drop_in_has_the_last_word() {
        let directory = std::env::temp_dir().join(format!("wsd-socket-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("conf.d")).unwrap();
        let main = directory.join("wsd.toml");
        assert_eq!(configured(&main), Path::new("/run/wsd/control.sock"));
        std::fs::write(&main, "[admin]\ncontrol = \"a.sock\"\n").unwrap();
        assert_eq!(configured(&main), directory.join("a.sock"));
        std::fs::write(
            directory.join("conf.d/b.toml"),
            "admin.control = \"/b.sock\"\n",
        )
        .unwrap();
        std::fs::write(
            directory.join("conf.d/a.toml"),
            "admin.control = \"/a.sock\"\n",
        )
        .unwrap();
        std::fs::write(
            directory.join("conf.d/z.toml~"),
            "admin.control = \"/z.sock\"\n",
        )
        .unwrap();
        assert_eq!(configured(&main), Path::new("/b.sock"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
