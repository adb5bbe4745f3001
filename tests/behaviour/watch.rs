//! Reload by a changed file, in each way in which editors and deployments change one.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Client, Site, Wsd};

const ONE: &str = "function on_message(conn, m) return 'one: ' .. m end";
const TWO: &str = "function on_message(conn, m) return 'two: ' .. m end";
const WATCH: &str = "[hooks]\nwatch = true\n";

fn node() -> (Wsd, Client) {
    let wsd = Wsd::with_hooks(WATCH, &[("hook.lua", ONE)]);
    let mut client = wsd.client("/chat");
    client.text("a");
    client.expect("one: a");
    (wsd, client)
}

#[test]
fn file_written_in_place_is_seen() {
    let (wsd, mut client) = node();
    wsd.write_hook("hook.lua", TWO);
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("two: b");
}

#[test]
fn file_renamed_over_is_seen() {
    let (wsd, mut client) = node();
    fs::write(wsd.path("hooks/.hook.lua.swp"), TWO).unwrap();
    fs::rename(wsd.path("hooks/.hook.lua.swp"), wsd.path("hooks/hook.lua")).unwrap();
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("two: b");
    // And again: the watch is not on the file that was replaced.
    fs::write(wsd.path("hooks/.hook.lua.swp"), ONE).unwrap();
    fs::rename(wsd.path("hooks/.hook.lua.swp"), wsd.path("hooks/hook.lua")).unwrap();
    wsd.wait_log("reloaded: generation 3");
    client.text("c");
    client.expect("one: c");
}

#[test]
fn new_file_is_seen() {
    let (wsd, mut client) = node();
    wsd.write_hook(
        "10-new.lua",
        "function on_message(conn, m) return 'new ' .. m end",
    );
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("one: new b");
}

#[test]
fn removed_file_is_seen() {
    let (wsd, mut client) = node();
    fs::remove_file(wsd.path("hooks/hook.lua")).unwrap();
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("b");
}

#[test]
fn swapped_symlink_is_seen() {
    // As configuration management and Kubernetes do it: the directory is a link to one of several versions.
    let site = Site::new("", &[]);
    for (version, text) in [("v1", ONE), ("v2", TWO)] {
        fs::create_dir(site.path(version)).unwrap();
        fs::write(site.path(version).join("hook.lua"), text).unwrap();
    }
    symlink(site.path("v1"), site.path("current")).unwrap();
    let directory = site.path("current").display().to_string();
    site.write_config(&format!("{WATCH}directory = \"{directory}\"\n"));
    let wsd = Wsd::on(site);
    let mut client = wsd.client("/chat");
    client.text("a");
    client.expect("one: a");
    symlink(wsd.path("v2"), wsd.path("next")).unwrap();
    fs::rename(wsd.path("next"), wsd.path("current")).unwrap();
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("two: b");
    // What the link points to now is watched as well.
    fs::write(wsd.path("v2/hook.lua"), ONE).unwrap();
    wsd.wait_log("reloaded: generation 3");
    client.text("c");
    client.expect("one: c");
}

#[test]
fn changed_drop_in_is_seen() {
    let (wsd, mut client) = node();
    wsd.write_config(&format!("{WATCH}[delivery]\nformat = \"json-array\"\n"));
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("[\"one: b\"]");
}

#[test]
fn new_drop_in_is_seen() {
    let (wsd, mut client) = node();
    fs::write(
        wsd.path("node.d/60-more.toml"),
        "[delivery]\nformat = \"json-array\"\n",
    )
    .unwrap();
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("[\"one: b\"]");
}

#[test]
fn changed_module_is_seen() {
    let site = Site::new(
        WATCH,
        &[(
            "h.lua",
            "local w = require 'word'\nfunction on_message() return w end",
        )],
    );
    fs::write(site.path("lua/word.lua"), "return 'one'").unwrap();
    let wsd = Wsd::on(site);
    let mut client = wsd.client("/chat");
    client.text("");
    client.expect("one");
    fs::write(wsd.path("lua/word.lua"), "return 'two'").unwrap();
    wsd.wait_log("reloaded: generation 2");
    client.text("");
    client.expect("two");
}

#[test]
fn broken_file_is_refused_and_the_mended_one_taken() {
    let (wsd, mut client) = node();
    wsd.write_hook(
        "hook.lua",
        "function on_message(conn, m)\n  return return\nend",
    );
    wsd.wait_log("hook.lua:2: ");
    wsd.wait_log("reload refused");
    client.text("b");
    client.expect("one: b");
    wsd.write_hook("hook.lua", TWO);
    wsd.wait_log("reloaded: generation 2");
    client.text("c");
    client.expect("two: c");
}

#[test]
fn files_that_are_no_part_of_it_reload_nothing() {
    let (wsd, mut client) = node();
    for name in [".hook.lua.swp", "hook.lua~", "notes.txt", "4913"] {
        fs::write(wsd.path("hooks").join(name), "not Lua at all").unwrap();
    }
    // What counts comes after them and makes the second generation, not a later one.
    wsd.write_hook("hook.lua", TWO);
    wsd.wait_log("reloaded: generation ");
    client.text("b");
    client.expect("two: b");
    assert_eq!(wsd.generation(), 2);
    assert_eq!(wsd.metric("wsd_reloads_total{result=\"refused\"}"), 0);
}
