//! [pure] `log.level`: how much is logged, and of what.

use std::fmt;

/// `[log]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// For areas that are not named.
    pub level: Level,
    /// `"info,broker=debug"`: area and its level.
    pub areas: Vec<(String, Level)>,
}

impl Log {
    /// Reads `"info"` or `"info,broker=debug,conn=trace"`; without a level for the rest that is `info`.
    pub fn parse(text: &str) -> Result<Self, LevelError> {
        let mut level = None;
        let mut areas: Vec<(String, Level)> = Vec::new();
        for entry in text.split(',').map(str::trim) {
            match entry.split_once('=') {
                None => {
                    if level.replace(Level::parse(entry)?).is_some() {
                        return Err(LevelError::Twice);
                    }
                }
                Some((area, name)) => {
                    let (area, name) = (area.trim(), name.trim());
                    if area.is_empty() || !area.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    {
                        return Err(LevelError::Area(area.to_owned()));
                    }
                    if areas.iter().any(|(known, _)| known == area) {
                        return Err(LevelError::AreaTwice(area.to_owned()));
                    }
                    areas.push((area.to_owned(), Level::parse(name)?));
                }
            }
        }
        Ok(Self {
            level: level.unwrap_or(Level::Info),
            areas,
        })
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.level.fmt(f)?;
        for (area, level) in &self.areas {
            write!(f, ",{area}={level}")?;
        }
        Ok(())
    }
}

/// How much is logged, from little to much.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// What somebody must mend.
    Error,
    /// What somebody should look at.
    Warn,
    /// What an operator wants to know afterwards.
    Info,
    /// Each connection's open and close, and the like.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As written in the configuration, from little to much.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    fn parse(name: &str) -> Result<Self, LevelError> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
            .ok_or_else(|| LevelError::Level(name.to_owned()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, level)| level == self);
        f.write_str(name.map_or("info", |(name, _)| name))
    }
}

/// Why a text says nothing about levels.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LevelError {
    /// Not a word in lower case.
    #[error("{0:?} is no area; an area is a word in lower case, as in \"info,broker=debug\"")]
    Area(String),
    /// The same area again.
    #[error("the area {0:?} stands twice")]
    AreaTwice(String),
    /// None of the five.
    #[error(
        "{0:?} is no level; use error, warn, info, debug or trace, or per area \"info,broker=debug\""
    )]
    Level(String),
    /// Two levels for the rest.
    #[error("has two levels for all areas; use one, and area=level for others")]
    Twice,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_written() {
        for (text, shown) in [
            ("info", "info"),
            ("info,broker=debug", "info,broker=debug"),
            ("broker=debug , warn", "warn,broker=debug"),
            ("conn=trace", "info,conn=trace"),
        ] {
            let log = Log::parse(text).unwrap();
            assert_eq!(log.to_string(), shown);
            assert_eq!(Log::parse(shown), Ok(log));
        }
        for text in [
            "",
            "verbose",
            "INFO",
            "info,debug",
            "info,=debug",
            "info,a=b",
            "a=info,a=info",
            "info,",
        ] {
            assert!(Log::parse(text).is_err(), "{text}");
        }
    }
}
