//! `wsd test`: the examples pass, and what is wrong is said where it is.

use super::*;
use crate::script::{TestSummary, run_tests};

fn run(files: &[PathBuf], hooks: &config::Hooks) -> (TestSummary, String) {
    let mut out = Vec::new();
    let summary = run_tests(files, hooks, &mut out).unwrap();
    (summary, String::from_utf8(out).unwrap())
}

#[test]
fn the_examples_pass_their_tests_and_the_check() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("etc/hooks");
    let empty = directory(&[]);
    let hooks = config::Hooks {
        secrets: examples.join("../secrets"),
        directory: examples.clone(),
        ..configuration(&empty)
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&examples)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with("_test.lua"))
        .collect();
    files.sort();
    let (summary, out) = run(&files, &hooks);
    assert_eq!(summary.failed, 0, "{out}");
    assert!(summary.passed >= 26, "{out}");
    let bundle = Bundle::load(&hooks, &[None]).unwrap();
    // Each example has a test beside it.
    assert_eq!(bundle.names().count(), files.len());
    let (send, _log) = std::sync::mpsc::channel();
    let report = crate::script::check(&bundle, &host(&Arc::new(send), &hooks)).unwrap();
    for script in report.scripts {
        assert!(!script.hooks.is_empty(), "{}", script.name);
        assert!(script.warnings.is_empty(), "{script:?}");
    }
    std::fs::remove_dir_all(empty).unwrap();
}

#[test]
fn six_scripts_run_as_their_writers_wrote_them() {
    let six = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/script/tests/six");
    let empty = directory(&[]);
    let hooks = config::Hooks {
        directory: six.clone(),
        ..configuration(&empty)
    };
    let (summary, out) = run(&[six.join("hooks_test.lua")], &hooks);
    assert_eq!((summary.passed, summary.failed), (6, 0), "{out}");
    std::fs::remove_dir_all(empty).unwrap();
}

#[test]
fn time_passes_in_a_test_as_it_says() {
    let directory = directory(&[
        (
            "hooks/a.lua",
            "local d = shared.dict 'a'
             local n = 0
             wsd.every(10, function() n += 1 wsd.publish('ticks', n .. ' at ' .. time.now()) end)
             wsd.after(15, function() wsd.publish('ticks', 'once') end)
             function on_connect(conn) conn.user = 'ann' conn:expire(2100) end
             function on_message(conn, m)
               if m == 'set' then d:set('k', 'v', 5) end
               if m == 'later' then wsd.after(1, function() conn:send 'later' end) end
               if m == 'mail' then wsd.send('ann', 'mail') end
               if m == 'kick' then wsd.kick 'ann' end
               if m == 'count' then return tostring(wsd.subscribers 'test') end
               return d:get 'k' or 'none'
             end
             function on_batch(channel, messages, senders) return { table.concat(senders, ',') } end",
        ),
        (
            "hooks/a_test.lua",
            "local t = require 'test'
t.case('time', function()
  t.load 'a.lua'
  t.clock(2000)
  t.eq(#t.published, 0)
  local c, other = t.conn {}, t.conn {}
  c:connect()
  other:connect()
  t.eq(c:message('set').data, 'v')
  c:message('later')
  t.clock(2004.9)
  t.eq(c.sent, { 'later' })
  t.eq(c:message('').data, 'v')
  t.clock(2005)
  t.eq(c:message('').data, 'none')
  t.clock(2020)
  t.eq(t.published[1].data, '1 at 2010')
  t.eq(t.published[2].data, 'once')
  t.eq(t.published[3].data, '2 at 2020')
  t.eq(#t.published, 3)
  t.eq(c:message('count').data, '2')
  other:message('mail')
  t.eq(c.sent[2], 'mail')
  t.eq(other.sent[1], 'mail')
  t.clock(2100)
  t.eq(c.closed, { code = 4401, reason = 'expired' })
  other:message('kick')
  t.eq(other.closed, { code = 1008, reason = 'kicked' })
  t.eq(t.batch('test', { 'a', 'b' }, { c, '' }), { c.id and '' or t.batch('test', { 'x' }, { c })[1] .. ',' })
  t.eq(#t.jwt({ sub = 'x' }, 'k'):split('.'), 3)
  t.clock(1e6 * 2100)
end)
t.case('fresh', function()
  t.load 'a.lua'
  t.eq(t.conn {}:message('').data, 'none')
  t.eq(pcall(t.jwt, {}, 'k', 'none'), false)
end)",
        ),
    ]);
    let mut hooks = configuration(&directory);
    hooks.shared = 1 << 20;
    let (summary, out) = run(&[directory.join("hooks/a_test.lua")], &hooks);
    assert!(
        out.contains("t.clock: timers ran 10000 times on the way"),
        "{out}"
    );
    assert!(out.contains("a_test.lua:31: time: "), "{out}");
    assert_eq!((summary.passed, summary.failed), (1, 1), "{out}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn failures_name_file_line_case_and_both_values() {
    let directory = directory(&[
        (
            "hooks/a.lua",
            "function on_message(c, m) if m == 'e' then error('oh') end return m == 'y' end
            function on_subscribe(c, ch) if ch == 'a' then return 'b' end return ch ~= 'no' end
            function on_batch(c, m) return { m[2], { n = 1 } } end",
        ),
        (
            "hooks/a_test.lua",
            "local t = require 'test'
t.case('one', function() t.load 'a.lua'
  t.eq(t.conn{}:message('n').action, 'publish')
end)
t.case('two', function() t.load 'a.lua' t.conn{}:message('e') end)
t.case('three', function() t.eq({ 1, { a = 'x' } }, { 1, { a = 'y' } }) end)
t.case('four', function() t.load 'nope.lua' end)
t.case('five', function() while true do error(setmetatable({}, {})) end end)
t.case('six', function() t.eq('[1]', '[2]', 'json') end)
t.case('seven', function()
  t.load 'a.lua'
  local c = t.conn {}
  t.eq(c:connect(), 'accepted')
  t.eq(c:subscribe('a'), 'b') t.eq(c:subscribe('x'), true) t.eq(c:subscribe('no'), false)
  t.eq(t.batch('ch', { 'p', 'q' }), { 'q', '{\"n\":1}' })
  print 'said'
end)",
        ),
        ("hooks/b_test.lua", "local t = require 'test'\nt.case('x')"),
        ("hooks/c_test.lua", "if"),
    ]);
    let files: Vec<PathBuf> = ["a", "b", "c"]
        .iter()
        .map(|name| directory.join(format!("hooks/{name}_test.lua")))
        .collect();
    let (summary, out) = run(&files, &configuration(&directory));
    let out = out.replace(&format!("{}/hooks/", directory.display()), "");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "a_test.lua:3: one: expected \"publish\", got \"drop\""
    );
    assert_eq!(lines[1], "a_test.lua:5: two: a.lua:1: on_message: oh");
    assert_eq!(
        lines[2],
        "a_test.lua:6: three: expected {1, {[\"a\"] = \"y\"}}, got {1, {[\"a\"] = \"x\"}}"
    );
    assert_eq!(
        lines[3],
        "a_test.lua:7: four: t.load: nope.lua: no such file"
    );
    assert_eq!(lines[4], "a_test.lua:8: five: error object is a table");
    assert_eq!(lines[5], "a_test.lua:9: six: expected [2], got [1]");
    assert!(
        lines[6].starts_with("ok: seven (on_subscribe 4 × "),
        "{}",
        lines[6]
    );
    assert_eq!(lines[7], "  info: said");
    assert_eq!(
        lines[8],
        "b_test.lua:2: t.case: must be given a name and a function"
    );
    assert!(
        lines[9].starts_with("c_test.lua:1: Expected"),
        "{}",
        lines[9]
    );
    assert_eq!(
        summary,
        TestSummary {
            passed: 1,
            failed: 8
        }
    );
    std::fs::remove_dir_all(directory).unwrap();
}
