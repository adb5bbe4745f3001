//! `[delivery]`: windows and formats on the way to plain clients.
//!
//! Windows here are far longer than a test: frames end by count or by size, so nothing depends on the machine's speed. What
//! has got its place is seen in the metrics before the next step is taken.

use crate::support::{Message, Wsd};

fn array(max_messages: u32) -> String {
    format!("[delivery]\nformat = \"json-array\"\nwindow = \"1h\"\nmax_messages = {max_messages}\n")
}

#[test]
fn json_array_gathers_json_as_it_stands_and_the_rest_as_strings() {
    let wsd = Wsd::start(&array(6));
    let mut client = wsd.client("/chat");
    client.texts(&["{\"a\": 1}", "say \"hi\"", "12", "null", "01", "[1,2"]);
    client.expect("[{\"a\": 1},\"say \\\"hi\\\"\",12,null,\"01\",\"[1,2\"]");
}

#[test]
fn json_array_without_a_window_is_still_an_array() {
    let wsd = Wsd::start("[delivery]\nformat = \"json-array\"\n");
    let mut client = wsd.client("/chat");
    client.text("lone");
    client.expect("[\"lone\"]");
}

#[test]
fn window_ends_by_itself() {
    let wsd = Wsd::start("[delivery]\nformat = \"json-array\"\nwindow = \"50ms\"\n");
    let mut client = wsd.client("/chat");
    client.texts(&["1", "2", "3"]);
    client.expect("[1,2,3]");
}

#[test]
fn all_subscribers_share_the_frames() {
    let wsd = Wsd::start(&array(4));
    let mut clients: Vec<_> = (0..4).map(|_| wsd.client("/chat")).collect();
    for client in &mut clients {
        client.text("\"x\"");
    }
    for client in &mut clients {
        client.expect("[\"x\",\"x\",\"x\",\"x\"]");
    }
}

#[test]
fn who_joins_a_window_gets_what_came_after() {
    let wsd = Wsd::start(&array(4));
    let mut first = wsd.client("/chat");
    first.texts(&["1", "2"]);
    wsd.wait_published(2);
    let mut late = wsd.client("/chat");
    first.texts(&["3", "4"]);
    first.expect("[1,2,3,4]");
    late.expect("[3,4]");
}

#[test]
fn who_leaves_a_window_ends_it_for_nobody() {
    let wsd = Wsd::start(&array(3));
    let mut stays = wsd.client("/chat");
    let mut leaves = wsd.client("/chat");
    stays.text("1");
    wsd.wait_published(1);
    leaves.send_close(1000, "");
    assert!(
        matches!(leaves.next(), Message::Close(1000, _)),
        "who leaves gets nothing"
    );
    stays.texts(&["2", "3"]);
    stays.expect("[1,2,3]");
}

#[test]
fn sender_without_echo_gets_the_window_without_its_own() {
    let wsd = Wsd::start(&format!(
        "[[route]]\npath = \"/quiet\"\nchannel = \"chat\"\necho = false\n\
         [[route]]\npath = \"/loud\"\nchannel = \"chat\"\n{}",
        array(3)
    ));
    let mut quiet = wsd.client("/quiet");
    let mut loud = wsd.client("/loud");
    quiet.text("1");
    wsd.wait_published(1);
    loud.text("2");
    wsd.wait_published(2);
    quiet.text("3");
    loud.expect("[1,2,3]");
    quiet.expect("[2]");
    // Nothing left over: no frame. The next frame is that of the next window.
    quiet.texts(&["4", "5", "6"]);
    loud.expect("[4,5,6]");
    loud.texts(&["7", "8", "9"]);
    quiet.expect("[7,8,9]");
}

#[test]
fn binary_message_closes_the_frame_and_goes_alone_in_order() {
    let wsd = Wsd::start(&array(3));
    let mut client = wsd.client("/chat");
    client.texts(&["1", "2"]);
    client.binary(b"\x00\xff");
    client.texts(&["3", "4", "5"]);
    client.expect("[1,2]");
    assert_eq!(client.next(), Message::Binary(b"\x00\xff".to_vec()));
    client.expect("[3,4,5]");
}

#[test]
fn frame_ends_before_it_grows_over_its_bytes() {
    let wsd = Wsd::start(
        "[delivery]\nformat = \"lines\"\nwindow = \"1h\"\nmax_bytes = \"13B\"\nmax_messages = 3\n",
    );
    let mut client = wsd.client("/chat");
    client.texts(&["aaaa", "bbbb", "cccc", "dddddddddddddddd", "e", "f", "g"]);
    client.expect("aaaa\nbbbb");
    client.expect("cccc");
    client.expect("dddddddddddddddd");
    client.expect("e\nf\ng");
}

#[test]
fn lines_are_joined_and_a_message_with_a_newline_goes_alone() {
    let wsd = Wsd::start("[delivery]\nformat = \"lines\"\nwindow = \"1h\"\nmax_messages = 3\n");
    let mut client = wsd.client("/chat");
    client.texts(&[
        "one", "two", "three", "four", "fi\nve", "six", "seven", "eight",
    ]);
    client.expect("one\ntwo\nthree");
    client.expect("four");
    client.expect("fi\nve");
    client.expect("six\nseven\neight");
}

#[test]
fn messages_in_a_window_stay_frames_of_their_own() {
    let wsd = Wsd::start("[delivery]\nwindow = \"1h\"\nmax_messages = 3\n");
    let mut client = wsd.client("/chat");
    client.texts(&["a", "b"]);
    client.sync();
    client.text("c");
    for text in ["a", "b", "c"] {
        client.expect(text);
    }
}

#[test]
fn channels_have_formats_of_their_own() {
    let wsd = Wsd::start(
        "[[channel]]\nmatch = \"array:*\"\ndelivery = { format = \"json-array\" }\n\
         [[channel]]\nmatch = \"*\"\ndelivery = { format = \"message\" }\n",
    );
    let mut array = wsd.client("/array:1");
    let mut plain = wsd.client("/plain");
    array.text("x");
    plain.text("x");
    array.expect("[\"x\"]");
    plain.expect("x");
}
