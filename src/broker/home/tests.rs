//! Batches, windows, order and who is told, for both brokers, with a clock that is an argument.

use std::time::{Duration, Instant};

use super::*;
use crate::types::StagesId;
use crate::types::{ConnId, NodeId};

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn origin(slot: u32) -> Origin {
    Origin {
        node: NodeId(1),
        worker: WorkerId(0),
        conn: ConnId {
            slot,
            generation: 0,
        },
    }
}

fn publish(channel: &str, text: &str, gather: Option<Gather>) -> Publish {
    let payload = Payload::text(text);
    Publish {
        ticket: None,
        channel: name(channel),
        payload,
        sender: Some(origin(1)),
        echo: true,
        gather,
    }
}

const GATHER: Gather = Gather {
    stages: StagesId::ALL,
    generation: Generation(1),
    strained: false,
};

fn window(ms: u64, max_messages: usize, max_bytes: usize) -> PublishWindow {
    PublishWindow {
        window: Duration::from_millis(ms),
        max_messages,
        max_bytes,
    }
}

fn memory() -> Home {
    Home::new(&BrokerUrl::Memory, NameHash::new(1, 2))
}

/// What had to be closed for a message or with it.
fn gather(
    home: &mut Home,
    now: Instant,
    message: Publish,
    whose: Gather,
    window: &PublishWindow,
) -> Vec<ClosedBatch> {
    let before = home.close_crowded(&message.channel, message.payload.len(), window);
    let full = home.gather(now, message, whose, window);
    before.into_iter().chain(full).collect()
}

fn texts(batch: &ClosedBatch) -> Vec<&str> {
    batch
        .items
        .iter()
        .map(|item| std::str::from_utf8(&item.payload.data).unwrap())
        .collect()
}

#[test]
fn a_batch_without_a_window_ends_with_the_turn() {
    let (mut home, now) = (memory(), Instant::from_std_epoch());
    assert!(
        gather(
            &mut home,
            now,
            publish("a", "1", None),
            GATHER,
            &window(0, 10, 100)
        )
        .is_empty()
    );
    assert!(
        gather(
            &mut home,
            now,
            publish("a", "2", None),
            GATHER,
            &window(0, 10, 100)
        )
        .is_empty()
    );
    assert_eq!(texts(&home.poll_turn().unwrap()), ["1", "2"]);
    assert!(home.poll_turn().is_none());
    assert_eq!(home.channel_count(), 0);
}

#[test]
fn a_window_ends_at_its_time_or_when_it_is_full() {
    let (mut home, now) = (memory(), Instant::from_std_epoch());
    let three = window(100, 3, 100);
    assert!(gather(&mut home, now, publish("a", "1", None), GATHER, &three).is_empty());
    assert!(home.poll_turn().is_none());
    assert_eq!(home.poll_timeout(), Some(now + Duration::from_millis(100)));
    assert!(home.poll_due(now + Duration::from_millis(99)).is_none());
    assert_eq!(
        texts(&home.poll_due(now + Duration::from_millis(100)).unwrap()),
        ["1"]
    );
    assert_eq!(home.poll_timeout(), None);
    assert!(gather(&mut home, now, publish("a", "1", None), GATHER, &three).is_empty());
    assert!(gather(&mut home, now, publish("a", "2", None), GATHER, &three).is_empty());
    let full = gather(&mut home, now, publish("a", "3", None), GATHER, &three).remove(0);
    assert_eq!(texts(&full), ["1", "2", "3"]);
}

#[test]
fn only_a_single_message_passes_the_bound_in_bytes() {
    let (mut home, now) = (memory(), Instant::from_std_epoch());
    let five = window(100, 10, 5);
    assert!(gather(&mut home, now, publish("a", "123", None), GATHER, &five).is_empty());
    let closed = gather(&mut home, now, publish("a", "1234567", None), GATHER, &five);
    assert_eq!(texts(&closed[0]), ["123"]);
    assert_eq!(texts(&closed[1]), ["1234567"], "it fills a batch by itself");
}

#[test]
fn another_list_or_a_direct_publish_closes_the_batch_first() {
    let (mut home, now) = (memory(), Instant::from_std_epoch());
    let ten = window(100, 10, 100);
    assert!(gather(&mut home, now, publish("a", "1", None), GATHER, &ten).is_empty());
    assert!(home.close_before(&name("a"), Some(GATHER)).is_none());
    let other = Gather {
        generation: Generation(2),
        ..GATHER
    };
    assert_eq!(
        texts(&home.close_before(&name("a"), Some(other)).unwrap()),
        ["1"]
    );
    assert!(gather(&mut home, now, publish("a", "2", None), other, &ten).is_empty());
    assert_eq!(texts(&home.close_before(&name("a"), None).unwrap()), ["2"]);
    assert!(home.close_before(&name("a"), None).is_none());
}

#[test]
fn memory_delivers_to_the_workers_that_want_it() {
    let mut home = memory();
    home.on_wanted(WorkerId(3), &name("a"), None);
    home.on_wanted(WorkerId(0), &name("a"), None);
    assert!(matches!(
        home.poll_output(),
        Some(HomeOutput::Live(WorkerId(3), _))
    ));
    assert!(matches!(
        home.poll_output(),
        Some(HomeOutput::Live(WorkerId(0), _))
    ));
    let item = BatchItem {
        ticket: None,
        payload: Payload::text("x"),
        sender: Some(origin(1)),
        echo: false,
    };
    home.publish(
        Instant::from_std_epoch(),
        &name("a"),
        [item],
        &[],
        &[],
        None,
    );
    let Some(HomeOutput::Deliver(workers, publication)) = home.poll_output() else {
        panic!()
    };
    assert_eq!(
        workers.iter().collect::<Vec<_>>(),
        [WorkerId(0), WorkerId(3)]
    );
    assert_eq!(publication.skip, Some(origin(1)));
    home.on_unwanted(WorkerId(0), &name("a"));
    home.on_unwanted(WorkerId(3), &name("a"));
    assert_eq!(home.channel_count(), 0);
}

#[test]
fn with_redis_a_subscription_is_live_when_it_is_confirmed() {
    let socket = BrokerUrl::RedisUnix("/run/redis.sock".into());
    let mut home = Home::new(&socket, NameHash::new(1, 2));
    home.on_wanted(WorkerId(0), &name("away"), None);
    assert!(
        matches!(home.poll_output(), Some(HomeOutput::Live(..))),
        "nobody waits for a lost link"
    );
    assert!(matches!(
        home.poll_output(),
        Some(HomeOutput::Redis(Command::Subscribe(_)))
    ));
    home.on_status(LinkStatus::Up);
    assert_eq!(home.take_gaps(), Some((name("away"), 1)));
    assert!(
        matches!(home.poll_output(), Some(HomeOutput::Gap(workers, channel))
            if workers.has(WorkerId(0)) && channel == name("away")),
        "what was missed is told"
    );
    home.on_wanted(WorkerId(0), &name("a"), None);
    assert!(matches!(
        home.poll_output(),
        Some(HomeOutput::Redis(Command::Subscribe(_)))
    ));
    assert!(home.poll_output().is_none(), "not live yet");
    home.on_live(&name("a"));
    assert!(matches!(
        home.poll_output(),
        Some(HomeOutput::Live(WorkerId(0), _))
    ));
    home.on_wanted(WorkerId(1), &name("a"), None);
    assert!(matches!(
        home.poll_output(),
        Some(HomeOutput::Live(WorkerId(1), _))
    ));
}

#[test]
fn what_is_published_to_redis_leaves_as_one_command_and_in_order() {
    let socket = BrokerUrl::RedisUnix("/run/redis.sock".into());
    let mut home = Home::new(&socket, NameHash::new(1, 2));
    let item = |text: &str| BatchItem {
        ticket: None,
        payload: Payload::text(text),
        sender: None,
        echo: true,
    };
    home.publish(
        Instant::from_std_epoch(),
        &name("a"),
        [item("1"), item("2")],
        &[origin(4)],
        &[],
        None,
    );
    home.publish(
        Instant::from_std_epoch(),
        &name("b"),
        [item("3")],
        &[],
        &[],
        None,
    );
    home.on_wanted(WorkerId(0), &name("a"), None);
    let mut seen = Vec::new();
    while let Some(output) = home.poll_output() {
        match output {
            HomeOutput::Redis(Command::Publish(list)) => seen.push(list.len()),
            HomeOutput::Redis(Command::Subscribe(_)) => seen.push(100),
            _ => {}
        }
    }
    assert_eq!(seen, [3, 100]);
}

/// A fixed moment for tests in which only differences count.
trait FixedInstant {
    fn from_std_epoch() -> Instant;
}

impl FixedInstant for Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no other way to make an Instant"
    )]
    fn from_std_epoch() -> Self {
        Self::now()
    }
}
