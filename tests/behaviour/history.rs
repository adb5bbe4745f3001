//! History and recovery: who comes back gets what was missed, in order and once, or is told.

use serde_json::{Value, json};

use crate::support::{Client, Request, Stream, Wsd, eventually};

const KEPT: &str = "
    [[route]]
    path = \"/{channel}\"
    channel = \"{channel}\"
    channels = [\"*\"]
    [[channel]]
    match = \"kept\"
    history = { size = 10, ttl = \"10m\" }
    replay = 3
    [[channel]]
    match = \"brief\"
    history = { size = 10, ttl = \"300ms\" }
    [[channel]]
    match = \"long\"
    history = { size = 20000, ttl = \"10m\" }
    ";

fn v1(wsd: &Wsd) -> Client {
    let request = Request::websocket("/none").header("Sec-WebSocket-Protocol", "wsd.v1");
    Client::open(Stream::tcp(wsd.address()), &request)
}

fn subscribe(client: &mut Client, channel: &str, since: Option<&str>) -> Value {
    let mut command = json!({ "type": "subscribe", "channel": channel });
    if let Some(since) = since {
        command["since"] = since.into();
    }
    client.text(&command.to_string());
    let answer = client.next_json();
    assert_eq!(answer["type"], "subscribed", "{answer}");
    answer
}

fn publish(client: &mut Client, channel: &str, data: &Value) -> String {
    let command = json!({ "type": "publish", "channel": channel, "data": data, "id": 1 });
    client.text(&command.to_string());
    loop {
        let answer = client.next_json();
        if answer["type"] == "published" {
            return answer["position"].as_str().unwrap_or_default().to_owned();
        }
        assert_eq!(answer["type"], "message", "{answer}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn who_comes_back_gets_what_was_missed() {
    let wsd = Wsd::start(KEPT);
    let mut sender = v1(&wsd);
    let mut away = v1(&wsd);
    let first = subscribe(&mut away, "kept", None);
    let start = text(&first["position"]).to_owned();
    assert_eq!(first["recovered"], false);
    publish(&mut sender, "kept", &json!("seen"));
    let seen = away.next_json();
    away.close();
    for n in 0..5 {
        publish(&mut sender, "kept", &json!({ "n": n }));
    }
    let since = text(&seen["position"]);
    let mut back = v1(&wsd);
    let answer = subscribe(&mut back, "kept", Some(since));
    assert_eq!(answer["recovered"], true);
    assert_eq!(answer["position"], since);
    for n in 0..5 {
        let message = back.next_json();
        assert_eq!(message["data"]["n"], n);
        assert_eq!(message["type"], "message");
    }
    publish(&mut sender, "kept", &json!("live"));
    assert_eq!(back.next_json()["data"], "live");
    // From the very beginning, on the same connection again.
    let again = subscribe(&mut back, "kept", Some(&start));
    assert_eq!(again["recovered"], true);
    let all: Vec<Value> = (0..7).map(|_| back.next_json()).collect();
    assert_eq!(all[0]["data"], "seen");
    assert_eq!(all[6]["data"], "live");
}

#[test]
fn what_cannot_be_had_again_is_said() {
    let wsd = Wsd::start(KEPT);
    let mut sender = v1(&wsd);
    let first = publish(&mut sender, "kept", &json!(0));
    for n in 1..=11 {
        publish(&mut sender, "kept", &json!(n));
    }
    let (epoch, _) = first.split_once(':').unwrap();
    let top = format!("{epoch}:12");
    for since in [
        first.clone(),
        "1:5".into(),
        format!("{epoch}:99"),
        format!("{epoch}:18446744073709551615"),
    ] {
        let mut back = v1(&wsd);
        let answer = subscribe(&mut back, "kept", Some(&since));
        assert_eq!(answer["recovered"], false, "{since}");
        assert_eq!(answer["position"], top);
        assert_eq!(
            back.next_json(),
            json!({ "type": "gap", "channel": "kept", "position": top })
        );
    }
    let mut back = v1(&wsd);
    subscribe(&mut back, "kept", Some(&first));
    back.next_json();
    publish(&mut sender, "kept", &json!("live"));
    assert_eq!(back.next_json()["data"], "live");
    // A channel without history has nothing to give, and says so.
    let mut back = v1(&wsd);
    let answer = subscribe(&mut back, "other", Some(&first));
    assert_eq!(answer["recovered"], false);
    assert_eq!(answer.get("position"), None);
    assert_eq!(
        back.next_json(),
        json!({ "type": "gap", "channel": "other" })
    );
}

#[test]
fn history_is_bounded_by_size_and_time() {
    let wsd = Wsd::start(KEPT);
    let mut a = v1(&wsd);
    subscribe(&mut a, "kept", None);
    for n in 0..15 {
        publish(&mut a, "kept", &json!(n));
    }
    let mut history = |limit: Option<u64>| {
        let mut command = json!({ "type": "history", "channel": "kept", "id": "h" });
        if let Some(limit) = limit {
            command["limit"] = limit.into();
        }
        a.text(&command.to_string());
        let mut answer = a.next_json();
        while answer["type"] == "message" {
            answer = a.next_json();
        }
        assert_eq!(answer["id"], "h");
        let messages = answer["messages"].as_array().unwrap().clone();
        messages
            .iter()
            .map(|m| m["data"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(history(None), (5..15).collect::<Vec<_>>());
    assert_eq!(history(Some(2)), [13, 14]);
    assert_eq!(history(Some(0)), [0_u64; 0]);
    assert_eq!(history(Some(u64::MAX)), (5..15).collect::<Vec<_>>());

    let mut b = v1(&wsd);
    let old = publish(&mut b, "brief", &json!(1));
    subscribe(&mut b, "brief", None);
    eventually!({
        b.text(r#"{"type":"history","channel":"brief"}"#);
        b.next_json()["messages"] == json!([])
    });
    let new = publish(&mut b, "brief", &json!(2));
    assert_ne!(
        old.split_once(':').unwrap().0,
        new.split_once(':').unwrap().0
    );
    assert!(new.ends_with(":1"), "{new}");
}

#[test]
fn plain_clients_get_the_newest_when_they_join() {
    let wsd = Wsd::start(KEPT);
    let mut sender = wsd.client("/kept");
    for n in 1..=5 {
        sender.text(&format!("message {n}"));
        sender.expect(&format!("message {n}"));
    }
    let mut late = wsd.client("/kept");
    for n in 3..=5 {
        late.expect(&format!("message {n}"));
    }
    sender.text("live");
    late.expect("live");
}

#[test]
fn crowds_that_come_back_miss_nothing_while_everybody_talks() {
    const ROUNDS: usize = 20;
    const EACH: usize = 200;
    let wsd = Wsd::start(&format!("{KEPT}\n[runtime]\nworkers = 3"));
    let address = wsd.address();
    let mut start = v1(&wsd);
    let position = text(&subscribe(&mut start, "long", None)["position"]).to_owned();
    let talk = |name: usize| {
        let mut sender = v1(&wsd);
        move || {
            for n in 0..EACH {
                publish(&mut sender, "long", &json!(format!("{name}-{n}")));
            }
        }
    };
    let come_and_go = |since: String| {
        move || {
            let mut since = since;
            let mut got: Vec<String> = Vec::new();
            for round in 0.. {
                let request =
                    Request::websocket("/none").header("Sec-WebSocket-Protocol", "wsd.v1");
                let mut client = Client::open(Stream::tcp(address), &request);
                let answer = subscribe(&mut client, "long", Some(&since));
                assert_eq!(answer["recovered"], true, "{answer}");
                let take = if round < ROUNDS {
                    1 + round * 7 % 40
                } else {
                    usize::MAX
                };
                for _ in 0..take.min(3 * EACH - got.len()) {
                    let message = client.next_json();
                    assert_eq!(message["type"], "message", "{message}");
                    got.push(text(&message["data"]).to_owned());
                    since = text(&message["position"]).to_owned();
                }
                if got.len() == 3 * EACH {
                    return got;
                }
            }
            got
        }
    };
    let talkers: Vec<_> = (0..3).map(|name| std::thread::spawn(talk(name))).collect();
    let listeners: Vec<_> = (0..6)
        .map(|_| std::thread::spawn(come_and_go(position.clone())))
        .collect();
    for talker in talkers {
        talker.join().unwrap();
    }
    let seen: Vec<Vec<String>> = listeners.into_iter().map(|l| l.join().unwrap()).collect();
    for other in &seen {
        let differs = (0..other.len()).find(|&n| other[n] != seen[0][n]);
        assert_eq!(differs, None, "one order for all, nothing twice");
    }
    for name in 0..3 {
        let of: Vec<&String> = seen[0]
            .iter()
            .filter(|text| text.starts_with(&format!("{name}-")))
            .collect();
        let expected: Vec<String> = (0..EACH).map(|n| format!("{name}-{n}")).collect();
        assert!(of.iter().copied().eq(expected.iter()), "{of:?}");
    }
}

#[test]
fn a_reload_changes_what_is_kept() {
    let wsd = Wsd::start(KEPT);
    let mut a = v1(&wsd);
    for n in 0..10 {
        publish(&mut a, "kept", &json!(n));
    }
    subscribe(&mut a, "kept", None);
    wsd.write_config(&KEPT.replace("size = 10, ttl = \"10m\"", "size = 2, ttl = \"10m\""));
    wsd.reload();
    a.text(r#"{"type":"history","channel":"kept"}"#);
    let kept = a.next_json();
    assert_eq!(kept["messages"].as_array().unwrap().len(), 2, "{kept}");
    wsd.write_config("[[route]]\npath = \"/none\"\nchannels = [\"*\"]");
    wsd.reload();
    a.text(r#"{"type":"history","channel":"kept"}"#);
    assert_eq!(a.next_json()["messages"], json!([]));
}
