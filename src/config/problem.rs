//! What is wrong with a configuration, in the form that editors and CI annotations parse.
//!
//! [pure] `path:line:column: key: what is wrong and what would be right`. While files are checked a problem is a
//! [`Fault`] with a byte offset; only those that are shown are given lines and columns.

use std::fmt;
use std::path::PathBuf;

/// One line for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file, named as it was asked for.
    pub file: PathBuf,
    /// Line and column, both from 1, the column in characters; `None`: the file as a whole.
    pub position: Option<(usize, usize)>,
    /// As written in the file; empty if it is about no key.
    pub key: String,
    /// What is wrong and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Why a configuration is refused: at least one problem, in the order of the files and their lines.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problems {
    /// At most [`Problems::SHOWN`].
    pub list: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
    /// Every file and directory that was read, for who waits until one is mended.
    pub files: Vec<PathBuf>,
}

impl Problems {
    /// How many are listed: nobody reads more, and a hostile file could hold a million.
    pub const SHOWN: usize = 200;

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len() + self.more
    }
}

/// A line each, without the count.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\n… and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The last line after all problems, those of scripts included.
#[must_use]
pub fn count_line(problems: usize) -> String {
    let s = if problems == 1 { "" } else { "s" };
    format!("wsd: {problems} problem{s}, nothing was changed")
}

/// Where something stands: in which of the files that were read, and at which byte.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) offset: usize,
}

/// A problem or a warning before it has a line.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// `None`: the file as a whole, whose number this is.
    pub(super) place: Result<Place, usize>,
    pub(super) key: String,
    pub(super) what: String,
}

impl Fault {
    fn order(&self) -> (usize, usize) {
        match self.place {
            Ok(place) => (place.file, place.offset),
            Err(file) => (file, 0),
        }
    }
}

/// A file or directory that faults may be about.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// As it was asked for.
    pub(super) shown: PathBuf,
    /// Its content; empty for what could not be read.
    pub(super) text: String,
}

/// Sorts, cuts to what is shown and finds the lines.
pub(super) fn resolve(mut faults: Vec<Fault>, sources: &[Source]) -> Problems {
    faults.sort_by_key(Fault::order);
    let more = faults.len().saturating_sub(Problems::SHOWN);
    faults.truncate(Problems::SHOWN);
    let list = faults
        .into_iter()
        .filter_map(|fault| {
            let (file, offset) = match fault.place {
                Ok(place) => (place.file, Some(place.offset)),
                Err(file) => (file, None),
            };
            let source = sources.get(file)?;
            Some(Problem {
                file: source.shown.clone(),
                position: offset.map(|offset| line_and_column(&source.text, offset)),
                key: fault.key,
                what: fault.what,
            })
        })
        .collect();
    Problems {
        list,
        more,
        files: Vec::new(),
    }
}

/// Both from 1, the column in characters. An offset beyond the end is the end.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).map_or(0, |line| {
        line.trim_start_matches('\u{feff}').chars().count()
    });
    (line, column + 1)
}

/// A value of the file as messages show it: in quotes, control characters escaped, cut where it gets long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown = String::from("\"");
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.push('"');
    shown
}

/// The name that is most like `name`, if one is near enough that a slip of the finger explains it.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let wanted: Vec<char> = name.chars().take(LONGEST + 1).collect();
    if wanted.len() > LONGEST {
        return None;
    }
    let near_enough = (wanted.len() / 3).clamp(1, 3);
    names
        .map(|known| (distance(&wanted, known), known))
        .filter(|(distance, _)| *distance <= near_enough && *distance < wanted.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Insertions, deletions, replacements and swaps of neighbours from one to the other (optimal string alignment).
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let width = b.len() + 1;
    let mut two_ago: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && *x == b[j - 1] {
                best = best.min(two_ago[j - 1] + 1);
            }
            row[j + 1] = best;
        }
        two_ago = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_if_it_is_near() {
        let names = ["connections", "message", "origins", "url", "ttl", "b"];
        for (name, found) in [
            ("conections", Some("connections")),
            ("mesasge", Some("message")),
            ("origin", Some("origins")),
            ("ulr", Some("url")),
            ("tl", Some("ttl")),
            ("x", None),
            ("a", None),
            ("", None),
            ("completely_else", None),
        ] {
            assert_eq!(nearest(name, names.into_iter()), found, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(1000), names.into_iter()), None);
    }

    #[test]
    fn columns_count_characters() {
        let text = "a\nüb = 1\n";
        for (offset, position) in [
            (0, (1, 1)),
            (2, (2, 1)),
            (4, (2, 2)),
            (10, (3, 1)),
            (99, (3, 1)),
        ] {
            assert_eq!(line_and_column(text, offset), position, "{offset}");
        }
        assert_eq!(line_and_column("\u{feff}a", 3), (1, 1));
    }

    #[test]
    fn values_are_shown_safely() {
        assert_eq!(quote("a\u{1b}[0m\n"), "\"a\\u{1b}[0m\\n\"");
        assert_eq!(quote(&"x".repeat(101)), format!("\"{}…\"", "x".repeat(100)));
    }

    #[test]
    fn many_problems_are_counted_and_not_shown() {
        let fault = |offset| Fault {
            place: Ok(Place { file: 0, offset }),
            key: String::new(),
            what: "x".to_owned(),
        };
        let source = Source {
            shown: "f".into(),
            text: "\n".repeat(300),
        };
        let problems = resolve((0..300).rev().map(fault).collect(), &[source]);
        assert_eq!((problems.count(), problems.more), (300, 100));
        assert!(problems.to_string().starts_with("f:1:1: x\nf:2:1: x\n"));
        assert!(
            problems
                .to_string()
                .ends_with("\nf:200:1: x\n… and 100 more")
        );
        assert_eq!(count_line(1), "wsd: 1 problem, nothing was changed");
        assert_eq!(count_line(7), "wsd: 7 problems, nothing was changed");
    }
}
