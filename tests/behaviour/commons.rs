//! What scripts share and reach across workers: dictionaries, slots, metrics, users, subscribers, timers.

use crate::support::{Request, Wsd, eventually};

const FOUR: &str = "[runtime]\nworkers = 4\n";

#[test]
fn a_dictionary_counts_over_workers_and_reloads() {
    let hook = "local d = shared.dict 'seen'\n\
        function on_message(conn, m) conn:send(tostring(d:incr('n'))) return false end";
    let wsd = Wsd::with_hooks(FOUR, &[("h.lua", hook)]);
    let mut clients: Vec<_> = (0..8).map(|_| wsd.client("/chat")).collect();
    for (n, client) in (1..).zip(&mut clients) {
        client.text("x");
        client.expect(&n.to_string());
    }
    wsd.write_hook("h.lua", &format!("{hook}\n-- changed"));
    assert_eq!(wsd.cli(&["reload"], b"").code, 0);
    clients[0].text("x");
    clients[0].expect("9");
}

#[test]
fn a_slot_is_given_back_however_the_connection_ends() {
    let wsd = Wsd::with_hooks(
        FOUR,
        &[(
            "h.lua",
            "function on_connect(conn)\n\
               if not limit.hold('open', 2) then return 429, 'full' end\n\
               if conn.query.bad == 'no' then return false end\n\
               if conn.query.bad == 'error' then error('x') end\n\
               if conn.query.bad == 'loop' then while true do end end\n\
             end\n\
             function on_subscribe(conn, channel) return channel ~= 'closed' end\n\
             function on_message(conn, m) conn:close(4000, 'bye') return false end",
        )],
    );
    let refused = |target: &str| wsd.handshake(&Request::websocket(target)).status;
    for _ in 0..3 {
        assert_eq!(refused("/chat?bad=no"), 403);
        assert_eq!(refused("/chat?bad=error"), 503);
        assert_eq!(refused("/chat?bad=loop"), 503);
        assert_eq!(refused("/closed"), 403);
    }
    let mut first = wsd.client("/chat");
    let second = wsd.client("/chat");
    assert_eq!(refused("/chat"), 429);
    // Cut off without a word.
    drop(second);
    eventually!(wsd.metric("wsd_connections") == 1);
    let third = wsd.client("/chat");
    assert_eq!(refused("/chat"), 429);
    first.text("close me");
    first.expect_close(4000);
    eventually!(wsd.metric("wsd_connections") == 1);
    drop(wsd.client("/chat"));
    drop(third);
}

#[test]
fn metrics_of_scripts_stand_beside_wsd_s_own() {
    let hook = "local c = metrics.counter('said_total', 'what was said')\n\
        local h = metrics.histogram('length', 'bytes')\n\
        function on_message(conn, m) c:inc() h:observe(#m) end";
    let wsd = Wsd::with_hooks(FOUR, &[("h.lua", hook)]);
    let mut clients: Vec<_> = (0..8).map(|i| wsd.client(&format!("/c{i}"))).collect();
    for client in &mut clients {
        client.text("x");
        client.expect("x");
    }
    assert_eq!(wsd.metric("wsd_lua_said_total"), 8);
    assert_eq!(wsd.metric("wsd_lua_length_bucket{le=\"1\"}"), 8);
    wsd.write_hook("h.lua", &format!("{hook}\n-- changed"));
    assert_eq!(wsd.cli(&["reload"], b"").code, 0);
    clients[0].text("x");
    clients[0].expect("x");
    assert_eq!(wsd.metric("wsd_lua_said_total"), 9);
}

/// The first word is the user; `send ann hi`, `kick ann`, `rename bob`.
const USERS: &str = "function on_connect(conn) conn.user = conn.query.user end\n\
    function on_message(conn, m)\n\
      local what, user, text = m:match('^(%a+) (%a*) ?(.*)$')\n\
      if what == 'send' then wsd.send(user, text)\n\
      elseif what == 'bytes' then wsd.send(user, '\\255')\n\
      elseif what == 'kick' then wsd.kick(user)\n\
      elseif what == 'spam' then wsd.kick(user, 4003, 'spam')\n\
      elseif what == 'rename' then conn.user = user ~= '' and user or nil\n\
      elseif what == 'count' then conn:send(tostring(wsd.subscribers(user))) end\n\
      return false\n\
    end";

#[test]
fn users_are_reached_on_every_worker() {
    let wsd = Wsd::with_hooks(FOUR, &[("h.lua", USERS)]);
    let mut ann: Vec<_> = (0..6).map(|_| wsd.client("/chat?user=ann")).collect();
    let mut bob = wsd.client("/chat?user=bob");
    let mut eve = wsd.client("/chat");
    for i in 0..20 {
        eve.text(&format!("send ann {i}"));
    }
    for client in &mut ann {
        (0..20).for_each(|i| client.expect(&i.to_string()));
    }
    eve.text("bytes bob");
    assert_eq!(bob.next(), crate::support::Message::Binary(vec![255]));
    // Whoever is renamed is reached by the new name alone.
    bob.text("rename ann");
    bob.text("send ann new");
    bob.expect("new");
    eve.text("send bob old");
    bob.text("rename ");
    bob.text("send ann nobody");
    ann.iter_mut().for_each(|client| {
        client.expect("new");
        client.expect("nobody");
    });
    eve.text("spam ann");
    for client in &mut ann {
        assert_eq!(client.expect_close(4003), "spam");
    }
    eventually!(wsd.metric("wsd_connections") == 2);
    eve.text("rename eve");
    eve.sync();
    bob.text("kick eve");
    eve.expect_close(1008);
    bob.text("send bob nothing came before");
    bob.text("rename bob");
    bob.text("send bob this did");
    bob.expect("this did");
}

#[test]
fn subscribers_are_counted_over_workers() {
    let wsd = Wsd::with_hooks(FOUR, &[("h.lua", USERS)]);
    let mut first = wsd.client("/chat");
    let rest: Vec<_> = (0..7).map(|_| wsd.client("/chat")).collect();
    first.text("count chat");
    first.expect("8");
    first.text("count other");
    first.expect("0");
    drop(rest);
    eventually!(wsd.metric("wsd_connections") == 1);
    first.text("count chat");
    first.expect("1");
}

#[test]
fn timers_run_while_their_generation_is_live() {
    let wsd = Wsd::with_hooks(
        FOUR,
        &[(
            "h.lua",
            "local n = 0\n\
             wsd.every(0.01, function() n += 1 wsd.publish('ticks', 'one ' .. n) end)\n\
             wsd.every(0.01, function() metrics.counter('each_' .. wsd.worker .. '_total', ''):inc() end, 'worker')\n\
             wsd.after(0.01, function() metrics.counter('once_total', ''):inc() end)\n\
             function on_load() wsd.after(0.02, function() metrics.counter('loaded_total', ''):inc() end) end\n\
             function on_message(conn, m) wsd.after(0.01, function() conn:send('later: ' .. m) end) return false end",
        )],
    );
    let mut client = wsd.client("/ticks");
    let count = |text: &str| text.strip_prefix("one ").unwrap().parse::<u32>().unwrap();
    let first = count(&client.next_text());
    for n in 1..5 {
        assert_eq!(count(&client.next_text()), first + n);
    }
    for worker in 0..4 {
        eventually!(wsd.metric(&format!("wsd_lua_each_{worker}_total")) > 3);
    }
    eventually!(wsd.metric("wsd_lua_loaded_total") == 1);
    assert_eq!(wsd.metric("wsd_lua_once_total"), 1);
    let mut talker = wsd.client("/talk");
    talker.text("hi");
    talker.expect("later: hi");
    // The next generation has none of them.
    wsd.write_hook("h.lua", "function on_message(conn, m) return m end");
    assert_eq!(wsd.cli(&["reload"], b"").code, 0);
    client.text("end");
    while client.next_text() != "end" {}
    let each = wsd.metric("wsd_lua_each_0_total");
    talker.text("still here");
    talker.expect("still here");
    assert_eq!(wsd.metric("wsd_lua_each_0_total"), each);
}

#[test]
fn timers_that_are_always_due_hold_nobody_up() {
    let wsd = Wsd::with_hooks(
        "[runtime]\nworkers = 1\n",
        &[(
            "h.lua",
            "for i = 1, 200 do wsd.every(0.01, function() for j = 1, 20000 do end end) end\n\
             wsd.every(0.01, function() while true do end end)\n\
             wsd.every(0.01, function() error 'again' end)",
        )],
    );
    let mut client = wsd.client("/chat");
    for i in 0..100 {
        client.text(&i.to_string());
        client.expect(&i.to_string());
    }
    wsd.wait_log("h.lua:2: timer: stopped after 50 ms (hooks.time_limit.timer)");
    wsd.wait_log("h.lua:3: timer: again");
    eventually!(wsd.metric("wsd_hook_errors_total") > 2);
    // The one that was cut has ended.
    assert_eq!(wsd.metric("wsd_hook_cuts_total"), 1);
}

#[test]
fn a_hook_may_ask_for_as_much_of_the_history_as_it_wants() {
    let wsd = Wsd::with_hooks(
        "[[channel]]\nmatch = \"*\"\nhistory = { size = 10, ttl = \"1h\" }\nreplay = 1\n",
        &[(
            "h.lua",
            "function on_connect(conn) conn.user = 'ann' end\n\
             function on_message(conn, m)\n\
               if m == 'all' then conn:subscribe('kept', { replay = 5 })\n\
               elseif m == 'none' then conn:subscribe('kept', { replay = 0 })\n\
               elseif m == 'usual' then conn:subscribe 'kept' end\n\
               return false\n\
             end",
        )],
    );
    for i in 0..8 {
        assert_eq!(wsd.cli(&["publish", "kept", &i.to_string()], b"").code, 0);
    }
    wsd.wait_published(8);
    for (what, first) in [("all", 3), ("usual", 7), ("none", 8)] {
        let mut client = wsd.client("/chat");
        client.text(what);
        (first..8).for_each(|i| client.expect(&i.to_string()));
        client.sync();
    }
}
