//! A history against a model of ten lines, and its memory.

use super::*;

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn moment() -> Instant {
    Instant::now()
}

const BOUNDS: Keep = Keep {
    size: 4,
    ttl: Duration::from_secs(10),
};

fn at(offset: u64) -> Position {
    Position {
        epoch: Epoch(1),
        offset,
    }
}

fn text(number: u64) -> Payload {
    Payload::text(format!("message {number}"))
}

fn filled(now: Instant, count: u64) -> History {
    let mut history = History::new(now, Epoch(1), BOUNDS);
    for number in 1..=count {
        assert_eq!(history.push(now, &text(number)), at(number));
    }
    history
}

fn kept(range: std::ops::RangeInclusive<u64>) -> Vec<Kept> {
    range.map(|number| (at(number), text(number))).collect()
}

#[test]
fn what_came_since_a_position_is_there_or_it_is_said() {
    let now = moment();
    let history = filled(now, 10);
    assert_eq!(history.newest(100), kept(7..=10));
    assert_eq!(history.newest(1), kept(10..=10));
    for (since, messages) in [(6, kept(7..=10)), (9, kept(10..=10)), (10, Vec::new())] {
        let missed = history.since(at(since));
        assert!(missed.recovered, "{since}");
        assert_eq!(missed.messages, messages);
        assert_eq!(missed.top, at(10));
    }
    let other = Position {
        epoch: Epoch(2),
        offset: 9,
    };
    for lost in [at(5), at(0), at(11), at(u64::MAX), other] {
        let missed = history.since(lost);
        assert!(!missed.recovered && missed.messages.is_empty(), "{lost}");
    }
}

#[test]
fn a_new_history_lost_nothing_since_its_beginning() {
    let history = History::new(moment(), Epoch(1), BOUNDS);
    assert_eq!(history.top(), at(0));
    let missed = history.since(at(0));
    assert!(missed.recovered && missed.messages.is_empty());
    assert!(filled(moment(), 3).since(at(0)).recovered);
}

#[test]
fn each_message_expires_by_itself_and_the_last_one_ends_the_history() {
    let start = moment();
    let second = |n: u64| start + Duration::from_secs(n);
    let mut history = History::new(start, Epoch(1), BOUNDS);
    for number in 1..=3 {
        history.push(second(number * 3), &text(number));
    }
    assert!(!history.expire(second(12)));
    assert_eq!(history.len(), 3);
    assert!(!history.expire(second(13)));
    assert_eq!(history.newest(9), kept(2..=3));
    assert!(!history.since(at(0)).recovered);
    assert!(!history.expire(second(18)));
    assert!(history.expire(second(19)));
    assert!(history.is_empty());
}

#[test]
fn one_that_never_kept_anything_is_forgotten_after_its_ttl() {
    let now = moment();
    let mut history = History::new(now, Epoch(1), BOUNDS);
    assert!(!history.expire(now));
    assert!(history.expire(now + BOUNDS.ttl));
}

#[test]
fn every_kind_and_length_comes_back_as_it_was() {
    let now = moment();
    let bounds = Keep { size: 7, ..BOUNDS };
    let mut history = History::new(now, Epoch(1), bounds);
    let mut model: VecDeque<Payload> = VecDeque::new();
    for number in 0..2000_usize {
        let kind = if number % 3 == 0 {
            Kind::Binary
        } else {
            Kind::Text
        };
        let data = Bytes::from(vec![b'x'; number * 31 % 257]);
        let payload = Payload { kind, data };
        model.push_back(payload.clone());
        if model.len() > 7 {
            model.pop_front();
        }
        history.push(now, &payload);
        let all: Vec<Payload> = history.newest(99).into_iter().map(|(_, p)| p).collect();
        assert!(all.iter().eq(model.iter()), "after {number}");
    }
}

#[test]
fn memory_is_little_more_than_the_payloads_and_stays_so() {
    let now = moment();
    let bounds = Keep {
        size: 100,
        ..BOUNDS
    };
    let mut history = History::new(now, Epoch(1), bounds);
    let payload = Payload::text("x".repeat(60));
    for _ in 0..100_000 {
        history.push(now, &payload);
    }
    assert!(
        history.capacity() < 100 * 60 * 3 / 2,
        "{}",
        history.capacity()
    );
    let large = Payload::text("x".repeat(1 << 16));
    for _ in 0..100 {
        history.push(now, &large);
    }
    for _ in 0..100 {
        history.push(now, &payload);
    }
    assert!(history.capacity() < 100 * 60 * 4, "{}", history.capacity());
}

#[test]
fn smaller_bounds_hold_at_once() {
    let now = moment();
    let mut history = filled(now, 4);
    history.set_bounds(Keep { size: 2, ..BOUNDS });
    assert_eq!(history.newest(9), kept(3..=4));
}

mod table {
    use super::*;
    use crate::types::{ChannelName, NameHash};

    fn channel(name: &str) -> ChannelName {
        ChannelName::new(name).unwrap()
    }

    #[test]
    fn a_channel_whose_messages_have_all_expired_begins_anew() {
        let now = moment();
        let mut table = Histories::new(NameHash::new(1, 2));
        let (a, b) = (channel("a"), channel("b"));
        let first = table.push(now, &a, &text(1), BOUNDS);
        let half = now + BOUNDS.ttl / 2;
        assert_eq!(table.push(half, &a, &text(2), BOUNDS).offset, 2);
        let other = table.push(half, &b, &text(1), BOUNDS);
        assert_ne!(first.epoch, other.epoch);
        assert_eq!(table.poll_timeout(), Some(now + BOUNDS.ttl));
        let mut at = now;
        while let Some(due) = table.poll_timeout() {
            assert!(due > at, "time goes on");
            at = due;
            table.expire(at);
        }
        assert_eq!(at, half + BOUNDS.ttl);
        assert_eq!(table.len(), 0);
        let again = table.push(at, &a, &text(3), BOUNDS);
        assert_ne!(again.epoch, first.epoch);
        assert_eq!(again.offset, 1);
    }

    #[test]
    fn one_that_was_asked_for_first_keeps_what_comes_after() {
        let now = moment();
        let mut table = Histories::new(NameHash::new(1, 2));
        let a = channel("a");
        let start = table.read(now, &a, BOUNDS).top();
        assert_eq!(start.offset, 0);
        table.push(now, &a, &text(1), BOUNDS);
        assert!(table.read(now, &a, BOUNDS).since(start).recovered);
        // Nothing is late: what has expired is not given out, whether the timer has run or not.
        let late = now + BOUNDS.ttl;
        assert!(!table.read(late, &a, BOUNDS).since(start).recovered);
    }

    #[test]
    fn other_bounds_hold_for_what_is_there() {
        let now = moment();
        let mut table = Histories::new(NameHash::new(1, 2));
        let (a, b) = (channel("a"), channel("b"));
        for number in 1..=4 {
            table.push(now, &a, &text(number), BOUNDS);
            table.push(now, &b, &text(number), BOUNDS);
        }
        let ttl = Duration::from_secs(1);
        table.set_bounds(|name| (name.as_str() == "a").then_some(Keep { size: 2, ttl }));
        assert_eq!(table.len(), 1);
        let kept = table.get(&a).map(|history| history.newest(9).len());
        assert_eq!(kept, Some(2));
        assert_eq!(table.poll_timeout(), Some(now + ttl));
    }
}
