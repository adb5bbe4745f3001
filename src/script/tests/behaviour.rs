//! What hooks can do and what they are told when they do it wrong.

use super::*;
use crate::pipeline::{Fault, Hook};
use crate::types::{Close, Kind};

fn pass(change: Change) -> Verdict<Change> {
    Verdict::Pass(change)
}

#[test]
fn returns_follow_one_rule() {
    let mut s = Scripts::one(
        "function on_message(conn, m, channel, kind)
           if m == 'nothing' then return end
           if m == 'true' then return true end
           if m == 'false' then return false end
           if m == 'same' then return m end
           if m == 'same again' then return 'same' .. ' again' end
           if m == 'to' then return true, 'audit' end
           if m == 'table' then return { a = 1 } end
           if m == 'args' then return channel .. ' ' .. kind end
           return m .. '!'
         end",
    );
    for text in ["nothing", "true", "same", "same again"] {
        assert_eq!(
            s.message(text).unwrap().0,
            pass(Change::default()),
            "{text}"
        );
    }
    assert_eq!(s.message("false").unwrap().0, Verdict::Drop);
    let to = Change {
        payload: None,
        channel: Some(name("audit")),
    };
    assert_eq!(s.message("to").unwrap().0, pass(to));
    assert_eq!(s.reply("table"), "{\"a\":1}");
    assert_eq!(s.reply("hi"), "hi!");
    assert_eq!(s.reply("args"), "lobby text");
}

#[test]
fn a_wrong_return_is_an_error_with_its_place() {
    let mut s = Scripts::one(
        "local r\nfunction on_message(conn, m)\n  if m == 'c' then return true, 'a b' end\n  return 5\nend
         function on_subscribe() return 5 end
         function on_connect() return 'no' end
         function on_disconnect() return 'x' end
         function on_batch(_, m) return m[1] == 'k' and { k = 1 } or 'x' end",
    );
    assert_eq!(
        s.fault("x"),
        "hooks/a.lua:2: on_message: returned a number; must return true, false, a string or a table"
    );
    assert_eq!(
        s.fault("c"),
        "hooks/a.lua:2: on_message: returned: channel \"a b\": spaces are not allowed in a channel name"
    );
    let error = s.connect().unwrap_err().text;
    assert_eq!(
        error,
        "returned a string; must return true, false or a status from 300 to 599"
    );
    let who = Who {
        conn: CONN,
        peer: &s.peer,
        channels: &Vec::new,
    };
    let mut effects = Effects::default();
    let error = s
        .hooks
        .on_subscribe(StageId(0), who, &name("a"), &mut effects)
        .unwrap_err();
    assert_eq!(
        error.text,
        "returned a number; must return true, false or a channel name"
    );
    let error = s
        .hooks
        .on_disconnect(StageId(0), who, &Close::LOST, &mut effects)
        .unwrap_err();
    assert_eq!(error.text, "returned a string; must return nothing");
    assert_eq!(
        s.batch(&["a"]).unwrap_err().text,
        "returned a string; must return true, false or an array of strings or tables"
    );
    assert_eq!(
        s.batch(&["k"]).unwrap_err().text,
        "returned a table with the key \"k\"; must be true, false or an array of strings or tables"
    );
}

#[test]
fn errors_carry_file_line_hook_and_traceback() {
    let mut s = Scripts::one(
        "local function inner(x)\n  return x.name.first\nend\nfunction on_message(conn, m)
  if m == 'table' then error({}) end
  if m == 'bare' then error('bare', 0) end
  if m == 'nil' then error(nil) end
  local r = inner({})\n  return r\nend",
    );
    let error = s.message("x").unwrap_err();
    assert_eq!(
        s.bare(&error.to_string()),
        "hooks/a.lua:2: on_message: attempt to index nil with 'first'"
    );
    assert_eq!(error.fault, Fault::Failed);
    assert_eq!(
        error.traceback.unwrap(),
        "a.lua:2 in inner\na.lua:8 in on_message"
    );
    assert_eq!(
        s.fault("table"),
        "hooks/a.lua:5: on_message: error object is a table"
    );
    assert_eq!(s.fault("bare"), "hooks/a.lua:6: on_message: bare");
    assert_eq!(
        s.fault("nil"),
        "hooks/a.lua:7: on_message: error object is nil"
    );
}

#[test]
fn on_connect_sees_the_request_and_refuses() {
    let mut s = Scripts::one(
        "function on_connect(conn)
           assert(conn.headers.host == 'example.com' and conn.cookies.sid == '42')
           assert(conn.query.name == 'ann' and conn.ip == '192.0.2.7' and conn.port == 4711)
           assert(conn.path == '/rooms/a%20b' and conn.route == '/rooms/{room}')
           assert(conn.params.room == 'a b' and conn.secure and #conn.protocols == 2)
           assert(conn.data.seen or conn.channel == 'lobby' and conn.user == nil and conn.id == '000000000abc-1-3-1')
           if conn.query.n == '1' and not conn.data.seen then
             conn.data.seen = true
             conn.user, conn.channel, conn.protocol = 'ann', 'room', 'chat'
             conn:send({ hello = 1 })
             return
           end
           return 401, 'token required', { ['x-why'] = 'token', ['retry-after'] = 5 }
         end
         function on_message(conn, m)
           return tostring(conn.headers) .. tostring(conn.protocol) .. conn.user .. conn.channel
         end",
    );
    let (verdict, effects) = s.connect().unwrap();
    assert_eq!(verdict, ConnectVerdict::Pass);
    assert_eq!(
        effects,
        [
            Effect::Send(CONN, Payload::text("{\"hello\":1}")),
            Effect::SetUser(CONN, Some("ann".into())),
            Effect::SetChannel(CONN, Some(name("room"))),
            Effect::SetProtocol(CONN, "chat".into()),
        ]
    );
    let ConnectVerdict::Refuse(answer) = s.connect().unwrap().0 else {
        panic!("not refused");
    };
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (401, "token required")
    );
    let header = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(
        answer.headers,
        [header("retry-after", "5"), header("x-why", "token")]
    );
    s.peer.user = Some("ann".into());
    s.peer.channel = Some(name("room"));
    assert_eq!(s.reply("x"), "nilnilannroom");
}

#[test]
fn assignments_of_a_failed_call_are_taken_back() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           if m == 'who' then return tostring(conn.user) .. conn.channel end
           conn.user = 'eve'
           conn.channel = 'elsewhere'
           conn:send('x')
           if m == 'fail' then error('no') end
           if m == 'bad' then conn.user = 5 end
         end",
    );
    assert!(s.message("fail").is_err());
    assert_eq!(s.reply("who"), "nillobby");
    assert_eq!(
        s.fault("bad"),
        "hooks/a.lua:1: on_message: conn.user: is a number; must be a string or nil"
    );
    assert_eq!(s.reply("who"), "nillobby");
    let effects = s.message("ok").unwrap().1;
    assert_eq!(effects.len(), 3);
    // Seen by the next stage before the worker has carried it out, and not asked for twice.
    assert_eq!(s.reply("who"), "eveelsewhere");
    assert!(s.message("who").unwrap().1.is_empty());
    s.peer.user = Some("mallory".into());
    assert_eq!(s.reply("who"), "malloryelsewhere");
    s.peer.channel = None;
    assert_eq!(s.reply("who"), "mallory");
}

#[test]
fn every_effect_is_checked_where_it_is_asked_for() {
    let mut s = Scripts::one(CALLS);
    let id = CONN;
    let binary = Payload {
        kind: Kind::Binary,
        data: "b".into(),
    };
    let effects = s.message("send").unwrap().1;
    assert_eq!(
        effects,
        [
            Effect::Send(id, Payload::text("a")),
            Effect::Send(id, Payload::text("{}")),
            Effect::Send(id, binary),
        ]
    );
    let publish = |channel: &str, text: &str, skip| Effect::Publish {
        channel: name(channel),
        payload: Payload::text(text),
        skip,
    };
    let effects = s.message("publish").unwrap().1;
    assert_eq!(
        effects,
        [publish("x", "a", Some(id)), publish("y", "[1]", None)]
    );
    let effects = s.message("subscribe").unwrap().1;
    assert_eq!(
        effects,
        [
            Effect::Subscribe(id, name("x"), Some(0)),
            Effect::Unsubscribe(id, name("x"))
        ]
    );
    let effects = s.message("close").unwrap().1;
    assert_eq!(
        effects,
        [
            Effect::Close(id, Close::new(4003, "bye")),
            Effect::Close(id, Close::new(1000, "")),
        ]
    );
    let effects = s.message("expire").unwrap().1;
    assert_eq!(
        effects,
        [Effect::Expire(id, Some(5.0)), Effect::Expire(id, None)]
    );
    assert_eq!(s.reply("channels"), "lobby,news");
}

#[test]
fn every_effect_is_refused_with_its_place() {
    let mut s = Scripts::one(CALLS);
    let faults = [
        (
            "e1",
            "8: on_message: wsd.publish: channel \"a b\": spaces are not allowed in a channel name",
        ),
        (
            "e2",
            "9: on_message: wsd.publish: channel \"$x\": channel names that begin with \"$\" are reserved",
        ),
        (
            "e3",
            "10: on_message: conn:send: the message is nil; must be a string or a table",
        ),
        (
            "e4",
            "11: on_message: conn:send: called without its connection; write conn:send(…), with a colon",
        ),
        (
            "e5",
            "12: on_message: conn:close: the code 200: must be 1000, 1008 or 3000 to 4999",
        ),
        (
            "e6",
            "13: on_message: conn:subscribe: replay is -1; must be a whole number from 0 to 1000000",
        ),
        (
            "e7",
            "14: on_message: conn has no field \"foo\"; values of your own belong in conn.data",
        ),
        (
            "e8",
            "15: on_message: conn:expire: \"x\" is no time; must be Unix seconds or nil",
        ),
        (
            "e9",
            "16: on_message: conn:send: the kind is \"blob\"; must be \"binary\", \"text\" or nothing",
        ),
    ];
    for (call, fault) in faults {
        assert_eq!(s.fault(call), format!("hooks/a.lua:{fault}"));
    }
}

#[test]
fn too_many_effects_fail_the_call() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           if m == 'many' then for i = 1, 1001 do conn:send('x') end end
           if m == 'large' then conn:send(('x'):rep(5e6)) end
         end",
    );
    let text = "conn:send: asks for too much in one call: at most 1000 effects and 4 MiB";
    assert_eq!(s.message("many").unwrap_err().text, text);
    assert_eq!(s.message("large").unwrap_err().text, text);
    assert!(s.message("x").is_ok());
}

#[test]
fn batches_keep_the_source_of_equal_strings() {
    let mut s = Scripts::one(
        "function on_batch(channel, messages)
           local mode = messages[1]
           if mode == 'nothing' then return end
           if mode == 'false' then return false end
           if mode == 'empty' then return {} end
           if mode == 'same' then return messages end
           if mode == 'swap' then return { messages[2], messages[1], messages[2], messages[3], { n = 1 } } end
           if mode == 'collected' then
             local t = { 'col' .. 'lected', 'z' .. 'z' }
             messages[1], messages[2] = nil, nil
             return t
           end
         end",
    );
    assert_eq!(s.batch(&["nothing"]).unwrap(), Verdict::Pass(None));
    assert_eq!(s.batch(&["same", "b"]).unwrap(), Verdict::Pass(None));
    assert_eq!(s.batch(&["false"]).unwrap(), Verdict::Drop);
    assert_eq!(
        s.batch(&["empty"]).unwrap(),
        Verdict::Pass(Some(Vec::new()))
    );
    assert_eq!(s.batch(&["collected", "zz"]).unwrap(), Verdict::Pass(None));
    let Verdict::Pass(Some(outputs)) = s.batch(&["swap", "b", "b"]).unwrap() else {
        panic!("no outputs");
    };
    let sources: Vec<_> = outputs.iter().map(|output| output.source).collect();
    // "b" is the second and third input: each is used once, the first of them first.
    assert_eq!(sources, [Some(1), Some(0), Some(2), None, None]);
    assert_eq!(outputs[4].payload, Payload::text("{\"n\":1}"));
}

#[test]
fn senders_come_only_where_they_are_declared() {
    let mut s = Scripts::one("function on_batch(channel, messages, senders) return senders end");
    let Verdict::Pass(Some(outputs)) = s.batch(&["a", "b"]).unwrap() else {
        panic!("no outputs");
    };
    assert_eq!(outputs[0].payload, Payload::text("000000000abc-1-3-1"));
    let mut s = Scripts::one("function on_batch(...) return { tostring(select('#', ...)) } end");
    let Verdict::Pass(Some(outputs)) = s.batch(&["a"]).unwrap() else {
        panic!("no outputs");
    };
    assert_eq!(outputs[0].payload, Payload::text("3"));
}

#[test]
fn stages_have_globals_of_their_own_and_share_modules_and_data() {
    let mut s = Scripts::of(&[
        (
            "hooks/1.lua",
            "word = 'one' local m = require 'shared' m.n += 1
            function on_message(conn, t) conn.data.x = word return t .. word .. m.n end",
        ),
        (
            "hooks/2.lua",
            "local m = require('shared') m.n += 1
            function on_message(conn, t) return t .. tostring(word) .. m.n .. conn.data.x end",
        ),
        ("hooks/2_test.lua", "this is no script"),
        ("lua/shared.lua", "return { n = 0 }"),
    ]);
    assert_eq!(s.hooks.stages(ALL), [StageId(0), StageId(1)]);
    assert_eq!(s.hooks.name(StageId(1)), "2.lua");
    assert!(s.hooks.defines(StageId(0), Hook::Message));
    assert!(!s.hooks.defines(StageId(0), Hook::Batch));
    assert_eq!(s.reply("x"), "xone2");
    let (verdict, _) = s.message_at(StageId(1), &Payload::text("y")).unwrap();
    let Verdict::Pass(Change {
        payload: Some(payload),
        ..
    }) = verdict
    else {
        panic!("no payload");
    };
    assert_eq!(payload, Payload::text("ynil2one"));
}

#[test]
fn two_values_of_gsub_are_told() {
    let mut s = Scripts::one("function on_message(c, m) return m:gsub('a', 'b') end");
    assert_eq!(
        s.fault("a"),
        "hooks/a.lua:1: on_message: returned a number as the channel; of a call with two values, as gsub has, write return (text:gsub(…))"
    );
}

#[test]
fn binary_stays_binary_and_text_that_is_none_becomes_binary() {
    let mut s = Scripts::one(
        "function on_message(c, m) if m == 'bad' then return '\\xff' end return m .. 'x' end",
    );
    let kind = |verdict| match verdict {
        Verdict::Pass(Change {
            payload: Some(payload),
            ..
        }) => payload.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(s.message("bad").unwrap().0), Kind::Binary);
    assert_eq!(kind(s.message("good").unwrap().0), Kind::Text);
    let binary = Payload {
        kind: Kind::Binary,
        data: "abc".into(),
    };
    assert_eq!(
        kind(s.message_at(StageId(0), &binary).unwrap().0),
        Kind::Binary
    );
}

/// Each effect, asked for rightly and wrongly.
const CALLS: &str = "local calls = {
           send = function(c) c:send('a'); c:send({}); c:send('b', 'binary') end,
           publish = function(c) c:publish('x', 'a'); wsd.publish('y', { 1 }) end,
           subscribe = function(c) c:subscribe('x', { replay = 0 }); c:unsubscribe('x') end,
           close = function(c) c:close(4003, 'bye'); c:close() end,
           expire = function(c) c:expire(5); c:expire(nil) end,
           channels = function(c) return table.concat(c:channels(), ',') end,
           e1 = function(c) wsd.publish('a b', '') end,
           e2 = function(c) wsd.publish('$x', '') end,
           e3 = function(c) c:send() end,
           e4 = function(c) c.send('x') end,
           e5 = function(c) c:close(200) end,
           e6 = function(c) c:subscribe('x', { replay = -1 }) end,
           e7 = function(c) c.foo = 1 end,
           e8 = function(c) c:expire('x') end,
           e9 = function(c) c:send('x', 'blob') end,
         }
         function on_message(conn, m) return calls[m](conn) end";
