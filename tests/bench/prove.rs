//! The proof that the generator sees what it says it sees: runs against floors that err on purpose.
//!
//! Each mistake must show in its own column and in no other, and a floor without one must show none. Called by `main.rs`
//! for `--prove`; CI may run it, it takes some seconds.

use std::io;
use std::time::Duration;

use clap::ValueEnum;

use crate::floor::{Fault, Flavour};
use crate::launch::{Contender, Running, Server};
use crate::load;
use crate::message::Faults;
use crate::rows;

/// Says for each mistake whether it was seen; `false` if one was not.
pub(crate) fn run() -> io::Result<bool> {
    let mut good = true;
    let faults = Fault::value_variants().iter().copied().map(Some);
    for fault in [None].into_iter().chain(faults) {
        for scenario in rows::named("fan-burst")
            .into_iter()
            .chain(rows::named("many-sat"))
        {
            let server = Server::Floor(Flavour::Write, fault);
            let floor = Contender::of(server, scenario);
            let mut running = Running::start(&floor)?;
            let found = load::run(scenario, &mut running, Duration::from_secs(1))?.faults;
            let right = expected(fault, found);
            let verdict = if right { "ok" } else { "WRONG" };
            let fault = fault.map_or_else(|| "none".to_owned(), |fault| format!("{fault:?}"));
            println!("{verdict:<6} {:<10} {fault:<8} {found:?}", scenario.name);
            good &= right;
        }
    }
    Ok(good)
}

fn expected(fault: Option<Fault>, found: Faults) -> bool {
    let only = |count: u64| {
        let all = found.lost + found.doubled + found.reordered + found.damaged;
        count > 0 && count == all
    };
    match fault {
        None => found.none(),
        Some(Fault::Lose) => only(found.lost),
        Some(Fault::Double) => only(found.doubled),
        Some(Fault::Reorder) => only(found.reordered),
        // What is damaged can be told from nothing else, so its place is also empty.
        Some(Fault::Damage) => {
            found.damaged > 0 && found.damaged == found.lost && found.doubled + found.reordered == 0
        }
    }
}
