//! [pure] Reads `path` and `channel` of a route.
//!
//! What they mean is in `route.rs`.

use super::percent;
use super::route::{ChannelTemplate, PathPattern, Segment, TemplatePiece};
use crate::types::{ChannelName, ChannelNameError};

/// Why a text is no path or channel of a route.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("\"{{\" and \"}}\" must come in pairs around a name, as in \"{{room}}\"")]
    Brace,
    #[error(transparent)]
    Channel(#[from] ChannelNameError),
    #[error("a path has no \"?\" and no \"#\"")]
    Query,
    #[error("must begin with a slash, as in \"/chat\"")]
    NoSlash,
    #[error("\"{{{0}}}\" is not in the path; it has {1}")]
    NotInPath(String, String),
    #[error("\"{{{0}}}\" stands twice; each name must be another")]
    ParamTwice(String),
    #[error(
        "\"{{{0}}}\": a name in braces has letters, digits and \"_\" and does not begin with a digit"
    )]
    ParamName(String),
    #[error("a \"{{name}}\" must be a whole segment, from slash to slash")]
    PartOfSegment,
    #[error("\"%\" must be followed by two hexadecimal digits, and the whole must be UTF-8")]
    Percent,
    #[error("\"{{{0}*}}\" takes all that is left, so it must be the last segment")]
    RestNotLast(String),
    #[error("spaces and control characters must be percent-encoded")]
    Space,
}

/// Reads `"/rooms/{room}"`.
pub(super) fn path(text: &str) -> Result<PathPattern, PatternError> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(PatternError::Space);
    }
    if text.contains(['?', '#']) {
        return Err(PatternError::Query);
    }
    let rest = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
    let mut segments = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let count = rest.split('/').count();
    for (at, part) in rest.split('/').enumerate() {
        if !part.contains(['{', '}']) {
            let literal = percent::decode(part).ok_or(PatternError::Percent)?;
            segments.push(Segment::Literal(literal));
            continue;
        }
        let (open, close) = (part.matches('{').count(), part.matches('}').count());
        if open != close {
            return Err(PatternError::Brace);
        }
        let inner = part
            .strip_prefix('{')
            .and_then(|inner| inner.strip_suffix('}'))
            .filter(|_| open == 1)
            .ok_or(PatternError::PartOfSegment)?;
        let (name, is_rest) = match inner.strip_suffix('*') {
            Some(name) => (name, true),
            None => (inner, false),
        };
        check_name(name)?;
        if is_rest && at + 1 < count {
            return Err(PatternError::RestNotLast(name.to_owned()));
        }
        if names.iter().any(|known| known == name) {
            return Err(PatternError::ParamTwice(name.to_owned()));
        }
        names.push(name.to_owned());
        segments.push(if is_rest {
            Segment::Rest(name.to_owned())
        } else {
            Segment::Param(name.to_owned())
        });
    }
    Ok(PathPattern::Segments(segments))
}

/// Reads `"room:{room}"`; the names must be those of `path`, where that could be read.
pub(super) fn channel(
    text: &str,
    path: Option<&PathPattern>,
) -> Result<ChannelTemplate, PatternError> {
    if text.is_empty() {
        return Ok(ChannelTemplate::None);
    }
    let mut pieces = Vec::new();
    // What the name is when every param is as short as it can be.
    let mut shortest = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        let inner = from.strip_prefix('{').ok_or(PatternError::Brace)?;
        let (name, after) = inner.split_once('}').ok_or(PatternError::Brace)?;
        // The star belongs to the path; who repeats it means the same.
        let name = name.strip_suffix('*').unwrap_or(name);
        check_name(name)?;
        if let Some(path) = path {
            let names = path.names();
            if !names.contains(&name) {
                return Err(PatternError::NotInPath(name.to_owned(), listed(&names)));
            }
        }
        if !before.is_empty() {
            pieces.push(TemplatePiece::Text(before.to_owned()));
        }
        pieces.push(TemplatePiece::Param(name.to_owned()));
        shortest.push_str(before);
        shortest.push('x');
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(TemplatePiece::Text(rest.to_owned()));
        shortest.push_str(rest);
    }
    ChannelName::public(&shortest)?;
    Ok(ChannelTemplate::Pieces(pieces))
}

impl PathPattern {
    /// The names in braces.
    fn names(&self) -> Vec<&str> {
        let Self::Segments(segments) = self else {
            return Vec::new();
        };
        segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Literal(_) => None,
                Segment::Param(name) | Segment::Rest(name) => Some(name.as_str()),
            })
            .collect()
    }
}

impl ChannelTemplate {
    /// As the operator writes it; `None` for the path itself, which has no text.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::None => Some(String::new()),
            Self::Path => None,
            Self::Pieces(pieces) => Some(
                pieces
                    .iter()
                    .map(|piece| match piece {
                        TemplatePiece::Text(text) => text.clone(),
                        TemplatePiece::Param(name) => format!("{{{name}}}"),
                    })
                    .collect(),
            ),
        }
    }
}

fn check_name(name: &str) -> Result<(), PatternError> {
    let fine = !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fine {
        Ok(())
    } else {
        Err(PatternError::ParamName(name.escape_debug().to_string()))
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "no names in braces".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{{{name}}}\"")).collect();
    quoted.join(", ")
}
