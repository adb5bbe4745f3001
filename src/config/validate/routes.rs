//! `[[route]]`

use std::path::Path;
use std::sync::Arc;

use super::super::check::{Check, Faults};
use super::super::pattern;
use super::super::problem::{Place, quote};
use super::super::raw::{Node, Table};
use super::super::route::{ChannelTemplate, PathPattern, Route};
use super::super::values::{flag, list, parsed, set, text};
use super::channels::glob;
use super::hooks::stage_problem;
use crate::types::StagesId;

/// The routes in the order in which they are tried; without any the one for all.
pub(super) fn routes(check: &mut Check<'_>, directory: &Path) -> Vec<Arc<Route>> {
    let items = check.items("route");
    if items.is_empty() {
        return vec![Arc::new(Route::any())];
    }
    let mut routes: Vec<(Arc<Route>, Place)> = Vec::new();
    for (item, place) in items {
        let Some((route, place)) = route(check, item, place, directory) else {
            continue;
        };
        if let Some((earlier, before)) = routes
            .iter()
            .find(|(earlier, _)| earlier.path.covers(&route.path))
        {
            check.warning(place, "route.path", |check| {
                format!(
                    "{}: can never match: {} at {} stands before it",
                    quote(&route.name),
                    quote(&earlier.name),
                    check.shown_place(*before)
                )
            });
        }
        routes.push((Arc::new(route), place));
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

/// A route and the place of its path.
fn route(
    check: &mut Check<'_>,
    item: &Table,
    place: Place,
    directory: &Path,
) -> Option<(Route, Place)> {
    let written = item.find("path");
    let path = check.item_own(
        item,
        "route.path",
        |node: &Node, faults: &mut Faults<'_>| {
            let path = parsed(pattern::path)(node, faults)?;
            Some((text(node, faults)?, path, node.place))
        },
    );
    if written.is_none() {
        let what = "is missing; a route needs a path, as in path = \"/chat\"";
        check.fault(place, "route.path", what);
    }
    let known: Option<&PathPattern> = path.as_ref().map(|(_, pattern, _)| pattern);
    let channel = check.item_own(
        item,
        "route.channel",
        parsed(|text: &str| pattern::channel(text, known)),
    );
    let hooks = stages(check, item, directory);
    let publish = check.item_key(item, "route.publish", flag);
    let echo = check.item_key(item, "route.echo", flag);
    let channels = check.item_key(item, "route.channels", set(glob));
    let (name, path, place) = path?;
    let route = Route {
        name: Arc::from(name),
        path,
        channel: channel.unwrap_or(ChannelTemplate::Path),
        hooks,
        publish,
        echo,
        channels,
    };
    Some((route, place))
}

fn stages(check: &mut Check<'_>, item: &Table, directory: &Path) -> StagesId {
    let Some(named) = check.item_own(item, "route.hooks", list(text)) else {
        return StagesId::ALL;
    };
    let mut names: Vec<String> = Vec::new();
    for (name, place) in named {
        let problem = check
            .scripts
            .as_ref()
            .and_then(|scripts| stage_problem(&name, scripts, directory));
        if let Some(what) = problem {
            check.fault(place, "route.hooks", what);
        } else if names.contains(&name) {
            let what = format!(
                "{}: stands twice in the list; a script is one stage",
                quote(&name)
            );
            check.fault(place, "route.hooks", what);
        }
        names.push(name);
    }
    check.stages.intern(names)
}
