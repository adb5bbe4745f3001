//! A Unix socket as listener, alone and beside TCP.

use crate::support::{Client, Request, Site, Stream, Wsd};

fn site(addresses: &str, hooks: &[(&str, &str)]) -> Site {
    let site = Site::new("", hooks);
    let socket = site.path("ws.sock").display().to_string();
    site.write_config(&format!(
        "[listen]\naddresses = [{}]\n",
        addresses.replace("SOCKET", &socket)
    ));
    site
}

fn client(wsd: &Wsd) -> Client {
    Client::open(
        Stream::unix(&wsd.path("ws.sock")),
        &Request::websocket("/chat"),
    )
}

#[test]
fn clients_of_a_unix_socket_and_of_tcp_meet() {
    let wsd = Wsd::on(site("\"127.0.0.1:0\", \"unix:SOCKET\"", &[]));
    assert_eq!(wsd.listeners().len(), 2);
    let mut over_unix = client(&wsd);
    let mut over_tcp = wsd.client("/chat");
    over_unix.text("from unix");
    over_tcp.expect("from unix");
    over_unix.expect("from unix");
    over_tcp.text("from tcp");
    over_unix.expect("from tcp");
}

#[test]
fn client_of_a_unix_socket_has_no_address() {
    let hook = "function on_connect(conn) conn:send('<' .. conn.ip .. '>') end";
    let wsd = Wsd::on(site("\"unix:SOCKET\"", &[("h.lua", hook)]));
    client(&wsd).expect("<>");
}

#[test]
fn socket_that_a_killed_node_left_is_taken_over() {
    let mut wsd = Wsd::on(site("\"unix:SOCKET\"", &[]));
    client(&wsd);
    wsd.kill_and_start();
    let mut again = client(&wsd);
    again.text("here");
    again.expect("here");
}

#[test]
fn file_that_is_no_socket_is_not_removed() {
    let site = site("\"unix:SOCKET\"", &[]);
    std::fs::write(site.path("ws.sock"), "precious").unwrap();
    let path = site.path("ws.sock");
    let mut wsd = Wsd::spawn(site);
    wsd.wait_log("ws.sock");
    assert_ne!(wsd.wait(), 0);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}
