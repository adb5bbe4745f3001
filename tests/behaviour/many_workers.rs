//! Four workers: one order for each channel, whoever sends and whoever listens; batches at the channel's home.

use std::collections::BTreeSet;

use crate::support::{Client, Request, Stream, Wsd, eventually, frame};

const FOUR: &str = "[runtime]\nworkers = 4\n";

#[test]
fn message_reaches_subscribers_of_all_workers() {
    let wsd = Wsd::start(FOUR);
    assert_eq!(wsd.status()["workers"], 4);
    let mut clients: Vec<_> = (0..12).map(|_| wsd.client("/chat")).collect();
    for i in 0..12 {
        let text = format!("from {i}");
        clients[i].text(&text);
        for client in &mut clients {
            client.expect(&text);
        }
    }
    eventually!(wsd.metric("wsd_connections") == 12);
    eventually!(wsd.status()["channels"] == 1);
}

#[test]
fn all_subscribers_see_the_same_order() {
    const SENDERS: usize = 4;
    const EACH: usize = 250;
    let wsd = Wsd::start(FOUR);
    let listeners: Vec<_> = (0..8).map(|_| wsd.client("/chat")).collect();
    let senders: Vec<_> = (0..SENDERS).map(|_| wsd.client("/chat")).collect();
    let read_all = |mut client: Client| {
        move || {
            (0..SENDERS * EACH)
                .map(|_| client.next_text())
                .collect::<Vec<_>>()
        }
    };
    let readers: Vec<_> = listeners
        .into_iter()
        .map(|c| std::thread::spawn(read_all(c)))
        .collect();
    let writers: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(sender, mut client)| {
            std::thread::spawn(move || {
                for i in 0..EACH {
                    client.text(&format!("{sender} {i}"));
                }
                read_all(client)()
            })
        })
        .collect();
    let seen: Vec<_> = readers
        .into_iter()
        .chain(writers)
        .map(|t| t.join().unwrap())
        .collect();
    for other in &seen[1..] {
        assert!(*other == seen[0], "two subscribers saw two orders");
    }
    for sender in 0..SENDERS {
        let prefix = format!("{sender} ");
        let own = seen[0]
            .iter()
            .filter_map(|t| t.strip_prefix(&prefix)?.parse::<usize>().ok());
        assert!(own.eq(0..EACH), "the order of sender {sender} is not kept");
    }
}

#[test]
fn batch_is_gathered_from_all_workers() {
    let wsd = Wsd::with_hooks(
        &format!("{FOUR}[publish]\nwindow = \"1h\"\nmax_messages = 8\n"),
        &[(
            "h.lua",
            "function on_batch(channel, m) table.sort(m) return { table.concat(m, '+') } end",
        )],
    );
    let mut clients: Vec<_> = (0..8).map(|_| wsd.client("/chat")).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.text(&i.to_string());
    }
    for client in &mut clients {
        client.expect("0+1+2+3+4+5+6+7");
    }
}

#[test]
fn sender_on_another_worker_is_spared_without_echo() {
    let wsd = Wsd::start(&format!(
        "{FOUR}[[route]]\npath = \"/quiet\"\nchannel = \"chat\"\necho = false\n"
    ));
    let mut clients: Vec<_> = (0..8).map(|_| wsd.client("/quiet")).collect();
    for sender in 0..8 {
        clients[sender].text(&sender.to_string());
        for (i, client) in clients.iter_mut().enumerate() {
            if i != sender {
                client.expect(&sender.to_string());
            }
        }
    }
}

#[test]
fn many_channels_with_a_home_each_keep_apart() {
    let wsd = Wsd::start(FOUR);
    let mut pairs: Vec<_> = (0..20)
        .map(|i| {
            (
                wsd.client(&format!("/room-{i}")),
                wsd.client(&format!("/room-{i}")),
            )
        })
        .collect();
    for (i, (a, _)) in pairs.iter_mut().enumerate() {
        a.texts(&[format!("{i} x"), format!("{i} y")]);
    }
    for (i, (a, b)) in pairs.iter_mut().enumerate() {
        for client in [a, b] {
            client.expect(&format!("{i} x"));
            client.expect(&format!("{i} y"));
        }
    }
    eventually!(wsd.status()["channels"] == 20);
}

#[test]
fn connection_limit_counts_the_whole_node() {
    let wsd = Wsd::start(&format!("{FOUR}[limits]\nconnections = 6\n"));
    let clients: Vec<_> = (0..6).map(|_| wsd.client("/chat")).collect();
    assert_eq!(wsd.handshake(&Request::websocket("/chat")).status, 503);
    drop(clients);
    eventually!(wsd.handshake(&Request::websocket("/chat")).status == 101);
}

#[test]
fn reload_switches_all_workers_before_it_answers() {
    let wsd = Wsd::with_hooks(
        FOUR,
        &[(
            "h.lua",
            "function on_message(conn, m) return m .. ' one' end",
        )],
    );
    let mut clients: Vec<_> = (0..8).map(|i| wsd.client(&format!("/own-{i}"))).collect();
    wsd.write_hook(
        "h.lua",
        "function on_message(conn, m) return m .. ' two' end",
    );
    wsd.reload();
    for client in &mut clients {
        client.text("x");
        client.expect("x two");
    }
}

#[test]
fn connection_goes_to_the_home_of_its_channel() {
    let wsd = Wsd::with_hooks(
        FOUR,
        &[(
            "h.lua",
            "function on_connect(conn) conn:send(tostring(wsd.worker)) end",
        )],
    );
    let open = |room: &str| {
        // What comes right behind the request goes with it.
        let request = Request::websocket(room).bytes();
        let bytes = [request, frame(0x81, b"early")].concat();
        Client::open_with(Stream::tcp(wsd.address()), &bytes)
    };
    for room in ["/one", "/two"] {
        let (mut first, mut second) = (open(room), open(room));
        assert_eq!(first.next_text(), second.next_text(), "{room}");
        first.expect("early");
        first.expect("early");
        second.expect("early");
    }
    eventually!(wsd.metric("wsd_connections") == 0);
}

#[test]
fn scripts_know_their_worker() {
    let wsd = Wsd::with_hooks(
        FOUR,
        &[(
            "h.lua",
            "function on_connect(conn) conn:send(tostring(wsd.worker)) end",
        )],
    );
    let mut clients: Vec<_> = (0..16).map(|i| wsd.client(&format!("/own-{i}"))).collect();
    let workers: BTreeSet<_> = clients.iter_mut().map(|c| c.next_text()).collect();
    assert_eq!(workers.len(), 4, "{workers:?}");
}
