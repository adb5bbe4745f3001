//! Answers and fences in every order, and a link that is lost in between.

use super::*;
use crate::config::BrokerUrl;
use crate::types::{Epoch, NameHash, Payload};
use std::time::Duration;

const KEEP: Keep = Keep {
    size: 100,
    ttl: Duration::from_secs(60),
};

fn c() -> ChannelName {
    ChannelName::new("c").unwrap()
}

fn at(offset: u64) -> Position {
    Position {
        epoch: Epoch(1),
        offset,
    }
}

fn live(home: &mut Home, offset: u64) {
    home.on_publication(Arc::new(Publication {
        channel: c(),
        payload: Payload::text(offset.to_string()),
        position: Some(at(offset)),
        skip: None,
    }));
}

fn missed(top: u64, messages: impl IntoIterator<Item = u64>) -> Option<Missed> {
    Some(Missed {
        top: at(top),
        recovered: true,
        messages: messages
            .into_iter()
            .map(|n| (at(n), Payload::text(n.to_string())))
            .collect(),
    })
}

/// What comes out, in words: what is asked of Redis, what workers are told.
fn out(home: &mut Home) -> Vec<String> {
    let mut list = Vec::new();
    while let Some(output) = home.poll_output() {
        list.push(match output {
            HomeOutput::Deliver(_, publication) => {
                String::from_utf8(publication.payload.data.to_vec()).unwrap()
            }
            HomeOutput::Gap(..) => "gap".to_owned(),
            HomeOutput::Recalled(_, recalled) => format!("answer {}", recalled.token),
            HomeOutput::Redis(Command::Recall(question)) => format!("ask {}", question.token),
            HomeOutput::Redis(_) | HomeOutput::Live(..) => continue,
            HomeOutput::Answer(..) => "receipt".to_owned(),
        });
    }
    list
}

/// A home whose channel is live and stands at 0.
fn following() -> Home {
    let url = BrokerUrl::RedisUnix("/run/redis.sock".into());
    let mut home = Home::new(&url, NameHash::new(1, 2));
    home.on_status(LinkStatus::Up);
    home.on_wanted(WorkerId(0), &c(), Some(KEEP));
    home.on_live(&c());
    assert_eq!(out(&mut home), ["ask 1"]);
    home.on_recalled(1, missed(0, []));
    home.on_fence(&c(), 1);
    home
}

fn recall(home: &mut Home, name: u64) -> u64 {
    home.ask(&c(), Ask::Newest(0), KEEP, Whom::Worker(WorkerId(0), name))
}

#[test]
fn answer_before_its_fence_waits_for_it() {
    let mut home = following();
    let token = recall(&mut home, 7);
    home.on_recalled(token, missed(1, 1..=1));
    live(&mut home, 1);
    home.on_fence(&c(), token);
    live(&mut home, 2);
    assert_eq!(out(&mut home), ["ask 2", "1", "answer 7", "2"]);
}

#[test]
fn fence_before_its_answer_holds_what_comes_behind_it() {
    let mut home = following();
    let token = recall(&mut home, 7);
    live(&mut home, 1);
    home.on_fence(&c(), token);
    live(&mut home, 2);
    assert_eq!(out(&mut home), ["ask 2", "1"]);
    home.on_recalled(token, missed(1, 1..=1));
    assert_eq!(out(&mut home), ["answer 7", "2"]);
}

#[test]
fn several_questions_keep_their_places() {
    let mut home = following();
    let (a, b) = (recall(&mut home, 7), recall(&mut home, 8));
    home.on_fence(&c(), a);
    live(&mut home, 1);
    home.on_fence(&c(), b);
    live(&mut home, 2);
    assert_eq!(out(&mut home), ["ask 2", "ask 3"]);
    home.on_recalled(b, missed(1, 1..=1));
    assert!(out(&mut home).is_empty());
    home.on_recalled(a, missed(0, []));
    assert_eq!(out(&mut home), ["answer 7", "1", "answer 8", "2"]);
}

#[test]
fn what_was_missed_is_delivered_before_anything_newer() {
    let mut home = following();
    live(&mut home, 1);
    home.on_status(LinkStatus::Down);
    home.on_status(LinkStatus::Up);
    assert_eq!(out(&mut home), ["1", "ask 2"]);
    // This one is in the answer, that one is not.
    live(&mut home, 4);
    home.on_fence(&c(), 2);
    live(&mut home, 5);
    home.on_recalled(2, missed(4, 2..=4));
    assert_eq!(out(&mut home), ["2", "3", "4", "5"]);
    assert_eq!(home.take_gaps(), None);
}

#[test]
fn a_link_that_is_lost_again_loses_nothing() {
    let mut home = following();
    live(&mut home, 1);
    home.on_status(LinkStatus::Down);
    // Its channel is subscribed again before all are.
    live(&mut home, 3);
    home.on_status(LinkStatus::Up);
    home.on_fence(&c(), 2);
    live(&mut home, 4);
    home.on_status(LinkStatus::Down);
    home.on_status(LinkStatus::Up);
    assert_eq!(out(&mut home), ["1", "ask 2", "ask 3"]);
    home.on_recalled(3, missed(5, 2..=5));
    home.on_fence(&c(), 3);
    live(&mut home, 6);
    assert_eq!(out(&mut home), ["2", "3", "4", "5", "6"]);
}

#[test]
fn what_cannot_be_mended_is_a_gap() {
    let mut home = following();
    for answer in [
        None,
        Some(Missed {
            top: at(9),
            recovered: false,
            messages: Vec::new(),
        }),
    ] {
        home.on_status(LinkStatus::Down);
        home.on_status(LinkStatus::Up);
        let asked = out(&mut home);
        let token = home.recalls.last;
        assert_eq!(asked, [format!("ask {token}")]);
        home.on_recalled(token, answer);
        home.on_fence(&c(), token);
        assert_eq!(out(&mut home), ["gap"]);
        assert_eq!(home.take_gaps(), Some((c(), 1)));
    }
}

#[test]
fn a_link_that_is_lost_while_something_is_held_gives_it_out() {
    let mut home = following();
    let token = recall(&mut home, 7);
    home.on_fence(&c(), token);
    live(&mut home, 1);
    home.on_status(LinkStatus::Down);
    assert_eq!(out(&mut home), ["ask 2", "1"]);
    home.on_status(LinkStatus::Up);
    assert_eq!(
        out(&mut home),
        ["ask 2", "ask 3"],
        "the worker's again, and what was missed"
    );
    home.on_recalled(2, missed(1, 1..=1));
    home.on_fence(&c(), 2);
    assert_eq!(out(&mut home), ["answer 7"]);
}

#[test]
fn nobody_waits_for_a_channel_that_is_left() {
    let mut home = following();
    let token = recall(&mut home, 7);
    home.on_unwanted(WorkerId(0), &c());
    assert_eq!(out(&mut home), ["ask 2", "answer 7"]);
    home.on_recalled(token, missed(1, 1..=1));
    assert!(home.recalls.open.is_empty());
}
