//! How much is logged of each area: all of `log.level` in one word, so that a reload changes it in one step.
//!
//! [pure] A call site asks once, when it is first reached, and again after a reload (tracing keeps the answer), so
//! comparing names is cheap enough. `subscriber.rs` and `mod.rs` ask; nobody else.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config;
use crate::config::Level;

/// The areas: what `target:` of a log macro may name, and `log.level` with it. At most 20: three bits each in one word.
pub const AREAS: [&str; 19] = [
    "admin", "broker", "config", "conn", "control", "daemon", "drain", "hooks", "listen", "log",
    "metrics", "reload", "script", "start", "systemd", "tls", "watch", "watchdog", "worker",
];

/// The levels in force.
#[derive(Debug)]
pub(super) struct Levels(AtomicU64);

impl Levels {
    pub(super) fn new(config: &config::Log) -> Self {
        Self(AtomicU64::new(pack(config)))
    }

    pub(super) fn set(&self, config: &config::Log) {
        self.0.store(pack(config), Ordering::Release);
    }

    /// Whether a record of this level and target is wanted.
    pub(super) fn wants(&self, target: &str, level: Level) -> bool {
        level <= level_at(self.0.load(Ordering::Acquire), slot(target))
    }

    /// The most that any area wants.
    pub(super) fn most(&self) -> Level {
        let packed = self.0.load(Ordering::Acquire);
        (0..=AREAS.len())
            .map(|slot| level_at(packed, slot))
            .max()
            .unwrap_or(Level::Info)
    }
}

/// What `log.level` names that is no area.
pub(super) fn unknown(config: &config::Log) -> Vec<&str> {
    config
        .areas
        .iter()
        .map(|(area, _)| area.as_str())
        .filter(|area| !AREAS.contains(area))
        .collect()
}

/// The area of a target. Without `target:` a macro's target is its module: then the first module below the crate.
pub(super) fn area(target: &str) -> &str {
    target
        .strip_prefix("wsd::")
        .map_or(target, |path| path.split("::").next().unwrap_or(path))
}

/// 0 for what is no area: the level that is given without one.
fn slot(target: &str) -> usize {
    let area = area(target);
    AREAS
        .iter()
        .position(|known| *known == area)
        .map_or(0, |index| index + 1)
}

fn pack(config: &config::Log) -> u64 {
    (0..=AREAS.len()).fold(0, |packed, slot| {
        // The last of several for one area counts.
        let named = config.areas.iter().rev().find(|(area, _)| {
            slot.checked_sub(1)
                .is_some_and(|index| AREAS[index] == area)
        });
        let level = named.map_or(config.level, |(_, level)| *level);
        packed | bits(level) << (slot * BITS)
    })
}

fn bits(level: Level) -> u64 {
    match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    }
}

fn level_at(packed: u64, slot: usize) -> Level {
    match packed >> (slot * BITS) & 0b111 {
        1 => Level::Error,
        2 => Level::Warn,
        4 => Level::Debug,
        5 => Level::Trace,
        _ => Level::Info,
    }
}

/// Of one slot.
const BITS: usize = 3;

const _: () = assert!((AREAS.len() + 1) * BITS <= 64);

#[cfg(test)]
mod tests {
    use super::*;

    fn log(level: Level, areas: &[(&str, Level)]) -> config::Log {
        config::Log {
            level,
            areas: areas
                .iter()
                .map(|(area, level)| ((*area).to_owned(), *level))
                .collect(),
        }
    }

    #[test]
    fn an_area_has_its_own_level() {
        let levels = Levels::new(&log(Level::Info, &[("broker", Level::Debug)]));
        assert!(levels.wants("broker", Level::Debug));
        assert!(!levels.wants("broker", Level::Trace));
        assert!(levels.wants("conn", Level::Info));
        assert!(!levels.wants("conn", Level::Debug));
        assert!(levels.wants("wsd::broker::redis", Level::Debug));
        assert!(!levels.wants("elsewhere", Level::Debug));
        assert_eq!(levels.most(), Level::Debug);

        levels.set(&log(
            Level::Error,
            &[
                ("worker", Level::Trace),
                ("admin", Level::Warn),
                ("admin", Level::Error),
            ],
        ));
        assert!(levels.wants("worker", Level::Trace));
        assert!(!levels.wants("broker", Level::Warn));
        assert!(!levels.wants("admin", Level::Warn));
        assert_eq!(levels.most(), Level::Trace);
    }

    #[test]
    fn every_slot_keeps_every_level() {
        use Level::{Debug, Error, Info, Trace, Warn};
        for area in AREAS {
            for level in [Error, Warn, Info, Debug, Trace] {
                let levels = Levels::new(&log(Info, &[(area, level)]));
                for asked in [Error, Warn, Info, Debug, Trace] {
                    assert_eq!(levels.wants(area, asked), asked <= level, "{area}");
                    assert_eq!(levels.wants("", asked), asked <= Info);
                }
            }
        }
    }

    #[test]
    fn what_is_no_area_is_named() {
        let config = log(
            Level::Info,
            &[("brokr", Level::Debug), ("conn", Level::Debug)],
        );
        assert_eq!(unknown(&config), ["brokr"]);
    }

    #[test]
    fn areas_of_the_source_are_in_the_list() {
        let targets = super::super::source_literals("target: \"");
        assert!(targets.iter().any(|target| target == "systemd"));
        for target in targets {
            assert!(
                AREAS.contains(&target.as_str()),
                "\"{target}\" is missing in log::AREAS"
            );
        }
    }
}
