//! [pure] The effective configuration as TOML: what `wsd check --print` prints.
//!
//! Every key is there, so that what is printed can be loaded again and gives the same configuration. Secrets are the
//! exception: one that stands in a file is printed as a comment with stars.

use std::fmt::Write as _;
use std::time::Duration;

use toml::Value;

use super::keys::{ARRAYS, FREE, KEYS};
use super::units::{show_duration, show_share, show_size};
use super::{
    ChannelPolicy, Config, Delivery, Format, OnError, OnGap, PublishWindow, Secret, WhenFull,
};
use crate::types::StagesId;

impl Config {
    /// The effective configuration as TOML, without its secrets.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut table = "";
        for key in KEYS {
            let Some((of, name)) = key.path.rsplit_once('.') else {
                continue;
            };
            let array = ARRAYS
                .iter()
                .any(|array| of.split('.').next() == Some(array));
            if array || key.path == FREE {
                continue;
            }
            let Some(value) = self.key_text(key.path) else {
                continue;
            };
            if of != table {
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}[{of}]");
                table = of;
            }
            // What cannot be shown is a comment, and holds no line break.
            let hidden = if value.starts_with("\"***\"") {
                "# "
            } else {
                ""
            };
            let _ = writeln!(text, "{hidden}{name} = {value}");
        }
        let _ = write!(text, "\n[{FREE}]\n{}", self.settings_text());
        text.push_str(&self.routes_text());
        text.push_str(&self.channels_text());
        text
    }

    /// The value of a key as it would stand in the file; `None` for keys of `[[route]]`, `[[channel]]` and
    /// `[hooks.settings]`, and of `[tls]` where there is none.
    pub(super) fn key_text(&self, path: &str) -> Option<String> {
        let (table, name) = path.split_once('.')?;
        match table {
            "listen" | "runtime" | "broker" | "admin" | "log" => self.node_text(path),
            "tls" => self.tls_text(name),
            "hooks" => self.hooks_text(name),
            "publish" => publish_text(&self.channel_default.publish, name),
            "delivery" if name == "queue" => Some(size(self.queue)),
            "delivery" => delivery_text(&self.channel_default.delivery, name),
            "limits" | "compression" | "heartbeat" | "drain" => self.connection_text(path),
            _ => None,
        }
    }

    /// What concerns the node.
    fn node_text(&self, path: &str) -> Option<String> {
        let (listen, broker, admin) = (&self.listen, &self.broker, &self.admin);
        Some(match path {
            "listen.addresses" => list(&listen.addresses),
            "listen.backlog" => listen.backlog.to_string(),
            "listen.proxy_protocol" => listen.proxy_protocol.to_string(),
            "listen.trusted_proxies" => list(&listen.trusted_proxies),
            "listen.handshake_timeout" => duration(listen.handshake_timeout),
            "runtime.workers" => self.runtime.workers.to_string(),
            "broker.url" => quoted(&broker.url.to_string()),
            "broker.prefix" => quoted(&broker.prefix),
            "broker.username" => quoted(&broker.username),
            "broker.password" => secret(&broker.password),
            "broker.buffer" => size(broker.buffer),
            "broker.buffer_for" => duration(broker.buffer_for),
            "broker.probe" => duration(broker.probe),
            "admin.control" => quoted(&admin.control.display().to_string()),
            "admin.http" => quoted(
                &admin
                    .http
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
            ),
            "admin.token" => secret(&admin.token),
            "log.level" => quoted(&self.log.to_string()),
            _ => return None,
        })
    }

    fn tls_text(&self, name: &str) -> Option<String> {
        let tls = self.tls.as_ref()?;
        Some(match name {
            "certificate" => quoted(&tls.certificate.to_string()),
            "key" => quoted(&tls.key.to_string()),
            _ => return None,
        })
    }

    fn hooks_text(&self, name: &str) -> Option<String> {
        let hooks = &self.hooks;
        let (limit, on_error, breaker) = (&hooks.time_limit, &hooks.on_error, &hooks.breaker);
        Some(match name {
            "directory" => quoted(&hooks.directory.display().to_string()),
            "modules" => quoted(&hooks.modules.display().to_string()),
            "memory" => size(hooks.memory),
            "shared" => size(hooks.shared),
            "share" => quoted(&show_share(hooks.share)),
            "watch" => hooks.watch.to_string(),
            "test" => hooks.test.to_string(),
            "time_limit.connect" => duration(limit.connect),
            "time_limit.subscribe" => duration(limit.subscribe),
            "time_limit.message" => duration(limit.message),
            "time_limit.batch" => duration(limit.batch),
            "time_limit.disconnect" => duration(limit.disconnect),
            "time_limit.timer" => duration(limit.timer),
            "time_limit.load" => duration(limit.load),
            "on_error.connect" => failure(on_error.connect),
            "on_error.subscribe" => failure(on_error.subscribe),
            "on_error.message" => failure(on_error.message),
            "on_error.batch" => failure(on_error.batch),
            "breaker.cuts" => breaker.cuts.to_string(),
            "breaker.window" => duration(breaker.window),
            "breaker.cooldown" => duration(breaker.cooldown),
            _ => return None,
        })
    }

    /// What concerns each connection.
    fn connection_text(&self, path: &str) -> Option<String> {
        let (limits, compression) = (&self.limits, &self.compression);
        Some(match path {
            "compression.enabled" => compression.enabled.to_string(),
            "compression.level" => compression.level.to_string(),
            "compression.min_size" => size(compression.min_size),
            "heartbeat.interval" => duration(self.heartbeat.interval),
            "heartbeat.timeout" => duration(self.heartbeat.timeout),
            "limits.connections" => limits.connections.to_string(),
            "limits.connections_per_address" => limits.connections_per_address.to_string(),
            "limits.accept_rate" => limits.accept_rate.to_string(),
            "limits.message" => size(limits.message),
            "limits.messages_per_second" => limits.messages_per_second.to_string(),
            "limits.messages_burst" => limits.messages_burst.to_string(),
            "limits.bytes_per_second" => limits.bytes_per_second.to_string(),
            "limits.subscriptions" => limits.subscriptions.to_string(),
            "limits.origins" => list(&limits.origins),
            "drain.over" => duration(self.drain.over),
            "drain.restart_over" => duration(self.drain.restart_over),
            _ => return None,
        })
    }

    pub(super) fn settings_text(&self) -> String {
        let mut text = String::new();
        for (name, setting) in &self.hooks.settings {
            let _ = write!(text, "{} = ", quoted(name));
            value(setting, &mut text);
            text.push('\n');
        }
        text
    }

    /// `[[route]]`; nothing for the route that is there without any.
    pub(super) fn routes_text(&self) -> String {
        let mut text = String::new();
        for route in self.routes.iter().filter(|route| !route.name.is_empty()) {
            let _ = writeln!(text, "\n[[route]]\npath = {}", quoted(&route.name));
            match route.channel.text() {
                Some(channel) => {
                    let _ = writeln!(text, "channel = {}", quoted(&channel));
                }
                None => text.push_str("# channel: the path without its slash\n"),
            }
            match self
                .stages
                .get(usize::try_from(route.hooks.0).unwrap_or(usize::MAX))
            {
                Some(Some(names)) if route.hooks != StagesId::ALL => {
                    let _ = writeln!(text, "hooks = {}", list(names));
                }
                _ => text.push_str("# hooks: every script in hooks.directory\n"),
            }
            let globs: Vec<&str> = route.channels.iter().map(super::Glob::as_str).collect();
            let _ = writeln!(text, "publish = {}\necho = {}", route.publish, route.echo);
            let _ = writeln!(text, "channels = {}", list(&globs));
        }
        text
    }

    fn channels_text(&self) -> String {
        let mut text = String::new();
        for rule in &self.channels {
            let _ = writeln!(
                text,
                "\n[[channel]]\nmatch = {}",
                quoted(rule.pattern.as_str())
            );
            text.push_str(&policy(&rule.policy));
        }
        text
    }
}

fn policy(policy: &ChannelPolicy) -> String {
    let on_gap = match policy.on_gap {
        OnGap::Close => "close",
        OnGap::Ignore => "ignore",
    };
    let inline = |text: &dyn Fn(&str) -> Option<String>, names: &[&str]| {
        let pairs: Vec<String> = names
            .iter()
            .filter_map(|name| Some(format!("{name} = {}", text(name)?)))
            .collect();
        format!("{{ {} }}", pairs.join(", "))
    };
    let delivery = inline(
        &|name| delivery_text(&policy.delivery, name),
        &["window", "format", "max_messages", "max_bytes", "when_full"],
    );
    let publish = inline(
        &|name| publish_text(&policy.publish, name),
        &["window", "max_messages", "max_bytes"],
    );
    format!(
        "history = {{ size = {}, ttl = {} }}\nreplay = {}\non_gap = \"{on_gap}\"\ndelivery = {delivery}\npublish = {publish}\n",
        policy.history_size,
        duration(policy.history_ttl),
        policy.replay,
    )
}

fn publish_text(publish: &PublishWindow, name: &str) -> Option<String> {
    Some(match name {
        "window" => duration(publish.window),
        "max_messages" => publish.max_messages.to_string(),
        "max_bytes" => size(publish.max_bytes),
        _ => return None,
    })
}

fn delivery_text(delivery: &Delivery, name: &str) -> Option<String> {
    Some(match name {
        "window" => duration(delivery.window),
        "format" => quoted(match delivery.format {
            Format::JsonArray => "json-array",
            Format::Lines => "lines",
            Format::Message => "message",
        }),
        "max_messages" => delivery.max_messages.to_string(),
        "max_bytes" => size(delivery.max_bytes),
        "when_full" => quoted(match delivery.when_full {
            WhenFull::Disconnect => "disconnect",
            WhenFull::DropNewest => "drop-newest",
            WhenFull::DropOldest => "drop-oldest",
            WhenFull::KeepLatest => "keep-latest",
        }),
        _ => return None,
    })
}

fn failure(on_error: OnError) -> String {
    quoted(match on_error {
        OnError::Pass => "pass",
        OnError::Refuse => "refuse",
    })
}

fn duration(duration: Duration) -> String {
    quoted(&show_duration(duration))
}

fn size(bytes: usize) -> String {
    quoted(&show_size(bytes as u64))
}

fn secret(secret: &Secret) -> String {
    match secret.credential() {
        Some(name) => quoted(&format!("credential:{name}")),
        None if secret.is_empty() => quoted(""),
        None => "\"***\"  # is set, and not shown".to_owned(),
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A value on one line.
fn value(of: &Value, text: &mut String) {
    match of {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                value(item, text);
            }
            text.push(']');
        }
        Value::Boolean(flag) => text.push_str(&flag.to_string()),
        Value::Datetime(time) => text.push_str(&time.to_string()),
        // With a dot or an exponent, so that it stays a float; `inf` and `nan` are TOML too, but for the capital.
        Value::Float(number) => text.push_str(&format!("{number:?}").to_ascii_lowercase()),
        Value::Integer(number) => text.push_str(&number.to_string()),
        Value::String(string) => text.push_str(&quoted(string)),
        Value::Table(table) => {
            text.push('{');
            for (index, (name, item)) in table.iter().enumerate() {
                text.push_str(if index == 0 { " " } else { ", " });
                let _ = write!(text, "{} = ", quoted(name));
                value(item, text);
            }
            text.push_str(" }");
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
