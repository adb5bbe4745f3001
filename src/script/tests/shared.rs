//! What the scripts of all workers share: dictionaries, limits, slots, metrics.

use std::cell::Cell;

use super::*;

/// Runs scripts on another worker of the same node.
pub(super) fn second(s: &Scripts) -> Box<dyn Hooks> {
    let host = Host {
        worker: WorkerId(0),
        ..s.host.clone()
    };
    build(&s.bundle, host, LoadReason::Start).unwrap()
}

/// The text that a hook makes of `text`, asked on any worker.
fn ask(hooks: &mut dyn Hooks, peer: &Peer, text: &str) -> String {
    let mut effects = Effects::default();
    effects.begin();
    let who = Who {
        conn: CONN,
        peer,
        channels: &Vec::new,
    };
    match hooks.on_message(StageId(0), who, None, &Payload::text(text), &mut effects) {
        Ok(Verdict::Pass(change)) => change
            .payload
            .map_or_else(String::new, |p| String::from_utf8(p.data.to_vec()).unwrap()),
        Ok(Verdict::Drop) => "dropped".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_dictionary_is_one_for_all_workers_and_survives_a_new_generation() {
    let mut s = Scripts::with(
        &[(
            "hooks/a.lua",
            "local d = shared.dict 'a'
             function on_message(conn, m) return tostring(d:incr('n')) .. ' ' .. tostring(shared.dict('b'):get('n')) end",
        )],
        |hooks| hooks.shared = 1 << 20,
    );
    let mut other = second(&s);
    assert_eq!(s.reply("x"), "1 nil");
    assert_eq!(ask(&mut *other, &s.peer, "x"), "2 nil");
    drop(other);
    let mut other = second(&s);
    assert_eq!(ask(&mut *other, &s.peer, "x"), "3 nil");
    // A check has one of its own.
    let trial = Host {
        commons: Arc::default(),
        ..s.host.clone()
    };
    crate::script::check(&s.bundle, &trial).unwrap();
    assert_eq!(s.reply("x"), "4 nil");
}

#[test]
fn a_dictionary_keeps_plain_values_for_a_time() {
    thread_local! { static NOW: Cell<f64> = const { Cell::new(10.0) }; }
    let script = "local d = shared.dict 'a'
        function on_message(conn, m)
          if m == 'fill' then
            d:set('t', true) d:set('f', false) d:set('n', 1.5) d:set('s', 'a\\0b') d:set('e', '')
            assert(d:get 't' == true and d:get 'f' == false and d:get 'n' == 1.5 and d:get 's' == 'a\\0b' and d:get 'e' == '')
            assert(d:add('x', 1, 5) and not d:add('x', 2) and d:get 'x' == 1)
            assert(d:incr('c', 2, 5) == 2 and d:incr('c') == 3 and d:incr('c', -4, 100) == -1)
            assert(d:delete 't' and not d:delete 't' and d:get 't' == nil)
            d:set('n', nil) assert(d:get 'n' == nil)
            d:set('short', 'v', 1)
          end
          return tostring(d:get 'x') .. ' ' .. tostring(d:get 'c') .. ' ' .. tostring(d:get 'short') .. ' ' .. tostring(d:get 's')
        end";
    let directory = directory(&[("hooks/a.lua", script)]);
    let mut hooks = configuration(&directory);
    hooks.shared = 1 << 20;
    let (send, _log) = std::sync::mpsc::channel();
    let host = Host {
        monotonic: Arc::new(|| NOW.get()),
        ..host(&Arc::new(send), &hooks)
    };
    let bundle = Bundle::load(&hooks, &[None]).unwrap();
    let mut hooks = build(&bundle, host, LoadReason::Start).unwrap();
    let mut at = |now: f64, text: &str| {
        NOW.set(now);
        ask(&mut *hooks, &peer(), text)
    };
    assert_eq!(at(10.0, "fill"), "1 -1 v a\0b");
    assert_eq!(at(10.99, ""), "1 -1 v a\0b");
    assert_eq!(at(11.0, ""), "1 -1 nil a\0b");
    // The time of a counter counts from its first.
    assert_eq!(at(15.0, ""), "nil nil nil a\0b");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_dictionary_is_bounded_and_the_least_recently_used_goes_first() {
    let mut s = Scripts::with(
        &[(
            "hooks/a.lua",
            "local d = shared.dict 'a'
             function on_message(conn, m)
               d:set('kept', 1)
               for i = 1, 500 do
                 d:set('k' .. i, ('x'):rep(1000))
                 assert(d:get 'kept')
               end
               local n = 0
               for i = 1, 500 do if d:get('k' .. i) then n += 1 end end
               assert(d:get 'k500' and not d:get 'k1')
               return tostring(n)
             end",
        )],
        |hooks| hooks.shared = 64 << 10,
    );
    let kept: usize = s.reply("x").parse().unwrap();
    assert!((50..=60).contains(&kept), "{kept}");
}

#[test]
fn what_a_dictionary_does_not_take_is_said_with_its_place() {
    for (body, why) in [
        (
            "shared.dict()",
            "shared.dict: the name is nil; must be a string of 1 to 255 bytes",
        ),
        (
            "for i = 1, 65 do shared.dict('d' .. i) end",
            "shared.dict: \"d64\": there are 64 dictionaries already",
        ),
        (
            "d:set('k', {})",
            "dict:set: the value is a table; must be a boolean, number or string (json.encode makes one of a table)",
        ),
        (
            "d:set({}, 1)",
            "dict:set: the key is a table; must be a string",
        ),
        (
            "d:set(('k'):rep(1025), 1)",
            "dict:set: the key has 1025 bytes; at most 1024",
        ),
        (
            "d:set('k', 1, 0)",
            "dict:set: the time to live is 0; must be a number of seconds above 0",
        ),
        (
            "d:set('k', 1, 0/0)",
            "dict:set: the time to live is NaN; must be a number of seconds above 0",
        ),
        (
            "d:set('k', ('x'):rep(2000000))",
            "dict:set: the value has 2000000 bytes; at most 1048576",
        ),
        (
            "d:set('k', ('x'):rep(100000))",
            "dict:set: the entry is larger than hooks.shared",
        ),
        (
            "d:add('k')",
            "dict:add: the value is nil; must be a boolean, number or string",
        ),
        (
            "d:set('k', 'a') d:incr('k')",
            "dict:incr: what \"k\" has is no number",
        ),
        (
            "d:incr('k', 1/0)",
            "dict:incr: inf is nothing to add; must be a number",
        ),
        (
            "d:incr('k', 1.7e308) d:incr('k', 1.7e308)",
            "dict:incr: the sum is too large for a number",
        ),
        (
            "d.get('k')",
            "dict:get: called without its dictionary; write d:get(…), with a colon",
        ),
        (
            "d.get(setmetatable({ 0 }, {}), 'k')",
            "dict:get: called without its dictionary; write d:get(…), with a colon",
        ),
        ("d[1] = 2", "attempt to modify a readonly table"),
        (
            "setmetatable(d, nil)",
            "cannot change a protected metatable",
        ),
    ] {
        let script = format!("local d = shared.dict 'a'\nfunction on_message() {body} end");
        let mut s = Scripts::with(&[("hooks/a.lua", &script)], |hooks| hooks.shared = 64 << 10);
        assert_eq!(
            s.fault("x"),
            format!("hooks/a.lua:2: on_message: {why}"),
            "{body}"
        );
    }
    let mut s = Scripts::one("function on_message() shared.dict 'a' end");
    assert!(
        s.fault("x")
            .ends_with("hooks.shared is 0, which leaves no room for dictionaries")
    );
}

#[test]
fn a_rate_is_one_for_all_workers() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           local ok, wait = limit.allow(m, 10, 3)
           return tostring(ok) .. ' ' .. string.format('%.2f', wait)
         end",
    );
    let mut other = second(&s);
    assert_eq!(s.reply("k"), "true 0.00");
    assert_eq!(ask(&mut *other, &s.peer, "k"), "true 0.00");
    assert_eq!(s.reply("k"), "true 0.00");
    assert_eq!(ask(&mut *other, &s.peer, "k"), "false 0.10");
    assert_eq!(s.reply("another"), "true 0.00");
    for (call, why) in [
        (
            "limit.allow('k', 0, 1)",
            "limit.allow: per_second is 0; must be a number above 0",
        ),
        (
            "limit.allow('k', 1, 0.5)",
            "limit.allow: burst is 0.5; must be a number at least 1",
        ),
        (
            "limit.allow('k', 1/0, 1)",
            "limit.allow: per_second is inf; must be a number above 0",
        ),
        (
            "limit.allow(nil, 1, 1)",
            "limit.allow: the key is nil; must be a string",
        ),
        (
            "limit.hold('k', 0)",
            "limit.hold: max is 0; must be a number at least 1",
        ),
        (
            "limit.hold('k')",
            "limit.hold: max is nil; must be a number at least 1",
        ),
    ] {
        let mut s = Scripts::one(&format!("function on_message() {call} end"));
        assert_eq!(s.fault("x"), format!("hooks/a.lua:1: on_message: {why}"));
    }
}

#[test]
fn a_slot_belongs_to_a_connection_until_it_is_forgotten() {
    let mut s = Scripts::one(
        "function on_message(conn, m) return tostring(limit.hold('k', 1)) end
         function on_batch(channel, m) limit.hold('k', 1) end",
    );
    let mut other = second(&s);
    let mut peer = s.peer.clone();
    peer.origin.worker = WorkerId(0);
    assert_eq!(s.reply("x"), "true");
    assert_eq!(s.reply("x"), "true");
    assert_eq!(ask(&mut *other, &peer, "x"), "false");
    // The same slot number on another worker is another connection.
    other.forget(CONN);
    assert_eq!(ask(&mut *other, &peer, "x"), "false");
    s.hooks.forget(CONN);
    assert_eq!(ask(&mut *other, &peer, "x"), "true");
    assert_eq!(s.reply("x"), "false");
    let error = s.batch(&["x"]).unwrap_err();
    assert!(
        error
            .text
            .ends_with("limit.hold: no connection's hook is running, so there is none to hold for"),
        "{error}"
    );
}

#[test]
fn metrics_are_summed_over_workers_and_generations() {
    let mut s = Scripts::one(
        "local c = metrics.counter('hits_total', 'hits')
         local g, h = metrics.gauge 'load', metrics.histogram('took_seconds', 'how long')
         function on_message(conn, m) c:inc() c:inc(2) g:set(#m) h:observe(0.3) end",
    );
    let mut other = second(&s);
    s.reply("abc");
    ask(&mut *other, &s.peer, "ab");
    drop(other);
    let text = s.host.commons.metrics_text();
    for line in [
        "# HELP wsd_lua_hits_total hits",
        "wsd_lua_hits_total 6",
        "wsd_lua_load 2",
        "wsd_lua_took_seconds_count 2",
        "wsd_lua_took_seconds_bucket{le=\"0.5\"} 2",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}: {text}");
    }
    for (call, why) in [
        (
            "metrics.counter('1a')",
            "metrics.counter: the name \"1a\": must be 1 to 100 letters, digits or _, and no digit at its beginning",
        ),
        (
            "metrics.gauge('a', {})",
            "metrics.gauge: the help is a table; must be a text of at most 1000 bytes",
        ),
        (
            "metrics.gauge 'a' metrics.counter 'a'",
            "metrics.counter: \"a\": is a gauge already",
        ),
        (
            "metrics.counter('a'):inc(-1)",
            "counter:inc: a counter only grows; a gauge goes both ways",
        ),
        (
            "metrics.counter('a'):inc(0/0)",
            "counter:inc: is given NaN; must be a number",
        ),
        (
            "metrics.gauge('a'):set()",
            "gauge:set: is given nil; must be a number",
        ),
        (
            "metrics.histogram('a'):observe('x')",
            "histogram:observe: is given \"x\"; must be a number",
        ),
        (
            "metrics.counter('a').inc()",
            "counter:inc: called without its counter; write m:inc(…), with a colon",
        ),
        (
            "metrics.gauge('g').set(metrics.counter('a'), 1)",
            "gauge:set: called without its gauge; write m:set(…), with a colon",
        ),
        (
            "for i = 1, 1001 do metrics.counter('m' .. i) end",
            "metrics.counter: \"m1001\": there are 1000 metrics already",
        ),
    ] {
        let mut s = Scripts::one(&format!("function on_message() {call} end"));
        assert_eq!(s.fault("x"), format!("hooks/a.lua:1: on_message: {why}"));
    }
}

#[test]
fn users_and_subscribers() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           wsd.send('ann', { n = wsd.subscribers 'lobby' })
           wsd.kick 'bob'
           wsd.kick('eve', 4003, 'spam')
         end",
    );
    let (_, effects) = s.message("x").unwrap();
    assert_eq!(
        effects,
        [
            Effect::SendUser("ann".into(), Payload::text("{\"n\":5}")),
            Effect::KickUser("bob".into(), crate::types::Close::KICKED),
            Effect::KickUser("eve".into(), crate::types::Close::new(4003, "spam")),
        ]
    );
    for (call, why) in [
        (
            "wsd.send('', 'x')",
            "wsd.send: the user is \"\"; must be a string of 1 to 255 bytes",
        ),
        (
            "wsd.send('a')",
            "wsd.send: the message is nil; must be a string or a table",
        ),
        (
            "wsd.kick(nil)",
            "wsd.kick: the user is nil; must be a string of 1 to 255 bytes",
        ),
        (
            "wsd.kick('a', 999)",
            "wsd.kick: the code 999: must be 1000, 1008 or 3000 to 4999",
        ),
        (
            "wsd.subscribers('$x')",
            "wsd.subscribers: channel \"$x\": channel names that begin with \"$\" are reserved",
        ),
    ] {
        let mut s = Scripts::one(&format!("function on_message() {call} end"));
        assert_eq!(s.fault("x"), format!("hooks/a.lua:1: on_message: {why}"));
    }
}

#[test]
fn expiry_takes_any_time_but_no_nonsense() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           if m == 'nan' then conn:expire(0/0) elseif m == 'inf' then conn:expire(1/0)
           elseif m == 'text' then conn:expire('soon') elseif m == 'nil' then conn:expire(nil) else conn:expire(-5) end
         end",
    );
    for (m, shown) in [("nan", "NaN"), ("inf", "inf"), ("text", "\"soon\"")] {
        assert!(s.fault(m).ends_with(&format!(
            "conn:expire: {shown} is no time; must be Unix seconds or nil"
        )));
    }
    assert_eq!(s.message("nil").unwrap().1, [Effect::Expire(CONN, None)]);
    assert_eq!(s.message("").unwrap().1, [Effect::Expire(CONN, Some(-5.0))]);
}

#[test]
fn replay_is_taken_and_bounded() {
    let mut s = Scripts::one(
        "function on_message(conn, m) conn:subscribe('a', { replay = tonumber(m) }) end",
    );
    assert_eq!(
        s.message("10").unwrap().1,
        [Effect::Subscribe(CONN, name("a"), Some(10))]
    );
    for bad in ["-1", "1.5", "1e7"] {
        assert!(
            s.fault(bad)
                .ends_with("must be a whole number from 0 to 1000000")
        );
    }
}

#[test]
fn a_large_set_is_cut() {
    let mut s = Scripts::with(
        &[(
            "hooks/a.lua",
            "local list = table.create(3000000, true)
             for i = 1, #list do list[i] = i end
             function on_message() set(list) end",
        )],
        |hooks| {
            // Room for the list and a third of the set: who is not cut in time finds no memory.
            hooks.memory = 100 << 20;
            hooks.time_limit.load = Duration::from_secs(5);
        },
    );
    assert!(s.fault("x").contains("stopped after 20 ms"));
}
