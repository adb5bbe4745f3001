//! `on_batch` and the publish window: what is gathered, what the script makes of it, and in which order it comes out.
//!
//! Windows here are far longer than a test: batches end by count or by size, so nothing depends on the machine's speed.

use crate::support::{Message, Wsd, eventually};

/// Batches of three.
const THREE: &str = "[publish]\nwindow = \"1h\"\nmax_messages = 3\n";

#[test]
fn window_gathers_what_all_clients_say() {
    let wsd = Wsd::with_hooks(
        THREE,
        &[(
            "h.lua",
            "function on_batch(channel, messages)\n\
             table.sort(messages)\n\
             return { channel .. ': ' .. table.concat(messages, '+') }\n\
             end",
        )],
    );
    let mut clients: Vec<_> = (0..3).map(|_| wsd.client("/chat")).collect();
    for (client, text) in clients.iter_mut().zip(["a", "b", "c"]) {
        client.text(text);
    }
    for client in &mut clients {
        client.expect("chat: a+b+c");
    }
    assert_eq!(wsd.metric("wsd_publications_total"), 1);
}

#[test]
fn batch_ends_before_it_grows_over_its_bytes() {
    let wsd = Wsd::with_hooks(
        "[publish]\nwindow = \"1h\"\nmax_bytes = \"10B\"\n",
        &[(
            "h.lua",
            "function on_batch(channel, messages) return { table.concat(messages, '+') } end",
        )],
    );
    let mut client = wsd.client("/chat");
    // The third would make 12 bytes; one that is larger alone is a batch of its own.
    client.texts(&["aaaa", "bbbb", "cccc", "dddddddddddddddd"]);
    client.expect("aaaa+bbbb");
    client.expect("cccc");
    client.expect("dddddddddddddddd");
}

#[test]
fn window_ends_by_itself() {
    let wsd = Wsd::with_hooks(
        "[publish]\nwindow = \"50ms\"\n",
        &[(
            "h.lua",
            "function on_batch(channel, messages) return { table.concat(messages, '+') } end",
        )],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["a", "b"]);
    client.expect("a+b");
}

#[test]
fn batch_may_be_published_empty() {
    let wsd = Wsd::with_hooks(
        THREE,
        &[(
            "h.lua",
            "function on_batch(channel, messages)\n\
             if messages[1] == 'false' then return false end\n\
             if messages[1] == 'empty' then return {} end\n\
             end",
        )],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["false", "1", "2", "empty", "3", "4", "kept", "5", "6"]);
    client.expect("kept");
    client.expect("5");
    client.expect("6");
}

#[test]
fn outputs_may_be_tables_and_new_strings() {
    let wsd = Wsd::with_hooks(
        THREE,
        &[(
            "h.lua",
            "function on_batch(channel, m) return { { n = #m }, m[2], 'new', '\\255' } end",
        )],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["a", "b", "c"]);
    client.expect("{\"n\":3}");
    client.expect("b");
    client.expect("new");
    assert_eq!(client.next(), Message::Binary(vec![0xff]));
}

#[test]
fn output_equal_to_an_input_keeps_its_kind_and_its_sender() {
    let wsd = Wsd::with_hooks(
        "[[route]]\npath = \"/quiet\"\nchannel = \"chat\"\necho = false\n\
         [[route]]\npath = \"/loud\"\nchannel = \"chat\"\n\
         [publish]\nwindow = \"1h\"\nmax_messages = 2\n",
        &[(
            "h.lua",
            "function on_batch(channel, m) return { m[2], m[1], 'news' } end",
        )],
    );
    let mut quiet = wsd.client("/quiet");
    let mut loud = wsd.client("/loud");
    quiet.binary(b"ascii");
    quiet.text("words");
    // Both are the quiet one's own; only what is new comes to it.
    quiet.expect("news");
    loud.expect("words");
    assert_eq!(loud.next(), Message::Binary(b"ascii".to_vec()));
    loud.expect("news");
}

#[test]
fn senders_are_the_ids_of_the_connections() {
    let wsd = Wsd::with_hooks(
        THREE,
        &[(
            "h.lua",
            "function on_connect(conn) conn:send(conn.id) end\n\
             function on_batch(channel, messages, senders)\n\
             local out = {}\n\
             for i, m in messages do out[i] = m .. ' of ' .. senders[i] end\n\
             return out\n\
             end",
        )],
    );
    let mut a = wsd.client("/chat");
    let mut b = wsd.client("/chat");
    let (id_a, id_b) = (a.next_text(), b.next_text());
    a.text("one");
    a.sync();
    b.text("two");
    b.sync();
    // What no client sent has no sender.
    assert_eq!(wsd.cli(&["publish", "chat", "three"], b"").code, 0);
    a.expect(&format!("one of {id_a}"));
    a.expect(&format!("two of {id_b}"));
    a.expect("three of ");
}

#[test]
fn what_on_batch_publishes_itself_goes_out_before_its_output() {
    let wsd = Wsd::with_hooks(
        THREE,
        &[(
            "h.lua",
            "function on_batch(channel, messages)\n\
             wsd.publish(channel, 'head')\n\
             wsd.publish('other', 'count ' .. #messages)\n\
             end",
        )],
    );
    let mut client = wsd.client("/chat");
    let mut other = wsd.client("/other");
    client.texts(&["a", "b", "c"]);
    for text in ["head", "a", "b", "c"] {
        client.expect(text);
    }
    other.expect("count 3");
}

#[test]
fn what_a_hook_publishes_closes_the_open_batch_first_and_is_not_batched() {
    let wsd = Wsd::with_hooks(
        "[publish]\nwindow = \"1h\"\nmax_messages = 100\n",
        &[(
            "h.lua",
            "function on_message(conn, m) if m == 'now' then wsd.publish('chat', 'direct') return false end end\n\
             function on_batch(channel, messages) return { table.concat(messages, '+') } end",
        )],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["a", "b", "now"]);
    client.expect("a+b");
    client.expect("direct");
}

#[test]
fn message_with_another_list_of_stages_closes_the_open_batch() {
    let wsd = Wsd::with_hooks(
        "[[route]]\npath = \"/a\"\nchannel = \"chat\"\nhooks = [\"a.lua\"]\n\
         [[route]]\npath = \"/b\"\nchannel = \"chat\"\nhooks = [\"b.lua\"]\n\
         [publish]\nwindow = \"1h\"\nmax_messages = 2\n",
        &[
            (
                "a.lua",
                "function on_batch(channel, m) return { 'a:' .. table.concat(m, '+') } end",
            ),
            (
                "b.lua",
                "function on_batch(channel, m) return { 'b:' .. table.concat(m, '+') } end",
            ),
        ],
    );
    let mut a = wsd.client("/a");
    let mut b = wsd.client("/b");
    a.text("1");
    a.sync();
    b.texts(&["2", "3"]);
    for client in [&mut a, &mut b] {
        client.expect("a:1");
        client.expect("b:2+3");
    }
}

#[test]
fn failing_on_batch_passes_what_came_and_refuse_drops_it() {
    let hook = [(
        "h.lua",
        "function on_batch(channel, m) if m[1] ~= 'end' then error('no') end end",
    )];
    let wsd = Wsd::with_hooks(THREE, &hook);
    let mut client = wsd.client("/chat");
    client.texts(&["a", "b", "c"]);
    for text in ["a", "b", "c"] {
        client.expect(text);
    }
    let wsd = Wsd::with_hooks(
        &format!("[hooks.on_error]\nbatch = \"refuse\"\n{THREE}"),
        &hook,
    );
    let mut client = wsd.client("/chat");
    client.texts(&["a", "b", "c", "end", "d", "e"]);
    client.expect("end");
    eventually!(wsd.metric("wsd_dropped_total{reason=\"hook_error\"}") == 3);
}

#[test]
fn return_of_on_batch_that_is_no_array_is_an_error() {
    let wsd = Wsd::with_hooks(
        THREE,
        &[(
            "h.lua",
            "function on_batch(channel, m)\n  return m[1] == 'a' and 'text' or { 1 }\nend",
        )],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["a", "b", "c"]);
    for text in ["a", "b", "c"] {
        client.expect(text);
    }
    wsd.wait_log("on_batch: returned a string");
}

#[test]
fn channels_have_batches_of_their_own() {
    let wsd = Wsd::with_hooks(
        "[[channel]]\nmatch = \"slow:*\"\npublish = { window = \"1h\", max_messages = 2 }\n",
        &[(
            "h.lua",
            "function on_batch(channel, m) return { channel .. '=' .. table.concat(m, '+') } end",
        )],
    );
    let mut slow = wsd.client("/slow:1");
    let mut other = wsd.client("/slow:2");
    let mut quick = wsd.client("/quick");
    slow.text("a");
    other.text("b");
    quick.text("c");
    quick.expect("quick=c");
    slow.text("d");
    other.text("e");
    slow.expect("slow:1=a+d");
    other.expect("slow:2=b+e");
}

#[test]
fn batch_of_a_connection_that_has_gone_is_published() {
    // Without an on_batch nothing waits.
    let wsd = Wsd::with_hooks(
        "[publish]\nwindow = \"1h\"\nmax_messages = 2\n",
        &[("h.lua", "function on_batch(channel, messages) end")],
    );
    let mut stays = wsd.client("/chat");
    let mut leaves = wsd.client("/chat");
    leaves.text("my last");
    leaves.sync();
    leaves.close();
    stays.text("after");
    stays.expect("my last");
    stays.expect("after");
}
