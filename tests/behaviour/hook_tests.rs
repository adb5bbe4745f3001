//! Tests of hooks: `wsd test`, and a node that runs them before it takes scripts.

use std::path::Path;

use crate::support::{Site, Wsd, binary};

const HOOK: &str = "function on_message(conn, m) return 'one: ' .. m end";
const TEST: &str = "local t = require 'test'
t.case('hook: says one', function()
  t.load 'hook.lua'
  local c = t.conn { channel = 'a' }
  t.eq(c:connect(), 'accepted')
  t.eq(c:message('x').data, 'one: x')
end)";

#[test]
fn wsd_test_prints_a_line_per_case_and_exits_1_when_one_fails() {
    let site = Site::new("", &[("hook.lua", HOOK)]);
    let ran = site.tool(&["test"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("no *_test.lua beside the hooks in "),
        "{ran:?}"
    );
    site.write_hook("hook_test.lua", TEST);
    let ran = site.tool(&["test"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.starts_with("ok: hook: says one (on_message "),
        "{ran:?}"
    );
    assert!(ran.out.ends_with("1 passed, 0 failed\n"), "{ran:?}");
    site.write_hook("hook.lua", &HOOK.replace("one", "two"));
    let ran = site.tool(&["test"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let place = site.path("hooks/hook_test.lua");
    let expected = format!(
        "{}:6: hook: says one: expected \"one: x\", got \"two: x\"\n0 passed, 1 failed\n",
        place.display()
    );
    assert!(ran.out.ends_with(&expected), "{ran:?}");
    // Named files only; one that is not there is a failure with its name.
    let ran = site.tool(&["test", place.to_str().unwrap(), "/nowhere/x_test.lua"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.out
            .contains("/nowhere/x_test.lua: no such file\n0 passed, 2 failed\n"),
        "{ran:?}"
    );
}

#[test]
fn a_node_with_hooks_test_takes_only_scripts_that_pass() {
    let config = "[hooks]\ntest = true\n";
    let wsd = Wsd::with_hooks(config, &[("hook.lua", HOOK), ("hook_test.lua", TEST)]);
    let mut client = wsd.client("/chat");
    wsd.write_hook("hook.lua", &HOOK.replace("one", "two"));
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 1, "{ran:?}");
    let printed = format!("{}{}", ran.out, ran.err);
    assert!(
        printed
            .contains("hooks/hook_test.lua:6: hook: says one: expected \"one: x\", got \"two: x\""),
        "{printed}"
    );
    client.text("a");
    client.expect("one: a");
    let problems = wsd.status()["last_reload"]["problems"].clone();
    assert_eq!(problems.as_array().map(Vec::len), Some(1), "{problems}");
    wsd.write_hook("hook_test.lua", &TEST.replace("one", "two"));
    wsd.reload();
    client.text("b");
    client.expect("two: b");
}

#[test]
fn a_node_with_hooks_test_does_not_start_when_one_fails() {
    let site = Site::new(
        "[hooks]\ntest = true\n",
        &[("hook.lua", ""), ("hook_test.lua", TEST)],
    );
    let ran = site.tool(&["run"]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(
        ran.err
            .contains("hooks/hook_test.lua:6: hook: says one: expected \"one: x\", got \"x\""),
        "{ran:?}"
    );
}

#[test]
fn the_examples_pass_with_the_configuration_of_the_demo() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/demo.toml");
    for command in ["check", "test"] {
        let ran = binary().args([command, "-c"]).arg(&demo).output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{ran:?}");
    }
}
