//! The four policies, half-written frames, and the count of bytes.

use bytes::Bytes;

use super::*;
use crate::config::{Delivery, Format};
use crate::types::{ChannelName, Kind, Payload};
use crate::worker::run::OpenRun;

/// A run of messages with `len` bytes each; a frame has 2 bytes more.
fn run(channel: &str, when_full: WhenFull, count: usize, len: usize) -> Rc<Run> {
    let delivery = Delivery {
        window: std::time::Duration::ZERO,
        format: Format::Message,
        max_messages: 1000,
        max_bytes: 1 << 20,
        when_full,
    };
    let mut open = OpenRun::new(ChannelName::new(channel).unwrap(), delivery);
    for index in 0..count {
        let data = Bytes::from(vec![b'a' + u8::try_from(index % 26).unwrap(); len]);
        open.offer(
            &Payload {
                kind: Kind::Text,
                data,
            },
            None,
        );
    }
    open.close().all
}

fn push(outbox: &mut Outbox, run: &Rc<Run>, limit: usize) -> Pushed {
    let pushed = outbox.push(run, run.range(), limit);
    outbox.check_invariants();
    pushed
}

/// First letters of the waiting frames; the first may be cut.
fn waiting(outbox: &Outbox) -> String {
    let mut all = Vec::new();
    outbox.slices(|slice| {
        all.extend_from_slice(slice);
        true
    });
    all.chunks(10)
        .map(|frame| char::from(frame[frame.len() - 1]))
        .collect()
}

#[test]
fn below_the_bound_nothing_is_dropped() {
    for when_full in [
        WhenFull::Disconnect,
        WhenFull::DropNewest,
        WhenFull::DropOldest,
        WhenFull::KeepLatest,
    ] {
        let mut outbox = Outbox::default();
        assert_eq!(
            push(&mut outbox, &run("a", when_full, 10, 8), 100),
            Pushed::default()
        );
        assert_eq!(outbox.queued(), 100);
        assert_eq!(waiting(&outbox), "abcdefghij");
    }
}

#[test]
fn each_policy_does_what_its_name_says() {
    for (when_full, expected, dropped, overflow) in [
        (WhenFull::Disconnect, "abcde", 0, true),
        (WhenFull::DropNewest, "abcde", 3, false),
        (WhenFull::DropOldest, "deabc", 3, false),
        (WhenFull::KeepLatest, "abc", 5, false),
    ] {
        let mut outbox = Outbox::default();
        push(&mut outbox, &run("a", when_full, 5, 8), 50);
        let pushed = push(&mut outbox, &run("a", when_full, 3, 8), 50);
        assert_eq!(pushed, Pushed { dropped, overflow }, "{when_full:?}");
        assert_eq!(waiting(&outbox), expected, "{when_full:?}");
    }
}

#[test]
fn only_frames_of_the_same_channel_are_dropped() {
    let mut outbox = Outbox::default();
    push(&mut outbox, &run("other", WhenFull::DropOldest, 3, 8), 50);
    push(&mut outbox, &run("a", WhenFull::DropOldest, 2, 8), 50);
    assert_eq!(
        push(&mut outbox, &run("a", WhenFull::DropOldest, 3, 8), 50).dropped,
        3
    );
    assert_eq!(waiting(&outbox), "abcbc");
}

#[test]
fn a_frame_that_is_half_written_is_finished() {
    let mut outbox = Outbox::default();
    push(&mut outbox, &run("a", WhenFull::KeepLatest, 3, 8), 30);
    outbox.advance(4);
    outbox.check_invariants();
    assert_eq!(
        push(&mut outbox, &run("a", WhenFull::KeepLatest, 1, 8), 30).dropped,
        2
    );
    assert_eq!(outbox.queued(), 16);
    outbox.clear();
    outbox.check_invariants();
    assert_eq!(outbox.queued(), 6);
    outbox.advance(6);
    assert!(outbox.is_empty());
}

#[test]
fn a_frame_larger_than_the_bound_goes_to_an_empty_outbox() {
    let mut outbox = Outbox::default();
    assert_eq!(
        push(&mut outbox, &run("a", WhenFull::Disconnect, 1, 100), 50),
        Pushed::default()
    );
    assert!(push(&mut outbox, &run("a", WhenFull::Disconnect, 1, 8), 50).overflow);
}

#[test]
fn control_frames_are_never_refused_and_never_dropped() {
    let mut outbox = Outbox::default();
    outbox.push_control(&Run::control(&[0x89, 0]));
    push(&mut outbox, &run("a", WhenFull::KeepLatest, 5, 8), 52);
    outbox.push_control(&Run::control(&[0x8a, 0]));
    push(&mut outbox, &run("a", WhenFull::KeepLatest, 1, 8), 52);
    assert_eq!(outbox.queued(), 14);
    outbox.clear();
    assert_eq!(outbox.queued(), 4, "the two control frames");
    outbox.check_invariants();
}

#[test]
fn bytes_come_out_as_they_went_in_however_they_are_written() {
    for step in 1..40 {
        let mut outbox = Outbox::default();
        for count in 1..5 {
            push(&mut outbox, &run("a", WhenFull::Disconnect, count, 8), 1000);
        }
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let mut piece = Vec::new();
            outbox.slices(|slice| {
                piece.extend_from_slice(slice);
                piece.len() < step
            });
            piece.truncate(step);
            outbox.advance(piece.len());
            outbox.check_invariants();
            all.extend(piece);
        }
        assert_eq!(all.len(), 100);
        assert!(all.chunks(10).all(|frame| frame[..2] == [0x81, 8]));
    }
}

#[test]
fn what_is_encrypted_and_not_written_counts_as_waiting() {
    let mut outbox = Outbox::default();
    push(&mut outbox, &run("a", WhenFull::DropOldest, 10, 8), 1000);
    assert_eq!(outbox.queued(), 100);
    // Half a frame more than three is taken, and has become a little longer.
    outbox.advance(35);
    outbox.hold(60);
    outbox.check_invariants();
    assert_eq!(outbox.queued(), 65 + 60);
    // What was taken has no piece any more: nothing of it can be dropped, nor the half of what was not.
    let pushed = push(&mut outbox, &run("a", WhenFull::DropOldest, 3, 8), 125);
    assert_eq!(pushed.dropped, 3);
    assert_eq!(outbox.queued(), 125);
    outbox.hold(0);
    outbox.check_invariants();
    assert_eq!(outbox.queued(), 65);
    outbox.hold(7);
    outbox.clear();
    outbox.check_invariants();
    assert_eq!(outbox.queued(), 5 + 7);
    outbox.advance(1000);
    outbox.check_invariants();
    assert!(!outbox.is_empty(), "what is held is written later");
    outbox.hold(0);
    assert!(outbox.is_empty());
}

#[test]
fn pongs_give_way_to_later_ones_when_there_are_many() {
    let pong = |mark: u8| Run::control(&[&[PONG, 98][..], &[mark; 98]].concat());
    let mut outbox = Outbox::default();
    for i in 0..40 {
        outbox.push_pongs(&pong(i));
    }
    assert_eq!(outbox.queued(), 4000, "all of them");
    outbox.advance(50);
    push(&mut outbox, &run("a", WhenFull::Disconnect, 1, 8), 1 << 20);
    for i in 40..240 {
        outbox.push_pongs(&pong(i));
        outbox.check_invariants();
        assert!(outbox.queued() <= PONG_BYTES + 10);
    }
    let mut seen = Vec::new();
    outbox.slices(|slice| {
        seen.push(*slice.last().unwrap());
        true
    });
    // The first is half written, and the latest is there.
    assert_eq!((seen[0], *seen.last().unwrap()), (0, 239));
    let mut alone = Outbox::default();
    let large = Run::control(&[PONG; 5000]);
    for _ in 0..3 {
        alone.push_pongs(&large);
        alone.check_invariants();
        assert_eq!(alone.queued(), 5000);
    }
    alone.advance(5000);
    alone.check_invariants();
}
