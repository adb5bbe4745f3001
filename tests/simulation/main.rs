//! Whole nodes without threads, sockets and time: one seed decides everything that happens, and a model says what clients
//! must see of it.
//!
//! A failure names the seed and the step; `WSD_SEED=0x… cargo test --test simulation` runs that seed alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod client;
mod dice;
mod hooks;
mod model;
mod note;
mod settings;
mod world;

use std::cell::Cell;
use std::time::{Duration, Instant};

use wsd::types::{Close, ConnId};

use dice::Dice;
use note::Note;
use settings::CHANNELS;
use world::World;

/// In the trace: a message went the short way.
const PASSED_ON: &str = "passed on";

/// Seeds of one run.
const SEEDS: u64 = 256;

/// Steps of one seed.
const STEPS: usize = 600;

#[test]
fn everybody_gets_what_is_promised_whatever_happens() {
    match asked_for() {
        Some(seed) => {
            run(seed);
        }
        None => {
            for seed in 0..SEEDS {
                run(Dice::new(seed).roll());
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_trace_twice() {
    for seed in 0..8 {
        let seed = Dice::new(seed).roll();
        let (first, second) = (run(seed), run(seed));
        let differs = first.iter().zip(&second).find(|(a, b)| a != b);
        assert_eq!(differs, None, "WSD_SEED={seed:#x}");
        assert_eq!(first.len(), second.len(), "WSD_SEED={seed:#x}");
    }
}

#[test]
fn messages_take_the_short_way_too() {
    let taken = (0..8).flat_map(|seed| run(Dice::new(seed).roll()));
    let taken = taken.filter(|line| line.contains(PASSED_ON)).count();
    assert!(taken > 10, "only {taken} messages were passed on");
}

fn asked_for() -> Option<u64> {
    let text = std::env::var("WSD_SEED").ok()?;
    let digits = text.trim_start_matches("0x");
    Some(u64::from_str_radix(digits, 16).expect("WSD_SEED=0x and hexadecimal digits"))
}

/// Says where it was when something went wrong.
struct Place {
    seed: u64,
    step: Cell<usize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("WSD_SEED={:#x} step {}", self.seed, self.step.get());
        }
    }
}

/// Runs one seed; returns all that happened.
#[expect(
    clippy::disallowed_methods,
    reason = "some instant to begin with; nothing depends on which"
)]
fn run(seed: u64) -> Vec<String> {
    let place = Place {
        seed,
        step: Cell::new(0),
    };
    let mut world = World::new(seed, Instant::now());
    for step in 0..STEPS {
        place.step.set(step);
        act(&mut world, step);
    }
    world.settle();
    world.close_all();
    world.trace
}

/// One thing happens.
fn act(world: &mut World, step: usize) {
    let w = world.dice.below(world.workers.len());
    let roll = world.dice.below(100);
    world.note(|| format!("step {step}: {roll} on {w}"));
    match roll {
        0..10 => connect(world, w),
        10..13 => {
            if let Some(id) = any_client(world, w) {
                world.end(w, id, &Close::LOST);
            }
        }
        13..50 => say(world, w),
        50..53 => {
            if let Some(id) = any_client(world, w) {
                say_goodbye(world, w, id);
            }
        }
        53..56 => {
            let channel = world.dice.pick(&CHANNELS);
            let verb = world.dice.pick(&['p', 'p', 'b', 'm', 'B', 'F']);
            world.publish_from_node(w, channel, verb);
        }
        56..57 => {
            let channel = world.dice.pick(&CHANNELS);
            world.attach(w, channel);
        }
        57..74 => {
            world.turn(w, false);
        }
        74..88 => {
            let from = world.dice.below(world.workers.len());
            world.deliver(from, w);
        }
        88..90 => {
            if let Some(id) = any_client(world, w) {
                world.unblock(w, id);
            }
        }
        90..93 => {
            let time = world.dice.pick(&[1, 15, 50, 210, 1200]);
            world.pass(Duration::from_millis(time));
            if world.dice.one_in(20) {
                world.pass(Duration::from_secs(40));
            }
            if world.dice.one_in(10) {
                world.wall += world.dice.pick(&[-3600.0, -1.0, 1.0, 3600.0]);
            }
        }
        93..97 => world.reload(w),
        97..98 => world.settle(),
        98..99 if world.dice.one_in(10) => {
            let (over, mut dice) = (Duration::from_secs(2), Dice::new(step as u64));
            let draw = move || f64::from(u32::try_from(dice.below(1000)).unwrap_or(0)) / 1000.0;
            world.call(w, |state, now| {
                state.on_drain(now, over, &Close::GOING_AWAY, draw);
            });
        }
        _ => {}
    }
    while !world.dice.one_in(3) {
        if !world.signal(w) {
            break;
        }
    }
}

fn connect(world: &mut World, w: usize) {
    let channel = world.dice.pick(&CHANNELS);
    let path = match world.dice.below(12) {
        0 => "/none".to_owned(),
        1 => "/nowhere/at/all".to_owned(),
        2 => format!("/all/{}", world.dice.pick(&["closed", "alias"])),
        _ => format!("/{}/{channel}", settings::route(&mut world.dice)),
    };
    let query = match world.dice.below(8) {
        0 => "refuse".to_owned(),
        1 => "hello".to_owned(),
        2 => format!("hello&also={}", world.dice.pick(&CHANNELS)),
        _ => String::new(),
    };
    world.connect(w, &path, &query);
}

fn any_client(world: &mut World, w: usize) -> Option<ConnId> {
    let ids: Vec<ConnId> = world.workers[w].clients.keys().copied().collect();
    (!ids.is_empty()).then(|| world.dice.pick(&ids))
}

fn say_goodbye(world: &mut World, w: usize, id: ConnId) {
    let Some(client) = world.workers[w].clients.get_mut(&id) else {
        return;
    };
    client.frame(&mut world.dice, 0x88, &[3, 0xe8]);
    world.read(w, id, usize::MAX);
}

/// A client sends a message or a few, perhaps not to the end.
fn say(world: &mut World, w: usize) {
    let Some(id) = any_client(world, w) else {
        return;
    };
    for _ in 0..=world.dice.below(3) {
        let number = world.log.borrow_mut().id();
        let verb = match world.dice.below(40) {
            0..4 => world.dice.pick(&['j', 'j', 'l', 'l', 'x', 'e', 'c']),
            4..20 => world
                .dice
                .pick(&['b', 'm', 'F', 'B', 'o', 'r', 's', 'q', 'k', 'd', 'f', 'm']),
            20..26 => world.dice.pick(&['j', 'l', 'j']),
            _ => 'p',
        };
        let argument = match verb {
            'e' => {
                let wall = world.wall + world.dice.pick(&[-5.0, 0.5, 2.0, 100.0]);
                wall.to_string()
            }
            'j' if world.dice.one_in(10) => world.dice.pick(&["closed", "alias"]).to_owned(),
            _ => world.dice.pick(&CHANNELS).to_owned(),
        };
        let payload = Note::new(number, verb, &argument).payload(&mut world.dice);
        let Some(client) = world.workers[w].clients.get_mut(&id) else {
            return;
        };
        client.send(&mut world.dice, &payload);
    }
    let most = if world.dice.one_in(3) {
        world.dice.below(60)
    } else {
        usize::MAX
    };
    world.read(w, id, most);
}
