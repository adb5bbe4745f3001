//! Which channel a connection joins: routes, their params, echo and publish.

use crate::support::{Wsd, eventually};

#[test]
fn without_routes_the_path_is_the_channel() {
    let wsd = Wsd::start("");
    let mut a = wsd.client("/rooms/7");
    let mut b = wsd.client("/rooms/7?x=1");
    let mut other = wsd.client("/rooms/8");
    a.text("to seven");
    a.expect("to seven");
    b.expect("to seven");
    other.text("to eight");
    other.expect("to eight");
}

#[test]
fn bare_slash_is_the_channel_default() {
    let wsd = Wsd::start("");
    let mut root = wsd.client("/");
    let mut named = wsd.client("/default");
    named.text("x");
    root.expect("x");
    named.expect("x");
}

#[test]
fn percent_codes_of_a_path_are_decoded() {
    let wsd = Wsd::start("");
    let mut coded = wsd.client("/caf%C3%A9");
    assert_eq!(wsd.cli(&["publish", "café", "bonjour"], b"").code, 0);
    coded.expect("bonjour");
}

#[test]
fn params_of_the_path_make_the_channel() {
    let wsd = Wsd::start(
        "[[route]]\npath = \"/rooms/{room}\"\nchannel = \"room:{room}\"\n\
         [[route]]\npath = \"/files/{rest*}\"\nchannel = \"file:{rest}\"\n",
    );
    let mut room = wsd.client("/rooms/a%2Fb");
    let mut file = wsd.client("/files/x/y/z");
    assert_eq!(wsd.cli(&["publish", "room:a/b", "one"], b"").code, 0);
    assert_eq!(wsd.cli(&["publish", "file:x/y/z", "two"], b"").code, 0);
    room.expect("one");
    file.expect("two");
}

#[test]
fn first_route_that_matches_counts() {
    let wsd = Wsd::start(
        "[[route]]\npath = \"/a\"\nchannel = \"first\"\n\
         [[route]]\npath = \"/{any}\"\nchannel = \"second\"\n",
    );
    let mut first = wsd.client("/a");
    let mut second = wsd.client("/b");
    assert_eq!(wsd.cli(&["publish", "first", "1"], b"").code, 0);
    assert_eq!(wsd.cli(&["publish", "second", "2"], b"").code, 0);
    first.expect("1");
    second.expect("2");
}

#[test]
fn route_without_echo_spares_the_sender_alone() {
    let wsd = Wsd::start(
        "[[route]]\npath = \"/quiet\"\nchannel = \"chat\"\necho = false\n\
         [[route]]\npath = \"/loud\"\nchannel = \"chat\"\n",
    );
    let mut quiet = wsd.client("/quiet");
    let mut twin = wsd.client("/quiet");
    let mut loud = wsd.client("/loud");
    quiet.text("from quiet");
    twin.expect("from quiet");
    loud.expect("from quiet");
    loud.text("from loud");
    // The first that the sender sees is what somebody else said.
    quiet.expect("from loud");
    twin.expect("from loud");
    loud.expect("from loud");
}

#[test]
fn route_that_may_not_publish_is_heard_by_nobody_and_asks_no_hook() {
    let wsd = Wsd::with_hooks(
        "[[route]]\npath = \"/read\"\nchannel = \"chat\"\npublish = false\n\
         [[route]]\npath = \"/write\"\nchannel = \"chat\"\n",
        &[(
            "h.lua",
            "function on_message(conn, m) return m .. ' seen by ' .. conn.route end",
        )],
    );
    let mut reader = wsd.client("/read");
    let mut writer = wsd.client("/write");
    reader.text("let me");
    reader.sync();
    writer.text("hello");
    reader.expect("hello seen by /write");
    writer.expect("hello seen by /write");
    assert_eq!(wsd.metric("wsd_dropped_total{reason=\"not_allowed\"}"), 1);
    assert_eq!(wsd.metric("wsd_hook_calls_total"), 1);
}

#[test]
fn message_of_a_route_without_channel_goes_nowhere_and_is_counted() {
    let wsd = Wsd::start("[[route]]\npath = \"/lone\"\nchannel = \"\"\n");
    let mut lone = wsd.client("/lone");
    lone.text("anybody?");
    lone.sync();
    eventually!(wsd.metric("wsd_dropped_total{reason=\"no_channel\"}") == 1);
    assert_eq!(wsd.metric("wsd_publications_total"), 0);
    eventually!(wsd.metric("wsd_subscriptions") == 0);
}

#[test]
fn route_with_a_list_of_hooks_runs_these_alone_in_that_order() {
    let wsd = Wsd::with_hooks(
        "[[route]]\npath = \"/both\"\nchannel = \"both\"\nhooks = [\"b.lua\", \"a.lua\"]\n\
         [[route]]\npath = \"/none\"\nchannel = \"none\"\nhooks = []\n\
         [[route]]\npath = \"/all\"\nchannel = \"all\"\n",
        &[
            ("a.lua", "function on_message(conn, m) return m .. 'a' end"),
            ("b.lua", "function on_message(conn, m) return m .. 'b' end"),
            ("c.lua", "function on_message(conn, m) return m .. 'c' end"),
        ],
    );
    for (path, expected) in [("/both", "xba"), ("/none", "x"), ("/all", "xabc")] {
        let mut client = wsd.client(path);
        client.text("x");
        client.expect(expected);
    }
}
