//! What cuts have for consequences: a script rests, a connection is closed, an address gets less time.
//!
//! [pure] One [`Breaker`] is a process's; every worker counts there, and only when something was cut. A call in good times
//! costs the look at one number. Time is an argument: seconds of a clock that never goes back.
//!
//! # Why addresses
//! Whoever finds a message that a script cannot bear must not be able to switch the script off for everybody, so cuts by
//! fewer than [`ADDRESSES`] addresses never do. An IPv6 client has a whole /64, which counts as one.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::config;
use crate::types::Origin;

#[expect(
    clippy::disallowed_types,
    reason = "the breaker is one for all workers; taken only when a call was cut"
)]
type Guarded<T> = std::sync::Mutex<T>;

/// The breaker of a process: clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Breaker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counts: Guarded<Counts>,
    /// There are cuts: what they mean must be looked up.
    any: AtomicBool,
}

/// Cuts that may still count, oldest first.
#[derive(Debug, Default)]
struct Counts {
    next: u64,
    cuts: VecDeque<Cut>,
    /// When each connection last caused one by itself.
    conns: HashMap<Origin, f64>,
    scripts: HashMap<String, Arc<Script>>,
}

#[derive(Debug)]
struct Cut {
    number: u64,
    at: f64,
    script: Arc<Script>,
    addresses: Vec<Address>,
    /// The script has rested for it.
    spent: bool,
}

/// A script of any generation, as long as its code is the same.
#[derive(Debug)]
pub(super) struct Script {
    path: String,
    /// A hash of its code: one that was changed has a clean slate.
    code: u64,
    condition: AtomicU8,
    /// The bits of the time at which a rest ends.
    until: AtomicU64,
}

/// Whether a script may be called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Permit {
    /// It may.
    Go,
    /// It rests.
    Rest,
    /// This call decides whether its rest is over: its end must be told.
    Trial,
}

/// A script begins to rest.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Rests {
    pub(super) path: String,
    pub(super) cuts: usize,
    pub(super) addresses: usize,
}

/// What follows from a cut's cause.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Blamed {
    /// The connection is to be closed.
    pub(super) close: bool,
    pub(super) rests: Option<Rests>,
}

/// What counts as one client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Address(IpAddr);

impl Breaker {
    /// The script at that path with that code.
    pub(super) fn script(&self, path: &str, code: u64) -> Arc<Script> {
        self.change(|counts| {
            let known = counts.scripts.get(path).filter(|known| known.code == code);
            if let Some(known) = known {
                return Arc::clone(known);
            }
            let script = Arc::new(Script {
                path: path.to_owned(),
                code,
                condition: AtomicU8::new(WORKS),
                until: AtomicU64::new(0),
            });
            counts.scripts.insert(path.to_owned(), Arc::clone(&script));
            script
        })
    }

    /// A call was cut; its number, and whether the script rests now. [`Breaker::blame`] says whose doing it was.
    pub(super) fn cut(
        &self,
        now: f64,
        config: config::Breaker,
        script: &Arc<Script>,
    ) -> (u64, Option<Rests>) {
        self.change(|counts| {
            counts.expire(now, config.window);
            self.0.any.store(true, Ordering::Relaxed);
            counts.next += 1;
            let cut = Cut {
                number: counts.next,
                at: now,
                script: Arc::clone(script),
                addresses: Vec::new(),
                spent: false,
            };
            counts.cuts.push_back(cut);
            (counts.next, counts.rests(now, config, script))
        })
    }

    /// The cut was caused by a call for this address, and by this connection alone if it is given.
    pub(super) fn blame(
        &self,
        now: f64,
        config: config::Breaker,
        number: u64,
        alone: Option<Origin>,
        ip: &str,
    ) -> Blamed {
        if config.cuts == 0 {
            return Blamed::default();
        }
        self.change(|counts| {
            let close = alone.is_some_and(|origin| {
                let last = counts.conns.insert(origin, now);
                last.is_some_and(|last| now - last <= config.window.as_secs_f64())
            });
            let script = match (counts.find(number), Address::of(ip)) {
                (Some(cut), Some(address)) if !cut.addresses.contains(&address) => {
                    cut.addresses.push(address);
                    Arc::clone(&cut.script)
                }
                _ => return Blamed { close, rests: None },
            };
            let rests = counts.rests(now, config, &script);
            Blamed { close, rests }
        })
    }

    /// Whether calls for this address get a tenth of their time.
    pub(super) fn is_strained(
        &self,
        now: impl FnOnce() -> f64,
        config: config::Breaker,
        ip: &str,
    ) -> bool {
        if !self.0.any.load(Ordering::Relaxed) || config.cuts == 0 {
            return false;
        }
        let Some(address) = Address::of(ip) else {
            return false;
        };
        self.change(|counts| {
            counts.expire(now(), config.window);
            if counts.cuts.is_empty() {
                self.0.any.store(false, Ordering::Relaxed);
            }
            let for_it = counts
                .cuts
                .iter()
                .filter(|cut| cut.addresses.contains(&address));
            for_it.count() >= count(config.cuts)
        })
    }

    /// The scripts that rest now.
    #[must_use]
    pub fn resting(&self) -> Vec<String> {
        self.change(|counts| {
            let scripts = counts.scripts.values();
            let mut paths: Vec<String> = scripts
                .filter(|script| script.condition.load(Ordering::Relaxed) != WORKS)
                .map(|script| script.path.clone())
                .collect();
            paths.sort();
            paths
        })
    }

    fn change<R>(&self, change: impl FnOnce(&mut Counts) -> R) -> R {
        change(
            &mut self
                .0
                .counts
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

impl Script {
    /// Whether it may be called; asks for the time only if it rests.
    pub(super) fn permit(&self, now: impl FnOnce() -> f64) -> Permit {
        match self.condition.load(Ordering::Relaxed) {
            WORKS => Permit::Go,
            RESTS if now() >= f64::from_bits(self.until.load(Ordering::Relaxed)) => {
                let first = self.condition.compare_exchange(
                    RESTS,
                    ON_TRIAL,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if first.is_ok() {
                    Permit::Trial
                } else {
                    Permit::Rest
                }
            }
            _ => Permit::Rest,
        }
    }

    /// The call that was its trial has returned.
    pub(super) fn end_trial(&self, now: f64, config: config::Breaker, cut: bool) {
        if cut {
            self.rest(now, config);
        } else {
            self.condition.store(WORKS, Ordering::Relaxed);
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn rest(&self, now: f64, config: config::Breaker) {
        let until = now + config.cooldown.as_secs_f64();
        self.until.store(until.to_bits(), Ordering::Relaxed);
        self.condition.store(RESTS, Ordering::Relaxed);
    }
}

impl Counts {
    /// Forgets what is too old to count.
    fn expire(&mut self, now: f64, window: Duration) {
        let since = now - window.as_secs_f64();
        while self
            .cuts
            .front()
            .is_some_and(|cut| cut.at < since || self.cuts.len() > CUTS_MAX)
        {
            self.cuts.pop_front();
        }
        if self.conns.len() > self.cuts.len() {
            self.conns.retain(|_, last| *last >= since);
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut Cut> {
        self.cuts.iter_mut().rev().find(|cut| cut.number == number)
    }

    /// Lets the script rest if it was cut too often, by enough addresses.
    fn rests(&mut self, now: f64, config: config::Breaker, script: &Arc<Script>) -> Option<Rests> {
        if config.cuts == 0 || script.condition.load(Ordering::Relaxed) != WORKS {
            return None;
        }
        let mut addresses: Vec<Address> = Vec::new();
        let mut cuts = 0;
        for cut in &self.cuts {
            if cut.spent || !Arc::ptr_eq(&cut.script, script) {
                continue;
            }
            cuts += 1;
            for address in &cut.addresses {
                if !addresses.contains(address) && addresses.len() < ADDRESSES_COUNTED {
                    addresses.push(*address);
                }
            }
        }
        if cuts < count(config.cuts) || addresses.len() < ADDRESSES {
            return None;
        }
        for cut in &mut self.cuts {
            cut.spent |= Arc::ptr_eq(&cut.script, script);
        }
        script.rest(now, config);
        Some(Rests {
            path: script.path.clone(),
            cuts,
            addresses: addresses.len(),
        })
    }
}

impl Address {
    fn of(ip: &str) -> Option<Self> {
        match ip.parse().ok()? {
            IpAddr::V4(address) => Some(Self(IpAddr::V4(address))),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let network = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
                Some(Self(IpAddr::V6(network)))
            }
        }
    }
}

fn count(cuts: u32) -> usize {
    usize::try_from(cuts).unwrap_or(usize::MAX)
}

const WORKS: u8 = 0;
const RESTS: u8 = 1;
const ON_TRIAL: u8 = 2;
/// Cuts by fewer addresses do not switch a script off (SPEC §3).
const ADDRESSES: usize = 3;
/// Addresses that are told apart for the log.
const ADDRESSES_COUNTED: usize = 100;
/// Cuts that are remembered: a worker makes some 50 a second at most.
const CUTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ConnId, NodeId, WorkerId};

    const CONFIG: config::Breaker = config::Breaker {
        cuts: 5,
        window: Duration::from_secs(60),
        cooldown: Duration::from_secs(30),
    };

    fn origin(slot: u32) -> Option<Origin> {
        Some(Origin {
            node: NodeId(1),
            worker: WorkerId(0),
            conn: ConnId {
                slot,
                generation: 0,
            },
        })
    }

    fn cut(breaker: &Breaker, script: &Arc<Script>, now: f64, slot: u32, ip: &str) -> Blamed {
        let (number, rests) = breaker.cut(now, CONFIG, script);
        let blamed = breaker.blame(now, CONFIG, number, origin(slot), ip);
        Blamed {
            rests: rests.or(blamed.rests),
            ..blamed
        }
    }

    #[test]
    fn a_script_rests_after_five_cuts_by_three_addresses_and_one_trial_decides() {
        let breaker = Breaker::default();
        let script = breaker.script("/chat.lua", 7);
        for n in 0..20 {
            let ip = if n % 2 == 0 { "10.0.0.1" } else { "10.0.0.2" };
            assert_eq!(cut(&breaker, &script, 1.0, n, ip), Blamed::default());
            // Another of the same network is no third.
            assert_eq!(script.permit(|| 1.0), Permit::Go);
        }
        let rests = cut(&breaker, &script, 2.0, 99, "10.0.0.3").rests.unwrap();
        assert_eq!((rests.cuts, rests.addresses), (21, 3));
        assert_eq!(breaker.resting(), ["/chat.lua"]);
        assert_eq!(script.permit(|| 31.9), Permit::Rest);
        assert_eq!(script.permit(|| 32.0), Permit::Trial);
        assert_eq!(script.permit(|| 32.0), Permit::Rest);
        script.end_trial(32.5, CONFIG, true);
        assert_eq!(script.permit(|| 62.4), Permit::Rest);
        assert_eq!(script.permit(|| 62.5), Permit::Trial);
        script.end_trial(63.0, CONFIG, false);
        assert_eq!(script.permit(|| 63.0), Permit::Go);
        // What it has rested for does not count again.
        assert_eq!(cut(&breaker, &script, 63.0, 100, "10.0.0.4").rests, None);
        assert!(breaker.resting().is_empty());
    }

    #[test]
    fn old_cuts_do_not_count() {
        let breaker = Breaker::default();
        let script = breaker.script("/chat.lua", 7);
        for n in 0..20 {
            let ip = format!("10.0.0.{n}");
            let now = f64::from(n) * 16.0;
            assert_eq!(cut(&breaker, &script, now, n, &ip).rests, None);
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let breaker = Breaker::default();
        let script = breaker.script("/chat.lua", 7);
        for n in 0..20 {
            let ip = format!("2001:db8:0:1::{n}");
            assert_eq!(cut(&breaker, &script, 1.0, n, &ip).rests, None);
        }
        assert!(breaker.is_strained(|| 1.0, CONFIG, "2001:db8:0:1:ffff::1"));
        assert!(!breaker.is_strained(|| 1.0, CONFIG, "2001:db8:0:2::1"));
    }

    #[test]
    fn the_second_cut_of_a_connection_closes_it() {
        let breaker = Breaker::default();
        let script = breaker.script("/chat.lua", 7);
        assert!(!cut(&breaker, &script, 1.0, 1, "10.0.0.1").close);
        assert!(!cut(&breaker, &script, 1.0, 2, "10.0.0.1").close);
        assert!(cut(&breaker, &script, 60.0, 1, "10.0.0.1").close);
        assert!(!cut(&breaker, &script, 62.0, 2, "").close);
        assert!(cut(&breaker, &script, 62.0, 2, "").close);
        let (number, _) = breaker.cut(62.0, CONFIG, &script);
        // Of a batch that others sent too.
        assert!(!breaker.blame(62.0, CONFIG, number, None, "10.0.0.1").close);
    }

    #[test]
    fn an_address_gets_less_until_its_window_has_passed() {
        let breaker = Breaker::default();
        let script = breaker.script("/chat.lua", 7);
        let strained = |now: f64, ip: &str| breaker.is_strained(|| now, CONFIG, ip);
        for n in 0..4 {
            cut(&breaker, &script, 1.0, n, "10.0.0.1");
        }
        assert!(!strained(1.0, "10.0.0.1"));
        cut(&breaker, &script, 2.0, 9, "10.0.0.1");
        assert!(strained(2.0, "10.0.0.1"));
        assert!(!strained(2.0, "10.0.0.2"));
        assert!(!strained(2.0, ""));
        assert!(strained(61.0, "10.0.0.1"));
        assert!(!strained(61.1, "10.0.0.1"));
        assert!(!strained(100.0, "10.0.0.1"));
        assert!(!breaker.0.any.load(Ordering::Relaxed));
    }

    #[test]
    fn a_script_that_was_changed_begins_anew_and_zero_is_no_breaker() {
        let breaker = Breaker::default();
        let script = breaker.script("/chat.lua", 7);
        for n in 0..5 {
            cut(&breaker, &script, 1.0, n, &format!("10.0.0.{n}"));
        }
        assert_eq!(breaker.script("/chat.lua", 7).permit(|| 2.0), Permit::Rest);
        assert_eq!(breaker.script("/chat.lua", 8).permit(|| 2.0), Permit::Go);
        let off = config::Breaker { cuts: 0, ..CONFIG };
        let (number, _) = breaker.cut(1.0, off, &script);
        let blamed = breaker.blame(1.0, off, number, origin(1), "10.0.0.1");
        assert_eq!(blamed, Blamed::default());
        assert!(!breaker.is_strained(|| 1.0, off, "10.0.0.1"));
    }
}
