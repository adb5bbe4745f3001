//! The page of the admin address: its files, and what it must know of the configuration.
//!
//! [pure] The files are part of the program, so the page needs no network but wsd's own. It is read-only: what it sends
//! goes over WebSocket, as from any client. Used by `http.rs`; the files are in `etc/demo/`.

use serde_json::{Value, json};

use crate::config::{Address, ChannelTemplate, Config, Format, PathPattern, Route, TemplatePiece};
use crate::types::ChannelName;

/// What the page may do: its own files, and WebSockets to anywhere, as the listener is on another port or host.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page and its media type.
pub(super) fn file(path: &str) -> Option<(&'static [u8], &'static str)> {
    match path {
        "/" => Some((
            include_bytes!("../../../etc/demo/index.html"),
            "text/html; charset=utf-8",
        )),
        "/demo.css" => Some((
            include_bytes!("../../../etc/demo/demo.css"),
            "text/css; charset=utf-8",
        )),
        "/demo.js" => Some((
            include_bytes!("../../../etc/demo/demo.js"),
            "text/javascript; charset=utf-8",
        )),
        _ => None,
    }
}

/// Where clients connect and which routes there are, for `demo.js`.
pub(super) fn json(config: &Config, listeners: &[Address]) -> String {
    let listeners: Vec<_> = listeners.iter().filter_map(listener).collect();
    let routes: Vec<_> = config.routes.iter().map(|one| route(config, one)).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "listeners": listeners,
        "routes": routes,
    })
    .to_string()
}

/// A browser cannot connect to a Unix socket.
fn listener(address: &Address) -> Option<Value> {
    match address {
        Address::Tcp(tcp) => Some(json!({
            "host": tcp.ip().to_string(),
            "port": tcp.port(),
            "any": tcp.ip().is_unspecified(),
            "loopback": tcp.ip().is_loopback(),
        })),
        Address::Unix(_) => None,
    }
}

fn route(config: &Config, route: &Route) -> Value {
    let path = match route.path {
        PathPattern::Any => "/{channel*}",
        PathPattern::Segments(_) => &route.name,
    };
    let channel = channel(&route.channel);
    // A channel that the path decides has no policy yet; what holds for the rest is the best guess.
    let policy = ChannelName::new(&channel)
        .map_or(&config.channel_default, |channel| config.policy(&channel));
    let hooks = usize::try_from(route.hooks.0)
        .ok()
        .and_then(|index| config.stages.get(index))
        .and_then(Option::as_ref);
    json!({
        "path": path,
        "channel": channel,
        // null: every script.
        "hooks": hooks.map(|names| names.to_vec()),
        "publish": route.publish,
        "echo": route.echo,
        "format": match policy.delivery.format {
            Format::JsonArray => "json-array",
            Format::Lines => "lines",
            Format::Message => "message",
        },
        "window": policy.delivery.window.as_secs_f64(),
    })
}

/// As it is written in the configuration.
fn channel(template: &ChannelTemplate) -> String {
    match template {
        ChannelTemplate::None => String::new(),
        ChannelTemplate::Path => "{channel*}".to_owned(),
        ChannelTemplate::Pieces(pieces) => pieces
            .iter()
            .map(|piece| match piece {
                TemplatePiece::Text(text) => text.clone(),
                TemplatePiece::Param(name) => format!("{{{name}}}"),
            })
            .collect(),
    }
}
