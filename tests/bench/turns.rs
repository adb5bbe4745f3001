//! Who takes part in a scenario, and their turns: round after round, each time with a fresh process.
//!
//! Called by `main.rs` for each scenario; calls `load.rs` and `idle.rs` for each turn. A turn that fails is noted in the
//! report and costs the others nothing.

use std::io;
use std::time::Duration;

use crate::args::Arguments;
use crate::floor::Flavour;
use crate::launch::{Contender, Running, Server};
use crate::progress::Progress;
use crate::report::{BARE, Idles, Loads, Report, Scales};
use crate::scenario::{Others, Pace, Scenario};
use crate::{idle, load, peers, scale};

/// Measures a scenario.
pub(crate) fn measure(
    scenario: &Scenario,
    arguments: &Arguments,
    progress: &mut Progress,
    report: &mut Report,
) {
    let mut turns = Turns {
        scenario,
        contenders: contenders(scenario, arguments),
        rounds: arguments.rounds,
        time: Duration::from_secs(match (arguments.seconds, scenario.pace) {
            // Less than its own time would say something else.
            (Some(seconds), Pace::Idle) => seconds.max(scenario.seconds),
            (Some(seconds), _) => seconds,
            (None, _) => scenario.seconds,
        }),
        progress,
        failures: &mut report.failures,
    };
    match scenario.pace {
        Pace::Idle => report
            .idle
            .extend(Idles::of_all(scenario, &turns.take(idle::run))),
        Pace::Scale(_) => report
            .scale
            .extend(Scales::of_all(scenario, &turns.take(scale::run))),
        Pace::Window(_) | Pace::Due { .. } => report
            .loads
            .extend(Loads::of_all(scenario, &turns.take(load::run))),
    }
}

/// Who takes part, in the order of their turns.
pub(crate) fn contenders(scenario: &Scenario, arguments: &Arguments) -> Vec<Contender> {
    let mut found = Vec::new();
    if scenario.others == Others::All && !arguments.no_floor {
        // The floors differ only in how they write: one is enough where nearly nothing is written.
        let floors: &[Flavour] = match scenario.pace {
            Pace::Idle => &[Flavour::Coalesce],
            Pace::Scale(_) => &[],
            Pace::Window(_) | Pace::Due { .. } => &[Flavour::Write, Flavour::Coalesce],
        };
        let floors = floors.iter().map(|flavour| Server::Floor(*flavour, None));
        found.extend(floors.map(|floor| Contender::of(floor, &scenario.bare())));
    }
    if scenario.others == Others::All {
        let peers = arguments.peers.iter().filter_map(|name| peers::named(name));
        let peers = peers.flatten().map(Server::Peer);
        found.extend(peers.map(|peer| Contender::of(peer, &scenario.bare())));
    }
    if arguments.no_wsd {
        return found;
    }
    if let Some(command) = &arguments.server {
        let server = Server::Command(command.clone());
        found.push(Contender::of(server, scenario));
        return found;
    }
    let wsd = || Server::Wsd(arguments.wsd.clone());
    if scenario.others == Others::Bare {
        let mut bare = Contender::of(wsd(), &scenario.bare());
        BARE.clone_into(&mut bare.name);
        found.push(bare);
    }
    let workers = match &*arguments.workers {
        [] => scenario.workers,
        chosen => chosen,
    };
    for &workers in workers {
        let mut contender = Contender::of(wsd(), scenario);
        if workers > 1 {
            contender.name = format!("wsd, {workers} workers");
        }
        contender.workers = workers;
        contender.hooks.clone_from(&arguments.hooks);
        found.push(contender);
    }
    found
}

struct Turns<'a> {
    scenario: &'a Scenario,
    contenders: Vec<Contender>,
    rounds: u32,
    time: Duration,
    progress: &'a mut Progress,
    failures: &'a mut Vec<String>,
}

impl Turns<'_> {
    /// All samples, by who gave them.
    fn take<S>(
        &mut self,
        one: impl Fn(&Scenario, &mut Running, Duration) -> io::Result<S>,
    ) -> Vec<(String, Vec<S>)> {
        let mut found: Vec<_> = self
            .contenders
            .iter()
            .map(|contender| (contender.name.clone(), Vec::new()))
            .collect();
        for round in 1..=self.rounds {
            for (contender, (name, samples)) in self.contenders.iter().zip(&mut found) {
                let what = format!("{} {name}, round {round}", self.scenario.name);
                self.progress.now(&what);
                let result = Running::start(contender).and_then(|mut running| {
                    // That the server has ended says more than a socket's error.
                    one(&contender.scenario, &mut running, self.time)
                        .or_else(|e| running.check_alive().and(Err(e)))
                });
                self.progress.step();
                match result {
                    Ok(sample) => samples.push(sample),
                    Err(e) => {
                        self.progress.clear();
                        let text = format!("{what}: {e}");
                        eprintln!("failed: {text}");
                        self.failures.push(text);
                    }
                }
            }
        }
        self.progress.clear();
        found
    }
}
