//! Real files, the real kernel: each way in which files are replaced, and again after it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

use notify::event::{CreateKind, ModifyKind};

use super::*;

/// Nothing here takes half as long.
const DEADLINE: Duration = Duration::from_secs(20);

/// Fast enough for tests; no poll comes to help.
const PACE: Pace = Pace {
    quiet: Duration::from_millis(30),
    longest: Duration::from_millis(200),
    poll: Duration::from_secs(3600),
    blind_poll: Duration::from_secs(3600),
};

/// A directory of its own with a watcher on some of it; each call says what then stood in one file.
struct Scene {
    root: PathBuf,
    calls: Option<Receiver<String>>,
    watcher: Option<Watcher>,
}

impl Scene {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("wsd-watch-{}-{number}", std::process::id()));
        // One below, so that the parent of everything is this test's own and other tests are no events here.
        fs::create_dir_all(root.join("etc")).unwrap();
        Self {
            root,
            calls: None,
            watcher: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join("etc").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// As editors and package managers save.
    fn rename_over(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new~"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn watch(&mut self, names: &[&str], shown: &str) {
        self.watch_with(names, shown, PACE, Kernel::Watches);
    }

    fn watch_with(&mut self, names: &[&str], shown: &str, pace: Pace, kernel: Kernel) {
        let (sender, calls) = channel();
        let shown = self.path(shown);
        let changed = move || {
            let _ = sender.send(fs::read_to_string(&shown).unwrap_or_else(|_| "gone".to_owned()));
        };
        let paths = names.iter().map(|name| self.path(name)).collect();
        self.watcher = Some(Watcher::with_pace(paths, Box::new(changed), pace, kernel).unwrap());
        self.calls = Some(calls);
    }

    /// Waits for a call after which the file held this.
    fn until(&self, text: &str) {
        let calls = self.calls.as_ref().unwrap();
        loop {
            match calls.recv_timeout(DEADLINE) {
                Ok(found) if found == text => return,
                Ok(_) => {}
                Err(_) => panic!("no call for {text:?}"),
            }
        }
    }

    /// Stops watching; how many more calls there were.
    fn rest(&mut self) -> usize {
        self.watcher = None;
        self.calls.take().unwrap().iter().count()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.watcher = None;
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn saves_in_place_and_by_rename_are_seen_each_time() {
    let mut scene = Scene::new();
    scene.write("wsd.toml", "1");
    scene.watch(&["wsd.toml"], "wsd.toml");
    for round in 0..3 {
        scene.write("wsd.toml", &format!("in place {round}"));
        scene.until(&format!("in place {round}"));
        scene.rename_over("wsd.toml", &format!("renamed {round}"));
        scene.until(&format!("renamed {round}"));
    }
    fs::remove_file(scene.path("wsd.toml")).unwrap();
    scene.until("gone");
    scene.write("wsd.toml", "back");
    scene.until("back");
}

#[test]
fn new_changed_and_removed_files_of_a_directory_are_seen() {
    let mut scene = Scene::new();
    scene.write("hooks/a.lua", "1");
    scene.watch(&["wsd.toml", "hooks", "conf.d"], "hooks/b.lua");
    scene.write("hooks/b.lua", "new");
    scene.until("new");
    scene.rename_over("hooks/b.lua", "other");
    scene.until("other");
    fs::rename(scene.path("hooks/b.lua"), scene.path("hooks/c.lua")).unwrap();
    scene.until("gone");
    // A directory that was not there, with a file written at once.
    scene.write("conf.d/x.toml", "x");
    scene.until("gone");
    scene.write("conf.d/x.toml", "y");
    scene.until("gone");
    assert_eq!(scene.rest(), 0);
}

#[test]
fn a_swapped_link_is_seen_each_time() {
    // As Kubernetes mounts a ConfigMap: the files are links through `..data`, which is renamed over.
    let mut scene = Scene::new();
    scene.write("..1/wsd.toml", "1");
    symlink("..1", scene.path("..data")).unwrap();
    symlink("..data/wsd.toml", scene.path("wsd.toml")).unwrap();
    symlink("../..data", scene.path("x")).unwrap();
    scene.watch(&["wsd.toml"], "wsd.toml");
    for round in 2..5 {
        scene.write(&format!("..{round}/wsd.toml"), &round.to_string());
        symlink(format!("..{round}"), scene.path("..data_tmp")).unwrap();
        fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
        fs::remove_dir_all(scene.path(&format!("..{}", round - 1))).unwrap();
        scene.until(&round.to_string());
    }
}

#[test]
fn the_target_of_a_link_is_watched_where_it_lies() {
    let mut scene = Scene::new();
    scene.write("far/away/wsd.toml", "1");
    scene.write("far/away/chat.lua", "1");
    symlink(scene.path("far/away/wsd.toml"), scene.path("wsd.toml")).unwrap();
    fs::create_dir(scene.path("hooks")).unwrap();
    symlink("../far/away/chat.lua", scene.path("hooks/chat.lua")).unwrap();
    scene.watch(&["wsd.toml"], "wsd.toml");
    scene.write("far/away/wsd.toml", "2");
    scene.until("2");
    scene.rename_over("far/away/wsd.toml", "3");
    scene.until("3");
    scene.watch(&["hooks"], "hooks/chat.lua");
    scene.write("far/away/chat.lua", "2");
    scene.until("2");
    scene.rename_over("far/away/chat.lua", "3");
    scene.until("3");
}

#[test]
fn a_directory_that_is_a_swapped_link_is_seen_each_time() {
    let mut scene = Scene::new();
    scene.write("a/hooks/chat.lua", "a");
    scene.write("b/hooks/chat.lua", "b");
    symlink("a", scene.path("current")).unwrap();
    scene.watch(&["current/hooks"], "current/hooks/chat.lua");
    for name in ["b", "a", "b"] {
        symlink(name, scene.path("next")).unwrap();
        fs::rename(scene.path("next"), scene.path("current")).unwrap();
        scene.until(name);
        scene.rename_over(&format!("{name}/hooks/chat.lua"), &format!("{name}+"));
        scene.until(&format!("{name}+"));
        scene.write(&format!("{name}/hooks/chat.lua"), name);
        scene.until(name);
    }
}

#[test]
fn a_directory_that_was_removed_and_made_again_is_watched_again() {
    let mut scene = Scene::new();
    scene.write("wsd/hooks/chat.lua", "1");
    scene.watch(&["wsd/wsd.toml", "wsd/hooks"], "wsd/hooks/chat.lua");
    for round in ["2", "3"] {
        fs::remove_dir_all(scene.path("wsd/hooks")).unwrap();
        scene.until("gone");
        scene.write("wsd/hooks/chat.lua", round);
        scene.until(round);
        scene.write("wsd/hooks/chat.lua", "more");
        scene.until("more");
        fs::rename(scene.path("wsd"), scene.path("old")).unwrap();
        scene.until("gone");
        scene.write("wsd/hooks/chat.lua", "new");
        scene.until("new");
        fs::remove_dir_all(scene.path("old")).unwrap();
        scene.write("wsd/hooks/chat.lua", "newer");
        scene.until("newer");
    }
}

#[test]
fn what_does_not_change_the_content_is_no_change() {
    let mut scene = Scene::new();
    scene.write("wsd.toml", "1");
    scene.write("hooks/chat.lua", "1");
    scene.watch(&["wsd.toml", "hooks"], "wsd.toml");
    for _ in 0..100 {
        fs::read(scene.path("wsd.toml")).unwrap();
        fs::read_dir(scene.path("hooks")).unwrap().count();
        scene.rename_over("wsd.toml", "1");
        scene.write("hooks/chat.lua", "1");
        scene.write("hooks/.chat.lua.swp", "editor");
        scene.write("hooks/4913", "editor");
        scene.write("hooks/chat.lua~", "editor");
        fs::remove_file(scene.path("hooks/4913")).unwrap();
    }
    scene.write("wsd.toml", "2");
    scene.until("2");
    assert_eq!(scene.rest(), 0, "the one call was for the one change");
}

#[test]
fn many_saves_are_few_calls_and_the_last_is_seen() {
    let mut scene = Scene::new();
    scene.write("wsd.toml", "0");
    scene.watch(&["wsd.toml"], "wsd.toml");
    for save in 0..500 {
        scene.rename_over("wsd.toml", &format!("{}", save / 100));
    }
    scene.rename_over("wsd.toml", "last");
    let calls = scene.calls.as_ref().unwrap();
    let mut count = 0;
    while calls
        .recv_timeout(DEADLINE)
        .expect("a call for the last save")
        != "last"
    {
        count += 1;
    }
    assert!(count <= 5, "{count} calls for 5 contents");
    assert_eq!(scene.rest(), 0);
}

#[test]
fn other_paths_are_compared_with_how_they_were_known() {
    let mut scene = Scene::new();
    scene.write("wsd.toml", "1");
    scene.watch(&["wsd.toml"], "wsd.toml");
    scene.write("conf.d/a.toml", "1");
    let paths = vec![scene.path("wsd.toml"), scene.path("conf.d")];
    scene.watcher.as_ref().unwrap().set_paths(paths.clone());
    scene.write("conf.d/a.toml", "2");
    scene.until("1");
    // Changed and set again at once: the change counts.
    scene.write("wsd.toml", "2");
    scene.watcher.as_ref().unwrap().set_paths(paths);
    scene.until("2");
    scene
        .watcher
        .as_ref()
        .unwrap()
        .set_paths(vec![scene.path("other.toml")]);
    scene.write("wsd.toml", "3");
    scene.write("other.toml", "x");
    scene.until("3");
    assert_eq!(scene.rest(), 0, "what is watched no more is no change");
}

#[test]
fn without_the_kernel_a_poll_finds_it() {
    let mut scene = Scene::new();
    scene.write("wsd.toml", "1");
    let pace = Pace {
        blind_poll: Duration::from_millis(20),
        ..PACE
    };
    scene.watch_with(&["wsd.toml"], "wsd.toml", pace, Kernel::Unused);
    scene.write("wsd.toml", "2");
    scene.until("2");
}

#[test]
fn strange_paths_are_watched_without_harm() {
    let mut scene = Scene::new();
    symlink("loop", scene.path("loop")).unwrap();
    scene.write("file", "");
    scene.watch(
        &[
            "loop",
            "loop/x",
            "file/x",
            "../etc/../etc/x.toml",
            "no/such/place",
            "/",
        ],
        "x.toml",
    );
    scene.write("x.toml", "1");
    scene.until("1");
    scene.write("no/such/place", "1");
    scene.until("1");
}

#[test]
fn only_reading_is_no_event() {
    for (kind, counts) in [
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
        (
            EventKind::Access(AccessKind::Close(AccessMode::Read)),
            false,
        ),
        (EventKind::Access(AccessKind::Read), false),
        (
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            true,
        ),
        (EventKind::Create(CreateKind::Any), true),
        (EventKind::Modify(ModifyKind::Any), true),
        (EventKind::Other, true),
    ] {
        assert_eq!(matters(kind), counts, "{kind:?}");
    }
}

#[test]
fn the_directories_are_those_where_a_change_shows() {
    let scene = Scene::new();
    let root = fs::canonicalize(&scene.root).unwrap();
    scene.write("real/hooks/chat.lua", "");
    symlink("real/hooks", scene.path("hooks")).unwrap();
    let found: Vec<PathBuf> = directories(&[scene.path("hooks"), scene.path("none/x/y.toml")])
        .into_iter()
        .filter_map(|path| path.strip_prefix(&root).map(Path::to_owned).ok())
        .collect();
    assert_eq!(
        found,
        ["", "etc", "etc/real", "etc/real/hooks"].map(PathBuf::from)
    );
}
