//! The whole of loading: files on disk in, a configuration or its problems out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::keys::{self, KEYS, When};
use super::*;
use crate::types::StagesId;

mod hostile;
mod routing;
mod shipped;
mod tls;
mod wrong;

/// A directory of its own, gone at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wsd-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file below, its directories made.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn load(&self) -> Result<Loaded, Problems> {
        load(
            &self.0.join("wsd.toml"),
            &LoadOptions::default(),
            &mut StageLists::new(),
        )
    }

    /// The problems without the directory, a line each.
    fn problems(&self) -> String {
        let problems = self
            .load()
            .expect_err("the configuration should be refused");
        problems
            .to_string()
            .replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The configuration of a text.
pub(super) fn good(text: &str) -> Config {
    let folder = Folder::new();
    folder.write("wsd.toml", text);
    match folder.load() {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{text}\n{problems}"),
    }
}

/// The problems of a text.
fn bad(text: &str) -> String {
    let folder = Folder::new();
    folder.write("wsd.toml", text);
    folder.problems()
}

#[test]
fn nothing_written_is_the_default() {
    let mut config = good("");
    config.hooks.secrets = Config::default().hooks.secrets;
    assert_eq!(config, Config::default());
    assert_eq!(config.limits.message, 64 << 10);
    assert_eq!(config.hooks.on_error, FailurePolicy::default());
    assert_eq!(config.routes, [Arc::new(Route::any())]);
}

#[test]
fn what_is_not_built_is_fine_at_its_off_value() {
    let config = good(
        "listen.proxy_protocol = false\nlisten.trusted_proxies = []\nbroker.probe = \"0ms\"\n\
         limits.connections_per_address = 0\n\
         drain.restart_over = \"30s\"\n\
         [[route]]\npath = \"/\"\nchannels = []\n[[channel]]\nmatch = \"*\"\nhistory = { size = 0, ttl = \"1h\" }\n\
         replay = 0\non_gap = \"ignore\"\n",
    );
    assert_eq!(config.drain.restart_over, Duration::from_secs(30));
}

#[test]
fn drop_ins_are_merged_over_the_main_file_and_all_are_checked() {
    let folder = Folder::new();
    folder.write("hooks/a.lua", "");
    folder.write(
        "wsd.toml",
        "limits = { message = 1000, subscriptions = 1 }\nhooks.directory = \"hooks\"\n\
         hooks.settings = { a = 1, b = { c = 1 } }\n[[route]]\npath = \"/main\"\n",
    );
    folder.write(
        "conf.d/10-a.toml",
        "limits.message = 2000\nhooks.settings.b.d = 2\nhooks.modules = \"mods\"\n[[route]]\npath = \"/a\"\n",
    );
    folder.write(
        "conf.d/20-b.toml",
        "limits.message = 3000\n[[route]]\npath = \"/b\"\n",
    );
    folder.write("conf.d/readme.txt", "no toml");
    folder.write("conf.d/.hidden.toml", "no toml");
    fs::create_dir(folder.path().join("conf.d/mods")).unwrap();
    let loaded = folder.load().unwrap();
    let config = loaded.config;
    assert_eq!(
        (config.limits.message, config.limits.subscriptions),
        (3000, 1)
    );
    let names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["/a", "/b", "/main"]);
    assert_eq!(config.hooks.settings["b"].as_table().unwrap().len(), 2);
    // Relative to the file that says so.
    assert_eq!(config.hooks.directory, folder.path().join("hooks"));
    assert_eq!(config.hooks.modules, folder.path().join("conf.d/mods"));
    for file in [
        "wsd.toml",
        "conf.d",
        "conf.d/10-a.toml",
        "conf.d/20-b.toml",
        "hooks",
        "conf.d/mods",
    ] {
        assert!(
            loaded.files.contains(&folder.path().join(file)),
            "{file}: {:?}",
            loaded.files
        );
    }

    // A replaced value is checked too, and so is every file; the order is that of the files, then of the lines.
    folder.write("wsd.toml", "x = 1\nlimits.message = true\n");
    folder.write("conf.d/10-a.toml", "limits = 1\nlisten.backlog = [");
    assert_eq!(
        folder.problems(),
        "wsd.toml:1:1: x: unknown key; known here are listen, tls, runtime, broker, hooks, route, channel, publish, \
         delivery, compression, heartbeat, limits, drain, admin, log\n\
         wsd.toml:2:18: limits.message: true: must be a size such as \"64KiB\" or a plain number of bytes\n\
         conf.d/10-a.toml:1:10: limits: 1: must be a table, as in [limits]\n\
         conf.d/10-a.toml:2:19: unclosed array, expected ']'"
    );
}

#[test]
fn another_file_has_its_own_drop_ins() {
    let folder = Folder::new();
    folder.write("chat.toml", "");
    folder.write("conf.d/a.toml", "limits.message = 1\n");
    folder.write("chat.d/a.toml", "limits.message = 2\n");
    let options = LoadOptions::default();
    let loaded = load(
        &folder.path().join("chat.toml"),
        &options,
        &mut StageLists::new(),
    )
    .unwrap();
    assert_eq!(loaded.config.limits.message, 2);
    assert_eq!(loaded.config.hooks.secrets, folder.path().join("secrets"));
}

#[test]
fn syntax_errors_come_all_at_once_and_with_the_rest() {
    let problems = bad(
        "[limits]\nmessage = \nsubscriptions = 0\n[listen\nbacklog = 0\nfoo bar\n[log]\nlevel = 'x'\nlevel = 'y'\n",
    );
    let lines: Vec<&str> = problems.lines().collect();
    for (line, says) in [
        ("wsd.toml:2:11: ", "has no value"),
        (
            "wsd.toml:3:17: limits.subscriptions: 0",
            "must be at least 1",
        ),
        ("wsd.toml:4:", "unclosed table"),
        ("wsd.toml:6:", ""),
        ("wsd.toml:9:1: ", "duplicate key"),
    ] {
        assert!(
            lines
                .iter()
                .any(|l| l.starts_with(line) && l.contains(says)),
            "{line} {says}\n{problems}"
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let folder = Folder::new();
    assert_eq!(folder.problems(), "wsd.toml: no such file or directory");
    folder.write("wsd.toml", b"# \xc3\xa4\n# \xff\n");
    assert_eq!(
        folder.problems(),
        "wsd.toml:2:3: is not UTF-8 from here on; save it as UTF-8"
    );
    folder.write("wsd.toml", vec![b'#'; (1 << 20) + 1]);
    assert_eq!(
        folder.problems(),
        "wsd.toml: is larger than 1 MiB; a configuration is not"
    );
    folder.write("wsd.toml", "");
    fs::create_dir_all(folder.path().join("conf.d/x.toml")).unwrap();
    assert_eq!(folder.problems(), "conf.d/x.toml: is a directory");
    fs::remove_dir_all(folder.path().join("conf.d")).unwrap();
    folder.write("conf.d", "");
    assert_eq!(folder.problems(), "conf.d: not a directory");
}

#[test]
fn credentials_are_read_or_missed() {
    let folder = Folder::new();
    folder.write("credentials/redis", "geheim\n");
    let text = "[broker]\nurl = \"redis://h\"\npassword = \"credential:redis\"\n[admin]\ntoken = \"credential:token\"\n";
    let path = folder.write("wsd.toml", text);
    let mut options = LoadOptions {
        credentials: Some(folder.path().join("credentials")),
        ..LoadOptions::default()
    };
    let problems = load(&path, &options, &mut StageLists::new()).unwrap_err();
    assert_eq!(problems.count(), 1);
    assert!(
        problems
            .to_string()
            .contains(":5:9: admin.token: \"credential:token\": "),
        "{problems}"
    );

    options.missing_credential = MissingCredential::Placeholder;
    let loaded = load(&path, &options, &mut StageLists::new()).unwrap();
    assert_eq!(loaded.config.broker.password.reveal(), "geheim");
    assert_eq!(loaded.warnings.len(), 1);
    assert!(
        loaded.warnings[0]
            .to_string()
            .ends_with("a placeholder stands for it")
    );
    assert!(
        loaded
            .files
            .contains(&folder.path().join("credentials/redis"))
    );
    assert!(
        loaded
            .config
            .print()
            .contains("password = \"credential:redis\"")
    );

    options.credentials = None;
    assert_eq!(
        load(&path, &options, &mut StageLists::new())
            .unwrap()
            .warnings
            .len(),
        2
    );

    folder.write("credentials/token", "two words");
    options.credentials = Some(folder.path().join("credentials"));
    assert!(load(&path, &options, &mut StageLists::new()).is_err());
}

#[test]
fn user_and_password_may_stand_in_the_url_or_beside_it() {
    let config = good("broker.url = \"redis://ann:p%40ss@h:1/2\"\n");
    assert_eq!(config.broker.username, "ann");
    assert_eq!(config.broker.password.reveal(), "p@ss");
    assert_eq!(config.broker.url.to_string(), "redis://h:1/2");
    good("broker = { url = \"redis://ann:x@h\", username = \"ann\", password = \"x\" }\n");
    let problems =
        bad("broker = { url = \"redis://ann:x7@h\", username = \"bob\", password = \"y7\" }\n");
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(
        !problems.contains("x7") && !problems.contains("y7"),
        "{problems}"
    );
    assert!(!bad("broker.url = \"redis://ann:x7@h:0\"\n").contains("x7"));
    let debug = format!("{config:?}{}", config.print());
    assert!(!debug.contains("p@ss"), "{debug}");
}

#[test]
fn an_entry_that_can_never_match_is_a_warning() {
    let folder = Folder::new();
    folder.write(
        "wsd.toml",
        "[[route]]\npath = \"/rooms/{room}\"\n[[route]]\npath = \"/rooms/main\"\n[[route]]\npath = \"/{rest*}\"\n\
         [[route]]\npath = \"/\"\n[[channel]]\nmatch = \"room:*\"\n[[channel]]\nmatch = \"room:*:x\"\n",
    );
    let loaded = folder.load().unwrap();
    let warnings: Vec<String> = loaded
        .warnings
        .iter()
        .map(|warning| {
            warning
                .to_string()
                .replace(&format!("{}/", folder.path().display()), "")
        })
        .collect();
    assert_eq!(
        warnings,
        [
            "wsd.toml:4:8: route.path: \"/rooms/main\": can never match: \"/rooms/{room}\" at wsd.toml:2:8 stands before it",
            "wsd.toml:12:9: channel.match: \"room:*:x\": can never match: \"room:*\" at wsd.toml:10:9 stands before it",
        ]
    );
}

#[test]
fn lists_of_stages_keep_their_ids_over_loads() {
    let folder = Folder::new();
    for script in ["a.lua", "b.lua", "a_test.lua", ".x.lua", "note.txt"] {
        folder.write(&format!("hooks/{script}"), "");
    }
    assert_eq!(
        scripts(&folder.path().join("hooks")).unwrap(),
        ["a.lua", "b.lua"]
    );
    let main =
        |routes: &str| folder.write("wsd.toml", format!("hooks.directory = \"hooks\"\n{routes}"));
    let mut stages = StageLists::new();
    let options = LoadOptions::default();
    let path = main(
        "[[route]]\npath = \"/1\"\nhooks = [\"b.lua\"]\n[[route]]\npath = \"/2\"\n[[route]]\npath = \"/3\"\nhooks = []\n",
    );
    let first = load(&path, &options, &mut stages).unwrap().config;
    let ids: Vec<StagesId> = first.routes.iter().map(|route| route.hooks).collect();
    assert_eq!(ids, [StagesId(1), StagesId::ALL, StagesId(2)]);
    assert_eq!(first.stages[1].as_deref(), Some(&["b.lua".to_owned()][..]));

    main("[[route]]\npath = \"/1\"\nhooks = [\"a.lua\"]\n[[route]]\npath = \"bad\"\n");
    load(&path, &options, &mut stages).unwrap_err();
    assert_eq!(
        stages.lists().len(),
        3,
        "a refused configuration adds nothing"
    );

    main(
        "[[route]]\npath = \"/1\"\nhooks = [\"a.lua\", \"b.lua\"]\n[[route]]\npath = \"/2\"\nhooks = [\"b.lua\"]\n",
    );
    let second = load(&path, &options, &mut stages).unwrap().config;
    let ids: Vec<StagesId> = second.routes.iter().map(|route| route.hooks).collect();
    assert_eq!(ids, [StagesId(3), StagesId(1)]);

    main("[[route]]\npath = \"/1\"\nhooks = [\"c.lua\", \"a.lua\", \"a.lua\"]\n");
    let problems = folder.problems();
    assert!(
        problems.contains("4:10: route.hooks: \"c.lua\": no such file in hooks\n"),
        "{problems}"
    );
    assert!(
        problems.contains("route.hooks: \"a.lua\": stands twice"),
        "{problems}"
    );
}

#[test]
fn a_reload_knows_what_it_changes_and_when_that_holds() {
    let old = good("hooks.settings = { a = 1 }\nadmin.token = \"x\"\n");
    assert_eq!(diff(&old, &old.clone()), []);
    let new = good(
        "listen.backlog = 1\nlisten.handshake_timeout = \"1s\"\nruntime.workers = 2\nbroker.password = \"p\"\n\
         hooks.settings = { a = 2 }\nadmin.token = \"y\"\nlimits.message = 1\n[[route]]\npath = \"/a\"\n\
         [[channel]]\nmatch = \"a\"\n",
    );
    let changes: Vec<(&str, When)> = diff(&old, &new)
        .into_iter()
        .map(|c| (c.key, c.when))
        .collect();
    assert_eq!(
        changes,
        [
            ("listen.backlog", When::Restart),
            ("listen.handshake_timeout", When::NewConnections),
            ("runtime.workers", When::Restart),
            ("broker.password", When::Live),
            ("hooks.settings", When::Live),
            ("limits.message", When::Live),
            ("admin.token", When::Restart),
            ("route", When::NewConnections),
            ("channel", When::Live),
        ]
    );
    let running = new.clone().until_restart(&old);
    assert!(
        diff(&old, &running)
            .iter()
            .all(|change| change.when != When::Restart)
    );
    assert_eq!(running.limits, new.limits);

    let redis = good("broker.url = \"redis://h\"\nbroker.prefix = \"a:\"\n");
    let other = good("broker.url = \"redis+unix:///r.sock\"\n");
    let broker = |from: &Config, to: &Config| {
        let change = diff(from, to)
            .into_iter()
            .find(|c| c.key == "broker.url")
            .unwrap();
        (
            change.when,
            to.clone().until_restart(from).broker == to.broker,
        )
    };
    assert_eq!(broker(&redis, &other), (When::Live, true));
    assert_eq!(broker(&redis, &old), (When::Restart, false));
    assert_eq!(broker(&old, &redis), (When::Restart, false));

    for key in [
        "listen.addresses",
        "listen.backlog",
        "runtime.workers",
        "admin.control",
        "admin.http",
        "admin.token",
    ] {
        assert!(
            KEYS.iter()
                .any(|known| known.path == key && known.when == When::Restart),
            "{key}"
        );
    }
    assert_eq!(
        KEYS.iter().filter(|key| key.when == When::Restart).count(),
        6
    );
    assert_eq!(keys::default("limits.message"), Some("\"64KiB\""));
}
