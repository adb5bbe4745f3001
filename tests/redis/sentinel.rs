//! A Redis that sentinels name: found, followed when another one becomes the master, and never a replica.

use crate::TestBroker;
use crate::support::redis::Redis;
use crate::support::sentinel::{Parrot, Watched};
use crate::support::{Site, Wsd, eventually};

/// A node over what these sentinels name.
fn site(url: &str) -> Site {
    // The Redis of the broker itself is not used.
    let config = format!("[broker]\nurl = \"{url}\"\nbuffer_for = \"60s\"\n");
    Site::with_broker(TestBroker::start(), &config, &[])
}

/// Clients of two nodes hear each other.
fn meet(nodes: [&Wsd; 2], text: &str) {
    let [mut ann, mut ben] = nodes.map(|node| node.client("/meet"));
    ann.text(text);
    ann.expect(text);
    ben.expect(text);
}

#[test]
fn master_is_found_though_a_sentinel_is_away() {
    let watched = Watched::start();
    let nodes = [Wsd::on(site(&watched.url())), Wsd::on(site(&watched.url()))];
    meet([&nodes[0], &nodes[1]], "hello");
    nodes[0].wait_log(&format!(
        "the master is 127.0.0.1:{}",
        watched.master.port()
    ));
    let url = nodes[0].status()["broker"]["url"].clone();
    assert!(
        url.as_str()
            .unwrap()
            .starts_with("redis+sentinel://127.0.0.1:"),
        "{url}"
    );
}

#[test]
fn a_master_that_dies_is_followed_and_what_waits_goes_to_the_next() {
    let watched = Watched::start();
    let nodes = [Wsd::on(site(&watched.url())), Wsd::on(site(&watched.url()))];
    let (mut ann, mut ben) = (nodes[0].client("/chat"), nodes[1].client("/chat"));
    ann.text("before");
    ann.expect("before");
    ben.expect("before");
    watched.master.kill();
    for node in &nodes {
        node.wait_log("broker lost: redis+sentinel://");
    }
    let texts: Vec<String> = (0..100).map(|number| format!("waits {number}")).collect();
    ann.texts(&texts);
    for text in &texts {
        ann.expect(text);
    }
    for node in &nodes {
        node.wait_log(&format!(
            "the master is 127.0.0.1:{}",
            watched.replica.port()
        ));
        eventually!(node.status()["broker"]["up"] == true);
    }
    meet([&nodes[0], &nodes[1]], "after");
}

#[test]
fn a_master_that_is_put_down_is_left() {
    let watched = Watched::start();
    let nodes = [Wsd::on(site(&watched.url())), Wsd::on(site(&watched.url()))];
    meet([&nodes[0], &nodes[1]], "before");
    watched.fail_over();
    for node in &nodes {
        node.wait_log(&format!(
            "the master is 127.0.0.1:{}",
            watched.replica.port()
        ));
        eventually!(node.status()["broker"]["up"] == true);
    }
    meet([&nodes[0], &nodes[1]], "after");
    assert_eq!(watched.replica.publish("meet", b"x"), 0);
}

#[test]
fn a_switch_is_followed_though_the_links_are_well() {
    let (first, second) = (Redis::start(), Redis::start());
    let parrot = Parrot::start(&first);
    let wsd = Wsd::on(site(&format!(
        "redis+sentinel://{}/mymaster",
        parrot.host()
    )));
    let mut client = wsd.client("/chat");
    assert_eq!(first.publish("chat", b"from the first"), 1);
    client.expect("from the first");
    eventually!(parrot.is_heard());
    parrot.say(&second, 2);
    wsd.wait_log(&format!(
        "broker lost: redis+sentinel://{}/mymaster: the master is 127.0.0.1:{} now",
        parrot.host(),
        second.port()
    ));
    eventually!(second.subscribers("chat") == 1);
    assert_eq!(second.publish("chat", b"from the second"), 1);
    client.expect("from the second");
    assert_eq!(first.subscribers("chat"), 0);
    // One that knows of fewer failovers is not believed.
    let mark = wsd.log_length();
    parrot.say(&first, 1);
    client.text("still here");
    client.expect("still here");
    assert_eq!(second.subscribers("chat"), 1);
    assert!(
        !wsd.log()[..]
            .lines()
            .skip(mark)
            .any(|line| line.contains("broker lost"))
    );
}

#[test]
fn a_replica_is_no_master_whoever_names_it() {
    let (master, replica) = (Redis::start(), Redis::start());
    replica.cli(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let parrot = Parrot::start(&replica);
    let wsd = Wsd::without_broker(site(&format!(
        "redis+sentinel://{}/mymaster",
        parrot.host()
    )));
    let line = wsd.wait_log("next try in");
    let says = format!(
        "127.0.0.1:{}: is a slave and not the master",
        replica.port()
    );
    assert!(line.contains(&says), "{line}");
    assert_eq!(wsd.status()["broker"]["up"], false);
    parrot.say(&master, 1);
    eventually!(wsd.status()["broker"]["up"] == true);
}

#[test]
fn what_sentinels_say_instead_of_a_master_is_told() {
    let watched = Watched::start();
    let hosts = watched.hosts().join(",");
    let wsd = Wsd::without_broker(site(&format!("redis+sentinel://127.0.0.1:1,{hosts}/other")));
    let line = wsd.wait_log("next try in");
    assert!(line.contains("127.0.0.1:1: connection refused; "), "{line}");
    assert!(line.contains("knows no master \"other\""), "{line}");
}
