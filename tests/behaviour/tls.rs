//! TLS that ends in wsd: who gets in, what a certificate must be, and that nobody else feels what a peer does wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::support::tls::{Authority, CONFIG, connect, secure};
use crate::support::{Client, DEADLINE, Message, Request, Site, Stream, Wsd, eventually, signal};

/// A node with TLS, and who signed its certificate.
pub(crate) struct Node {
    pub(crate) wsd: Wsd,
    pub(crate) authority: Authority,
}

impl Node {
    pub(crate) fn start(config: &str) -> Self {
        Self::with_hooks(config, &[])
    }

    pub(crate) fn with_hooks(config: &str, hooks: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let site = Site::new(&format!("{CONFIG}{config}"), hooks);
        authority.issue().write(&site);
        Self {
            wsd: Wsd::on(site),
            authority,
        }
    }

    #[track_caller]
    pub(crate) fn client(&self, target: &str) -> Client {
        let stream = self.authority.connect(self.wsd.address());
        Client::open(stream, &Request::websocket(target))
    }
}

/// A raw connection, which gives up in time.
fn raw(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Everything until the end, orderly or not.
fn read_all(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = socket.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..n]);
    }
    bytes
}

#[test]
fn messages_pass_in_both_versions_of_tls() {
    let hook = "function on_connect(conn) conn:send(tostring(conn.secure) .. ' ' .. conn.ip) end";
    let node = Node::with_hooks(
        "[limits]\nmessage = \"2MiB\"\n[delivery]\nqueue = \"8MiB\"\n",
        &[("h.lua", hook)],
    );
    let mut clients: Vec<Client> = [&rustls::version::TLS12, &rustls::version::TLS13]
        .iter()
        .map(|version| {
            let config = Arc::new(node.authority.client_of(&[version]));
            let stream = connect(&config, node.wsd.address());
            let mut client = Client::open(stream, &Request::websocket("/chat"));
            client.expect("true 127.0.0.1");
            let Stream::Tls(stream) = client.stream() else {
                unreachable!();
            };
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            client
        })
        .collect();
    let large = "größer ".repeat(150_000);
    for text in ["", "hello", &large] {
        for sender in 0..2 {
            clients[sender].text(text);
            for client in &mut clients {
                client.expect(text);
            }
        }
    }
    for client in &mut clients {
        client.ping(b"still there?");
        assert_eq!(client.next(), Message::Pong(b"still there?".to_vec()));
    }
    for mut client in clients {
        client.send_close(1000, "");
        assert_eq!(client.next(), Message::Close(1000, String::new()));
        // The client takes an end without TLS's own for an error.
        assert_eq!(client.next(), Message::End);
    }
    eventually!(node.wsd.metric("wsd_queue_bytes") == 0);
}

#[test]
fn only_http_1_1_is_agreed() {
    let node = Node::start("");
    let offer = |protocols: &[&str]| {
        let mut config = node.authority.client();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let Stream::Tls(mut stream) = connect(&Arc::new(config), node.wsd.address()) else {
            unreachable!();
        };
        stream.conn.complete_io(&mut stream.sock)?;
        Ok::<_, std::io::Error>(stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(offer(&[]).unwrap(), None);
    assert_eq!(offer(&["h2", "http/1.1"]).unwrap().unwrap(), b"http/1.1");
    let error = offer(&["h2"]).unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    node.wsd
        .wait_log("handshake refused: TLS: ALPN: http/1.1 not offered");
}

/// `openssl s_client`, which says and is told something.
fn openssl(address: SocketAddr, options: &[&str], input: &[u8]) -> (String, bool) {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-ign_eof"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is needed (apt install openssl)");
    // One that was refused reads nothing.
    let _ = child.stdin.as_mut().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&text).into(),
        output.status.success(),
    )
}

#[test]
fn openssl_gets_in_with_1_2_and_1_3_and_not_with_less() {
    let node = Node::start("");
    let root = node.wsd.path("root.pem");
    node.authority.write_root(&root);
    let root = root.to_str().unwrap();
    let request = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for (version, is) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let options = [
            version,
            "-CAfile",
            root,
            "-verify_return_error",
            "-alpn",
            "http/1.1",
        ];
        let (text, good) = openssl(node.wsd.address(), &options, request);
        assert!(good, "{text}");
        for says in [
            is,
            "ALPN protocol: http/1.1",
            "Verify return code: 0 (ok)",
            "HTTP/1.1 426",
        ] {
            assert!(text.contains(says), "no {says:?}:\n{text}");
        }
    }
    let options = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let (text, good) = openssl(node.wsd.address(), &options, request);
    assert!(!good && !text.contains("HTTP/1.1"), "{text}");
    node.wsd
        .wait_log("handshake refused: TLS: neither TLS 1.2 nor 1.3 offered");
}

#[test]
fn asking_to_renegotiate_harms_nobody() {
    let node = Node::start("");
    let mut witness = node.client("/chat");
    // A line with an R alone has openssl ask for it (s_client(1)).
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &node.wsd.address().to_string(),
            "-tls1_2",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // It ends as soon as it is refused.
    for _ in 0..3 {
        let _ = input.write_all(b"R\n");
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("RENEGOTIATING"), "{text}");
    witness.text("on");
    witness.expect("on");
}

#[test]
fn plain_http_on_a_tls_port_is_told() {
    let node = Node::start("");
    let request = Request::websocket("/chat");
    let mut socket = raw(node.wsd.address());
    socket.write_all(&request.bytes()).unwrap();
    let answer = String::from_utf8(read_all(&socket)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("this port speaks TLS; use wss://"),
        "{answer}"
    );
    node.wsd
        .wait_log("handshake refused: 400 this port speaks TLS");
    assert_eq!(node.wsd.metric("wsd_refused_total{reason=\"tls\"}"), 1);
}

#[test]
fn bytes_that_are_no_tls_harm_nobody() {
    let node = Node::start("");
    let mut witness = node.client("/chat");
    let mut hello = Vec::new();
    let config = Arc::new(node.authority.client());
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
    client.write_tls(&mut hello).unwrap();
    let cases: Vec<Vec<u8>> = vec![
        vec![0; 100_000],
        vec![0xff; 100_000],
        b"\x16\x03\x01\x00\x05hello".to_vec(),
        // A record whose length says more than there may be.
        b"\x16\x03\x01\xff\xff".repeat(10_000),
        // Two hellos, and a hello with data behind it.
        [hello.clone(), hello.clone()].concat(),
        [
            hello.clone(),
            b"\x17\x03\x03\x40\x00".to_vec(),
            vec![7; 0x4000],
        ]
        .concat(),
        // Alerts, changes of cipher, empty records.
        b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
        [hello.clone(), b"\x14\x03\x03\x00\x01\x01".repeat(1000)].concat(),
        [hello.clone(), b"\x17\x03\x03\x00\x00".repeat(1000)].concat(),
        // A client hello of 16 MiB, a kilobyte at a time.
        [
            b"\x16\x03\x01\x04\x00\x01\xff\xff\xff".to_vec(),
            vec![0; 1020],
            [b"\x16\x03\x01\x04\x00".to_vec(), vec![0; 1024]]
                .concat()
                .repeat(100),
        ]
        .concat(),
        // SSL 2.
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10".to_vec(),
    ];
    for (number, bytes) in cases.iter().enumerate() {
        let socket = raw(node.wsd.address());
        // Whoever is refused early has not been read to the end.
        let _ = (&socket).write_all(bytes);
        let answer = read_all(&socket);
        assert!(
            !answer.windows(8).any(|part| part == b"HTTP/1.1"),
            "case {number}"
        );
        witness.text(&format!("case {number}"));
        witness.expect(&format!("case {number}"));
    }
    eventually!(node.wsd.metric("wsd_connections") == 1);
    assert!(node.wsd.metric("wsd_refused_total{reason=\"tls\"}") >= 8);
}

#[test]
fn who_never_ends_a_handshake_is_let_go_in_time() {
    let node = Node::start("[listen]\nhandshake_timeout = \"1s\"\n");
    let mut witness = node.client("/chat");
    let start = Instant::now();
    let crowd: Vec<TcpStream> = (0..300)
        .map(|number| {
            let mut socket = raw(node.wsd.address());
            // Some say nothing, some begin a record, some have keys and say nothing then.
            match number % 3 {
                0 => {}
                1 => socket.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap(),
                _ => {
                    let config = Arc::new(node.authority.client());
                    let Stream::Tls(mut stream) = secure(&config, socket.try_clone().unwrap())
                    else {
                        unreachable!();
                    };
                    stream.flush().unwrap();
                }
            }
            socket
        })
        .collect();
    witness.text("on");
    witness.expect("on");
    for socket in &crowd {
        read_all(socket);
    }
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    node.wsd
        .wait_log("handshake refused: 408 the TLS handshake did not end in time");
    node.wsd
        .wait_log("handshake refused: 408 the request did not come in time");
    witness.text("still");
    witness.expect("still");
    assert_eq!(
        node.wsd.metric("wsd_refused_total{reason=\"timeout\"}"),
        300
    );
}

#[test]
fn a_request_that_is_refused_is_answered_inside_tls() {
    let node = Node::start("[[route]]\npath = \"/chat\"\n");
    let stream = node.authority.connect(node.wsd.address());
    let answer = Client::try_open(stream, &Request::websocket("/nowhere")).answer;
    assert_eq!(answer.status, 404);
}

#[test]
fn tls_that_is_cut_off_ends_the_connection_alone() {
    let hook = "function on_disconnect(conn) wsd.publish('gone', 'gone') end";
    let node = Node::with_hooks("", &[("h.lua", hook)]);
    let mut witness = node.client("/gone");
    for half in [false, true] {
        let client = node.client("/chat");
        let Stream::Tls(stream) = client.stream() else {
            unreachable!();
        };
        if half {
            // The beginning of a record that never comes to its end.
            (&stream.sock)
                .write_all(b"\x17\x03\x03\x01\x00half")
                .unwrap();
        }
        stream.sock.shutdown(std::net::Shutdown::Both).unwrap();
        witness.expect("gone");
    }
    // A record that nobody can have sealed.
    let mut client = node.client("/chat");
    let Stream::Tls(stream) = client.stream() else {
        unreachable!();
    };
    (&stream.sock).write_all(b"\x17\x03\x03\x00\x20").unwrap();
    (&stream.sock).write_all(&[9; 0x20]).unwrap();
    witness.expect("gone");
    // A fatal alert comes before the end: bad_record_mac.
    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.next()));
    assert!(end.is_err() || end.unwrap() == Message::End);
}

#[test]
fn who_does_not_read_is_counted_and_let_go() {
    for when_full in ["drop-oldest", "disconnect"] {
        let node = Node::start(&format!(
            "[[route]]\npath = \"/send\"\nchannel = \"chat\"\necho = false\n\
             [[route]]\npath = \"/chat\"\nchannel = \"chat\"\n\
             [delivery]\nqueue = \"256KiB\"\nwhen_full = \"{when_full}\"\n"
        ));
        let Stream::Tcp(socket) = Stream::narrow(node.wsd.address()) else {
            unreachable!();
        };
        let config = Arc::new(node.authority.client());
        let stream = secure(&config, socket);
        let mut slow = Client::open(stream, &Request::websocket("/chat"));
        let mut sender = node.client("/send");
        let padding = "x".repeat(32 << 10);
        let mut most = 0;
        for number in 0..400 {
            sender.text(&format!("{number} {padding}"));
            if number % 20 == 0 {
                sender.sync();
                most = most.max(node.wsd.metric("wsd_queue_bytes"));
            }
        }
        sender.sync();
        if when_full == "disconnect" {
            eventually!(node.wsd.metric("wsd_slow_disconnects_total") == 1);
            eventually!(node.wsd.metric("wsd_connections") == 1);
            eventually!(node.wsd.metric("wsd_queue_bytes") == 0);
            continue;
        }
        // What is encrypted ahead of the socket counts as what waits.
        assert!((200 << 10..=256 << 10).contains(&most), "{most}");
        let reader = thread::spawn(move || {
            let mut numbers: Vec<u32> = Vec::new();
            loop {
                let text = slow.next_text();
                if text == "end" {
                    return numbers;
                }
                assert!(text.len() > 32 << 10);
                numbers.push(text.split(' ').next().unwrap().parse().unwrap());
            }
        });
        eventually!(node.wsd.metric("wsd_queue_bytes") == 0);
        sender.text("end");
        let numbers = reader.join().unwrap();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let lost = 400 - numbers.len() as u64;
        assert!(lost > 0);
        assert_eq!(node.wsd.metric("wsd_dropped_total{reason=\"slow\"}"), lost);
    }
}

#[test]
fn a_crowd_over_two_workers_gets_everything_in_order() {
    let node = Node::start("[runtime]\nworkers = 2\n");
    let mut crowd: Vec<Client> = (0..40).map(|_| node.client("/chat")).collect();
    let texts: Vec<String> = (0..500).map(|number| format!("message {number}")).collect();
    crowd[0].texts(&texts);
    for client in &mut crowd {
        for text in &texts {
            client.expect(text);
        }
    }
}

#[test]
fn a_unix_socket_stays_plain() {
    let authority = Authority::new();
    let site = Site::new("", &[]);
    let socket = site.path("ws.sock");
    site.write_config(&format!(
        "{CONFIG}[listen]\naddresses = [\"127.0.0.1:0\", \"unix:{}\"]\n",
        socket.display()
    ));
    authority.issue().write(&site);
    let wsd = Wsd::on(site);
    let mut over_unix = Client::open(Stream::unix(&socket), &Request::websocket("/chat"));
    let mut over_tls = Client::open(
        authority.connect(wsd.address()),
        &Request::websocket("/chat"),
    );
    over_unix.text("hello");
    over_unix.expect("hello");
    over_tls.expect("hello");
}

#[test]
fn drain_says_goodbye_inside_tls() {
    let node = Node::start("");
    let mut client = node.client("/chat");
    signal(node.wsd.pid(), "TERM");
    client.expect_close(1001);
}

#[test]
fn over_a_limit_there_is_an_alert_instead_of_an_answer() {
    let node = Node::start("[limits]\nconnections = 1\n");
    let mut first = node.client("/chat");
    let answer = read_all(&raw(node.wsd.address()));
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 80]);
    let Stream::Tls(mut stream) = node.authority.connect(node.wsd.address()) else {
        unreachable!();
    };
    let error = stream.flush().unwrap_err().to_string();
    assert!(error.contains("InternalError"), "{error}");
    first.text("on");
    first.expect("on");
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let hook = "function on_connect(conn) conn:send(conn.ip .. ' ' .. tostring(conn.secure)) end";
    let config = "[listen]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let node = Node::with_hooks(config, &[("h.lua", hook)]);
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n";
    let config = Arc::new(node.authority.client());
    // Alone, then with the first record behind it in one packet.
    for together in [false, true] {
        let mut socket = raw(node.wsd.address());
        let mut stream = if together {
            let Stream::Tls(mut stream) = secure(&config, socket.try_clone().unwrap()) else {
                unreachable!();
            };
            let mut first = header.to_vec();
            stream.conn.write_tls(&mut first).unwrap();
            socket.write_all(&first).unwrap();
            Stream::Tls(stream)
        } else {
            socket.write_all(header).unwrap();
            secure(&config, socket)
        };
        stream.flush().unwrap();
        let mut client = Client::open(stream, &Request::websocket("/chat"));
        client.expect("192.0.2.7 true");
    }
}
