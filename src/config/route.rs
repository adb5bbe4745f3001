//! [pure] Routes: from a request's path to a channel.
//!
//! `pattern.rs` reads what the operator wrote; here it is matched. `worker` asks [`Config::route`] once a handshake.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Config, Glob, percent};
use crate::types::{ChannelName, StagesId};

/// `[[route]]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// As written; empty for the route that is there without any.
    pub name: Arc<str>,
    /// What it matches.
    pub path: PathPattern,
    /// What its connections join.
    pub channel: ChannelTemplate,
    /// Which scripts see its messages.
    pub hooks: StagesId,
    /// May clients publish?
    pub publish: bool,
    /// Does the sender get its own message?
    pub echo: bool,
    /// What `wsd.v1` clients may name besides their own channel.
    pub channels: Vec<Glob>,
}

impl Route {
    /// The route that is there without any: every path, channel = path without its slash, all hooks.
    #[must_use]
    pub fn any() -> Self {
        Self {
            name: Arc::from(""),
            path: PathPattern::Any,
            channel: ChannelTemplate::Path,
            hooks: StagesId::ALL,
            publish: true,
            echo: true,
            channels: Vec::new(),
        }
    }

    /// The route of wsd's own connections: no hook, no channel, it publishes nothing.
    #[must_use]
    pub fn internal() -> Self {
        Self {
            channel: ChannelTemplate::None,
            publish: false,
            ..Self::any()
        }
    }
}

/// `path` of a route, taken apart at the slashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathPattern {
    /// Every path: the route that is there without any.
    Any,
    /// These segments and no more.
    Segments(Vec<Segment>),
}

/// One segment of a route's path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Segment {
    /// This text, percent-decoded.
    Literal(String),
    /// `{name}`: one segment that is not empty.
    Param(String),
    /// `{name*}`: all that is left, at least one segment and not empty; only at the end.
    Rest(String),
}

/// `channel` of a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChannelTemplate {
    /// `""`
    None,
    /// The path without its slash, `default` for `/` itself.
    Path,
    /// Pieces of text and names of the path's params.
    Pieces(Vec<TemplatePiece>),
}

/// A piece of a [`ChannelTemplate`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TemplatePiece {
    /// As it stands.
    Text(String),
    /// What that param matched.
    Param(String),
}

/// What the params of a path matched, decoded, in the order of the path.
pub type Params = Box<[(Box<str>, Box<str>)]>;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// The first that matches.
    pub route: Arc<Route>,
    /// What its `{names}` matched.
    pub params: Params,
    /// What the connection joins; `None`: nothing, its hooks decide.
    pub channel: Option<ChannelName>,
}

impl Config {
    /// The route of a request's path, which is percent-encoded as it came and without a query.
    ///
    /// The first that matches alone counts. `None` is answered with 404: no route matches, or the path makes no valid
    /// channel.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<RouteMatch> {
        let segments = path
            .strip_prefix('/')?
            .split('/')
            .map(percent::decode)
            .collect::<Option<Vec<String>>>()?;
        self.routes
            .iter()
            .find_map(|route| {
                let params = route.path.matches(&segments)?;
                Some((route, params))
            })
            .and_then(|(route, params)| {
                Some(RouteMatch {
                    channel: route.channel.channel(&segments, &params)?,
                    route: Arc::clone(route),
                    params,
                })
            })
    }
}

impl PathPattern {
    /// The params if these decoded segments fit.
    fn matches(&self, segments: &[String]) -> Option<Params> {
        let Self::Segments(pattern) = self else {
            return Some(Box::default());
        };
        let mut params = Vec::new();
        let mut rest = segments;
        for segment in pattern {
            let (first, after) = rest.split_first()?;
            match segment {
                Segment::Literal(text) if text == first => rest = after,
                Segment::Param(name) if !first.is_empty() => {
                    params.push((name.as_str().into(), first.as_str().into()));
                    rest = after;
                }
                Segment::Rest(name) => {
                    let all = rest.join("/");
                    if all.is_empty() {
                        return None;
                    }
                    params.push((name.as_str().into(), all.into()));
                    rest = &[];
                }
                Segment::Literal(_) | Segment::Param(_) => return None,
            }
        }
        rest.is_empty().then(|| params.into())
    }

    /// Whether every path that fits `other` fits this too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let Self::Segments(own) = self else {
            return true;
        };
        let Self::Segments(other) = other else {
            return false;
        };
        let mut rest = other.as_slice();
        for segment in own {
            let Some((first, after)) = rest.split_first() else {
                return false;
            };
            let covered = match (segment, first) {
                (Segment::Literal(a), Segment::Literal(b)) => a == b,
                (Segment::Param(_), Segment::Literal(b)) => !b.is_empty(),
                (Segment::Param(_), Segment::Param(_)) => true,
                (Segment::Rest(_), first) => {
                    return !after.is_empty()
                        || !matches!(first, Segment::Literal(text) if text.is_empty());
                }
                (Segment::Literal(_), _) | (Segment::Param(_), Segment::Rest(_)) => false,
            };
            if !covered {
                return false;
            }
            rest = after;
        }
        rest.is_empty()
    }
}

impl ChannelTemplate {
    /// The channel for a path: `Some(None)` if there is to be none, `None` if what comes out is no channel name.
    #[expect(
        clippy::option_option,
        reason = "no channel is an answer, a bad one is a refusal"
    )]
    fn channel(&self, segments: &[String], params: &Params) -> Option<Option<ChannelName>> {
        let name = match self {
            Self::None => return Some(None),
            Self::Path => {
                let path = segments.join("/");
                if path.is_empty() {
                    "default".to_owned()
                } else {
                    path
                }
            }
            Self::Pieces(pieces) => {
                let mut name = String::new();
                for piece in pieces {
                    match piece {
                        TemplatePiece::Text(text) => name.push_str(text),
                        TemplatePiece::Param(param) => {
                            let (_, value) = params.iter().find(|(known, _)| **known == **param)?;
                            let _ = name.write_str(value);
                        }
                    }
                }
                name
            }
        };
        ChannelName::public(&name).ok().map(Some)
    }
}
