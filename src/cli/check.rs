//! `wsd check`: judges configuration and scripts as `run` would, binds nothing, needs no running daemon.
//!
//! What is refused or worth a warning goes to stderr, one `path:line:column: key: what` a line as editors know it; the
//! summary of what is right, and what `--print` asks for, to stdout.

use std::fmt::Write;
use std::path::Path;

use super::args::Check;
use super::backend::{self, Checked, Refusal};
use super::rights::{self, Judge};
use super::{Failure, output};
use crate::config::count_line;
use crate::script;

pub(super) fn run(config: &Path, options: Check) -> Result<(), Failure> {
    if options.api {
        // A reader that has gone has seen enough.
        let _ = output::line(script::api_text().trim_end());
        return Ok(());
    }
    let judge = rights::judge(config);
    let checked = backend::check(config).map_err(|refusal| judged(&refusal, judge))?;
    for warning in &checked.warnings {
        output::error(warning);
    }
    if options.strict && !checked.warnings.is_empty() {
        output::error(format_args!(
            "wsd: {}, refused because of --strict",
            count(checked.warnings.len(), "warning")
        ));
        return Err(Failure::Refused);
    }
    let text = if options.print {
        checked.printed.trim_end().to_owned()
    } else {
        summary(config, &checked)
    };
    // A reader that has gone has seen enough.
    let _ = output::line(text);
    Ok(())
}

/// Prints the problems, and whose they are where rights are among them.
fn judged(refusal: &Refusal, judge: Judge) -> Failure {
    let denied = refusal.lines.to_lowercase().contains("permission denied");
    if denied && judge == Judge::Stranger {
        output::error(&refusal.lines);
        output::error(
            "wsd: you may not read all of it, the service may; ask as its user: sudo -u wsd wsd check",
        );
        return Failure::Failed;
    }
    if denied && judge == Judge::Service {
        output::error(&refusal.lines);
        output::error(
            "wsd: judged by the rights of the user wsd, as the service has them; chgrp wsd and chmod g+r let it read a file",
        );
        output::error(count_line(refusal.count));
        return Failure::Refused;
    }
    refused(refusal)
}

/// Prints the problems and their number.
pub(super) fn refused(refusal: &Refusal) -> Failure {
    output::error(&refusal.lines);
    output::error(count_line(refusal.count));
    Failure::Refused
}

/// One line for the configuration, and one for each script with the hooks found in it.
fn summary(config: &Path, checked: &Checked) -> String {
    let routes = if checked.routes == 0 {
        "no routes (every path is a channel)".to_owned()
    } else {
        format!("{} (other paths are 404)", count(checked.routes, "route"))
    };
    let mut text = format!(
        "{}: ok: {}, {}, {} broker, {routes}, {}",
        config.display(),
        count(checked.listeners, "listener"),
        count(checked.workers, "worker"),
        checked.broker,
        count(checked.scripts.len(), "script"),
    );
    for script in &checked.scripts {
        let hooks = if script.hooks.is_empty() {
            "no hooks".to_owned()
        } else {
            script.hooks.join(", ")
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}: {hooks}", script.name);
    }
    text
}

fn count(number: usize, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::backend::Script;

    #[test]
    fn the_summary_has_the_form_that_scripts_know() {
        let script = |name: &str, hooks: &[&str]| Script {
            name: name.to_owned(),
            hooks: hooks.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut checked = Checked {
            warnings: Vec::new(),
            printed: String::new(),
            listeners: 2,
            workers: 4,
            broker: "redis",
            routes: 3,
            scripts: vec![
                script("10-auth.lua", &["on_connect", "on_subscribe", "on_message"]),
                script("chat.lua", &["on_connect", "on_message", "on_batch"]),
            ],
        };
        assert_eq!(
            summary(Path::new("/etc/wsd/wsd.toml"), &checked),
            "/etc/wsd/wsd.toml: ok: 2 listeners, 4 workers, redis broker, 3 routes (other paths are 404), 2 scripts\n  \
               10-auth.lua: on_connect, on_subscribe, on_message\n  \
               chat.lua: on_connect, on_message, on_batch"
        );
        checked.listeners = 1;
        checked.workers = 1;
        checked.broker = "memory";
        checked.routes = 0;
        checked.scripts = vec![script("empty.lua", &[])];
        assert_eq!(
            summary(Path::new("a.toml"), &checked),
            "a.toml: ok: 1 listener, 1 worker, memory broker, no routes (every path is a channel), 1 script\n  empty.lua: no hooks"
        );
    }
}
