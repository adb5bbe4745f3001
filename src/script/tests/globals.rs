//! Loading, the globals that scripts have, and `conn.data`.

use super::*;
use crate::config::Level;
use crate::pipeline::Hook;
use crate::script::check;

#[test]
fn json_round_trips_and_refuses() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           local v, why = json.decode(m)
           if why then return 'why: ' .. why end
           return json.encode(v) .. ' '
         end",
    );
    for text in [
        "{}",
        "[]",
        "[{},[]]",
        "{\"a\":null}",
        "12345678901234567890",
        "[1,2.5,-3,1e100]",
        "\"a\\\"b\\\\c\\n\\u0001é😀\"",
        "true",
        "9007199254740993",
        "9007199254740992",
        "1e20",
        "-0.001",
    ] {
        assert_eq!(s.reply(text), format!("{text} "), "{text}");
    }
    assert_eq!(s.reply("{\"a\":1,\"a\":2}"), "{\"a\":2} ");
    // A whole double beyond 2^53 stays a double.
    assert_eq!(s.reply("100000000000000000000.0"), "1e20 ");
    assert_eq!(s.reply("\"\\ud83d\\ude00\""), "\"😀\" ");
    for (text, why) in [
        ("", "the text ends before a value at byte 1"),
        ("{", "expected a key in quotes at byte 2"),
        ("[1,]", "expected a value at byte 4"),
        ("01", "a number that begins with 0 at byte 3"),
        ("\"\\ud83d\"", "half of a surrogate pair at byte 8"),
        ("1 2", "something after the value at byte 3"),
        ("1e999", "a number that no double can hold at byte 6"),
    ] {
        assert_eq!(s.reply(text), format!("why: {why}"), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(s.reply(&deep), "why: more than 100 levels at byte 101");
    let keys: Vec<String> = (0..1001).map(|i| format!("\"{i}\":0")).collect();
    let wide = format!("{{{}}}", keys.join(","));
    assert!(
        s.reply(&wide)
            .starts_with("why: more than 1000 keys in an object")
    );
    let many = format!("[{}{{}}]", "{\"a\":0},".repeat(10_001));
    assert!(s.reply(&many).starts_with("why: more than 10000 keys"));
}

#[test]
fn json_get_and_the_marks() {
    let mut s = Scripts::one(
        r#"function on_message(conn, m)
           assert(json.get(m, "a.b") == 5 and json.get(m, "a.s") == "x" and json.get(m, "z") == nil)
           assert(json.get('{"k":1,"k":2}', "k") == 2 and json.get(m, "n") == json.null)
           assert(json.get("[1", "k") == nil and select(2, json.get(m, "a")) == "the field is an object or array")
           assert(json.encode(json.array({})) == "[]" and json.encode({}) == "{}")
           assert(tostring(json.decode("12345678901234567890")) == "12345678901234567890")
           assert(json.decode("9007199254740993") == json.decode("9007199254740993"))
           local t = {}
           t.t = t
           assert(not pcall(json.encode, t) and not pcall(json.encode, { print }))
           assert(not pcall(json.encode, { 1, a = 2 }) and not pcall(json.encode, 0/0))
           assert(not pcall(json.encode, "\xff") and not pcall(json.encode, { [5] = 1 }))
           local ok, why = pcall(json.encode, { a = { 1, nil, 3 } })
           assert(not ok and why:find "json.encode: a list with a hole at 2 cannot be JSON; json.null stands for null", why)
           assert(json.encode({ 1, json.null, 3 }) == "[1,null,3]")
           return true
         end"#,
    );
    let (verdict, _) = s
        .message("{\"a\":{\"b\":5,\"s\":\"x\"},\"n\":null}")
        .unwrap();
    assert_eq!(verdict, Verdict::Pass(Change::default()));
}

#[test]
fn a_global_assigned_in_a_function_works_and_is_told_once() {
    let mut s =
        Scripts::one("function on_message(c, m)\n n = (n or 0) + 1\n return tostring(n) end");
    assert_eq!(s.reply("x"), "1");
    assert_eq!(s.reply("x"), "2");
    let record = s.log.try_recv().unwrap();
    assert_eq!((record.level, record.line), (Level::Warn, 2));
    assert!(s.log.try_recv().is_err());
}

#[test]
fn logs_carry_place_connection_and_fields() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           if m == 'own' then log.info('x', { conn = 1 }) end
           if m == 'many' then local f = {} for i = 1, 17 do f['f' .. i] = i end log.info('x', f) end
           conn.user = 'ann'
           log.warn('strange', { n = 5, ok = true })
           print('a', 1, nil)
         end",
    );
    s.message("x").unwrap();
    let record = s.log.try_recv().unwrap();
    assert_eq!(
        (record.level, record.text.as_str(), record.line),
        (Level::Warn, "strange", 5)
    );
    let field = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(record.fields, [field("n", "5"), field("ok", "true")]);
    assert_eq!(
        record
            .about
            .as_ref()
            .map(|about| about.origin.to_string())
            .as_deref(),
        Some("000000000abc-1-3-1")
    );
    assert_eq!(
        (record.hook, record.generation),
        (Some(Hook::Message), Generation(7))
    );
    assert!(record.script.ends_with("hooks/a.lua"));
    let record = s.log.try_recv().unwrap();
    assert_eq!(
        (record.level, record.text.as_str()),
        (Level::Info, "a\t1\tnil")
    );
    assert_eq!(
        s.message("own").unwrap_err().text,
        "log: the field \"conn\" is wsd's own"
    );
    assert_eq!(
        s.message("many").unwrap_err().text,
        "log: more than 16 fields"
    );
    assert_eq!(s.log.try_iter().count(), 0);
}

#[test]
fn the_small_globals_are_there() {
    let mut s = Scripts::of(&[
        ("hooks/a.lua", "local key = wsd.secret('jwt')
           function on_message(conn, m)
             assert(key == 's3cret' and wsd.node == '000000000abc' and wsd.worker == 1)
             assert(wsd.generation == 7 and #wsd.version > 0 and wsd.api(1) == nil)
             assert(wsd.settings.bad_words[2] == 'heck' and wsd.settings.deep.n == 7)
             assert(not pcall(function() wsd.settings.x = 1 end))
             local s = set { 'a', 'b' }
             assert(s.a and s.b and not s.c and next(set(nil)) == nil)
             assert(time.now() == 1000.5 and time.monotonic() == 5 and time.iso(0) == '1970-01-01T00:00:00Z')
             assert(time.parse('1970-01-01T00:01:00Z') == 60 and time.parse('x') == nil)
             assert(not pcall(require, 'x'))
             assert(type(os.time()) == 'number' and os.execute == nil and os.getenv == nil)
             return 'ok'
           end"),
        ("secrets/jwt", "s3cret\n"),
    ]);
    assert_eq!(s.reply("x"), "ok");
}

#[test]
fn effects_of_on_load_wait_until_they_are_taken() {
    let mut s = Scripts::one(
        "function on_load(why) wsd.publish('news', why) end function on_message() end",
    );
    assert!(s.message("x").unwrap().1.is_empty());
    assert_eq!(s.hooks.take_loaded().take().len(), 1);
    assert!(s.hooks.take_loaded().is_empty());
}

#[test]
fn data_survives_a_new_state() {
    let script = "function on_message(conn, m)
           if m == 'set' then
             conn.data = { n = 1, s = 'x', t = { true, 2 }, null = json.null,
               list = json.array({}), big = json.decode('12345678901234567890') }
           elseif m == 'cycle' then
             conn.data.self = conn.data
             conn.data.f = print
           end
           return (conn.data.s or '-') .. (conn.data.list and json.encode(conn.data.list) or '')
             .. tostring(conn.data.big) .. tostring(conn.data.self == nil)
         end";
    let mut s = Scripts::one(script);
    assert_eq!(s.reply("set"), "x[]12345678901234567890true");
    s.reply("cycle");
    let bytes = s.hooks.export_data(CONN).unwrap();
    let record = s.log.try_recv().unwrap();
    assert!(record.text.contains("is left behind"), "{}", record.text);
    assert!(s.log.try_recv().is_err());
    let mut next = build(&s.bundle, s.host.clone(), LoadReason::Reload).unwrap();
    next.import_data(CONN, bytes.clone());
    assert_eq!(next.export_data(CONN), Some(bytes));
    s.hooks = next;
    assert_eq!(s.reply("x"), "x[]12345678901234567890true");
    s.hooks.forget(CONN);
    assert_eq!(s.hooks.export_data(CONN), None);
    assert_eq!(s.reply("x"), "-niltrue");
}

#[test]
fn hostile_data_is_refused_without_harm() {
    let mut s = Scripts::one(
        "function on_message(conn, m) return next(conn.data) and 'data' or 'none' end",
    );
    let mut cases: Vec<Vec<u8>> = vec![
        vec![],
        vec![2, 0],
        vec![1],
        vec![1, 99],
        vec![1, 0, 0],
        vec![1, 4, 255, 255, 255, 255],
        vec![1, 5, 255, 255, 255, 255],
        vec![1, 5, 1, 0, 0, 0, 0, 0],
        vec![1, 8, 0, 0, 0, 0],
        [&[1, 5, 1, 0, 0, 0, 3][..], &f64::NAN.to_le_bytes(), &[2]].concat(),
    ];
    cases.push(
        std::iter::once(1)
            .chain([5, 1, 0, 0, 0, 1].repeat(20))
            .collect(),
    );
    let count = cases.len();
    for bytes in cases {
        s.hooks.import_data(CONN, bytes.into());
    }
    assert_eq!(s.log.try_iter().count(), count);
    assert_eq!(s.reply("x"), "none");
    // Every prefix and every changed byte of good bytes is an error or a value.
    let mut good = Scripts::one(
        "function on_message(conn) conn.data = { a = { 1, 'x', true }, [2] = json.null } end",
    );
    good.message("x").unwrap();
    let bytes = good.hooks.export_data(CONN).unwrap();
    for at in 0..bytes.len() {
        for value in [0, 1, 3, 5, 8, 255] {
            let mut changed = bytes.clone();
            changed[at] = value;
            s.hooks.forget(CONN);
            s.hooks.import_data(CONN, changed);
            s.message("x").unwrap();
        }
        s.hooks.import_data(CONN, bytes[..at].into());
    }
}

#[test]
fn load_finds_every_problem_of_every_file() {
    let directory = directory(&[
        ("hooks/a.lua", "if x = 1 then end"),
        ("hooks/b.lua", "x = 1\n\nfor do"),
        ("hooks/c.lua", "return 1"),
        ("lua/m.lua", "]"),
        ("lua/Bad.lua", ""),
    ]);
    std::fs::write(directory.join("hooks/d.lua"), b"local x = 1\n-- \xff").unwrap();
    std::fs::write(directory.join("hooks/e.lua"), vec![b' '; (1 << 20) + 1]).unwrap();
    std::fs::create_dir(directory.join("hooks/f.lua")).unwrap();
    let problems = Bundle::load(&configuration(&directory), &[None]).unwrap_err();
    let texts: Vec<String> = problems
        .iter()
        .map(|p| {
            p.to_string()
                .replace(&format!("{}/", directory.display()), "")
        })
        .collect();
    assert_eq!(
        texts,
        [
            "hooks/a.lua:1: Expected 'then' when parsing if statement, got '='",
            "hooks/b.lua:3: Expected identifier when parsing variable name, got 'do'",
            "hooks/d.lua: line 2 is not UTF-8; a script is UTF-8 text",
            "hooks/e.lua: is larger than 1 MiB; a script has at most that",
            "hooks/f.lua: is no regular file",
            "lua/Bad.lua: the name of a module has only a-z, 0-9, _, -, . and /",
            "lua/m.lua:1: Expected identifier when parsing expression, got ']'",
        ]
    );
    std::fs::remove_dir_all(&directory).unwrap();
    let problems = Bundle::load(&configuration(&directory), &[None]).unwrap_err();
    assert_eq!(problems[0].text, "no such directory");
}

#[test]
fn what_fails_while_loading_says_where() {
    let cases = [
        (
            "local x\nx.y = 1",
            "2: on_load: attempt to index nil with 'y'",
        ),
        (
            "function on_load(why)\n error('not ' .. why)\nend",
            "2: on_load: not start",
        ),
        (
            "on_message = 5",
            " on_load: on_message is a number; must be a function",
        ),
        (
            "while true do end",
            "1: on_load: stopped after 500 ms (hooks.time_limit.load)",
        ),
        (
            "require 'nope'",
            "1: on_load: require \"nope\": no such module; looked for lua/nope.lua",
        ),
        (
            "require '../x'",
            "1: on_load: require \"../x\": the name of a module has only a-z, 0-9, _, -, . and /",
        ),
        (
            "wsd.api(2)",
            "1: on_load: wsd.api: this wsd knows version 1, the script wants 2",
        ),
        (
            "wsd.secret('../x')",
            "1: on_load: wsd.secret: \"../x\": a name has only letters, digits, _, - and ., and no . at its beginning",
        ),
        (
            "\nwsd.secret('jwt')",
            "2: on_load: wsd.secret: \"jwt\": no such secret; looked for secrets/jwt",
        ),
    ];
    for (script, expected) in cases {
        let error = Scripts::broken(script).to_string();
        let at = error.find("hooks/a.lua:").unwrap();
        let root = error.split_at(at).0.to_owned();
        let text = error.replace(&root, "");
        assert_eq!(text, format!("hooks/a.lua:{expected}"));
    }
}

#[test]
fn check_reports_hooks_and_probable_mistakes() {
    let directory = directory(&[(
        "hooks/a.lua",
        "count = 0\nlocal ok = 1\nfunction helper() end\nfunction on_mesage() end
         function on_message() end\nfunction on_load(why) assert(why == 'check') later() end
         function later() stray = 1 end",
    )]);
    let hooks = configuration(&directory);
    let (send, _log) = std::sync::mpsc::channel();
    let bundle = Bundle::load(&hooks, &[None]).unwrap();
    let report = check(&bundle, &host(&Arc::new(send), &hooks)).unwrap();
    assert_eq!(report.scripts[0].hooks, [Hook::Message]);
    assert_eq!(
        report.scripts[0].warnings,
        [
            (0, "global \"count\": write local before it".into()),
            (0, "global \"stray\": write local before it".into()),
            (4, "on_mesage is no hook; did you mean on_message?".into()),
        ]
    );
    std::fs::remove_dir_all(directory).unwrap();
}
