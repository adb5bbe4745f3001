//! Stopping: SIGTERM says goodbye to everyone and ends with 0.

use std::net::TcpStream;

use crate::support::{Message, Request, Wsd, eventually};

#[test]
fn sigterm_closes_everyone_with_1001_and_exits_0() {
    let mut wsd = Wsd::start("");
    let clients: Vec<_> = (0..20).map(|_| wsd.client("/chat")).collect();
    wsd.signal("TERM");
    for mut client in clients {
        assert_eq!(client.expect_close(1001), "going away");
    }
    assert_eq!(wsd.wait(), 0);
}

#[test]
fn without_connections_a_stop_is_over_at_once() {
    let mut wsd = Wsd::start("[drain]\nover = \"1h\"\n");
    assert_eq!(wsd.stop(), 0);
}

#[test]
fn stop_does_not_wait_for_a_client_that_does_not_answer() {
    let mut wsd = Wsd::start("");
    let _mute = wsd.client("/chat");
    let _halfway = TcpStream::connect(wsd.address()).unwrap();
    assert_eq!(wsd.stop(), 0);
}

#[test]
fn nobody_new_is_let_in_while_it_stops() {
    let mut wsd = Wsd::start("[drain]\nover = \"10s\"\n");
    let mut clients: Vec<_> = (0..20).map(|_| wsd.client("/chat")).collect();
    wsd.signal("TERM");
    let refused = || match Request::websocket("/chat").try_send(wsd.address()) {
        Ok(answer) => answer.status == 503,
        Err(_) => true,
    };
    eventually!(refused());
    // The balancer in front is told so.
    let not_ready = || match Request::new("GET", "/readyz").try_send(wsd.admin()) {
        Ok(answer) => answer.status == 503,
        Err(_) => true,
    };
    eventually!(not_ready());
    // Who is still there is served: one of twenty may be closed by now, hardly all.
    let served = clients.iter_mut().any(|client| {
        client.text("hello");
        // Perhaps what another one said before.
        client.next() == Message::text("hello")
    });
    assert!(
        served,
        "all twenty were closed at once instead of over 10 s"
    );
    drop(clients);
    assert_eq!(wsd.wait(), 0);
}

#[test]
fn scripts_are_told_of_the_end() {
    let mut wsd = Wsd::with_hook(
        "function on_disconnect(conn, code, reason) print('ended with ' .. code) end",
    );
    let mut client = wsd.client("/chat");
    wsd.signal("TERM");
    client.expect_close(1001);
    wsd.wait_log("ended with 1001");
    assert_eq!(wsd.wait(), 0);
}

#[test]
fn sigint_stops_it_too() {
    let mut wsd = Wsd::start("");
    wsd.signal("INT");
    assert_eq!(wsd.wait(), 0);
}

#[test]
fn sockets_of_a_node_that_was_killed_do_not_hinder_the_next_one() {
    let mut wsd = Wsd::start("");
    wsd.client("/chat");
    wsd.kill_and_start();
    let mut client = wsd.client("/chat");
    client.text("again");
    client.expect("again");
}
