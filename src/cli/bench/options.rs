//! What `wsd bench` is told, and what follows from it.

use std::time::Duration;

use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Uri};

use super::token;
use crate::config::units;

/// `wsd bench`
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Bench {
    /// Where to connect; {} stands for the number of a channel, from 1
    #[arg(default_value = "ws://127.0.0.1:8080/bench{}")]
    url: String,
    /// How many connections, spread evenly over the channels
    #[arg(short = 'n', long, default_value_t = 100, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// How many channels: URLs that differ in {}
    #[arg(long, default_value_t = 10, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=60_000))]
    channels: u32,
    /// How many connections publish [default: one a channel]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    publishers: Option<u32>,
    /// Messages a second that are published in all [default: as many as come back]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Without --rate: messages of a publisher that have not come back yet
    #[arg(long, default_value_t = 16, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_024))]
    window: u32,
    /// How long is measured, after half a second of warming up
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Of a message
    #[arg(long, default_value = "128B", value_name = "SIZE", value_parser = size)]
    size: usize,
    /// A header of the handshake, as "Name: value"; may be repeated
    #[arg(short = 'H', long, value_name = "HEADER", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// A run that makes sense.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// With `{}` where the channel's number goes.
    pub(super) url: String,
    /// Of the URL.
    pub(super) host: String,
    /// Of the URL, 80 if it has none.
    pub(super) port: u16,
    /// At least as many as channels.
    pub(super) connections: u32,
    /// At least one.
    pub(super) channels: u32,
    /// At most as many as connections.
    pub(super) publishers: u32,
    /// Messages a second in all; `None`: a closed loop with `window`.
    pub(super) rate: Option<u32>,
    /// Messages of a publisher that have not come back.
    pub(super) window: u32,
    /// Of the measured time.
    pub(super) duration: Duration,
    /// Bytes of a message.
    pub(super) size: usize,
    /// Of every handshake, in this order.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Plan {
    /// Holds the options against each other; or says what is wrong with them.
    pub(super) fn new(options: &Bench) -> Result<Self, String> {
        let url = &options.url;
        let channels = options.channels.min(options.connections);
        let uri: Uri = url
            .replace("{}", "1")
            .parse()
            .map_err(|error| format!("\"{url}\": {error}; expected ws://HOST[:PORT]/PATH"))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => {
                return Err(format!(
                    "\"{url}\": wsd bench speaks no TLS; name the node's own listener, ws://HOST:PORT/PATH"
                ));
            }
            _ => return Err(format!("\"{url}\": expected ws://HOST[:PORT]/PATH")),
        }
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err(format!("\"{url}\": there is no host"));
        }
        if channels > 1 && !url.contains("{}") {
            return Err(format!(
                "\"{url}\" is one channel: write {{}} where the number of a channel goes, or --channels 1"
            ));
        }
        let publishers = options.publishers.unwrap_or(channels);
        if publishers > options.connections {
            return Err(format!(
                "{publishers} of {} connections cannot publish: --publishers is more than --connections",
                options.connections
            ));
        }
        let of_channel = |all: u32| u64::from(all.div_ceil(channels));
        let places = of_channel(publishers) * u64::from(options.connections);
        if places > MOST_PLACES {
            return Err(format!(
                "every connection keeps count of its channel's publishers, together {places} counts; at most {MOST_PLACES}: \
                 use fewer --publishers or more --channels"
            ));
        }
        Ok(Self {
            url: url.clone(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            connections: options.connections,
            channels,
            publishers,
            rate: options.rate,
            window: options.window,
            duration: options.duration,
            size: options.size,
            headers: options.header.clone(),
        })
    }

    /// Where a channel is, counted from 0.
    pub(super) fn url_of(&self, channel: u32) -> String {
        self.url
            .replace("{}", &(u64::from(channel) + 1).to_string())
    }

    /// How many connections a channel has. Connection n is in channel n modulo the number of channels, and the first ones
    /// publish.
    pub(super) const fn members_of(&self, channel: u32) -> u32 {
        share(self.connections, channel, self.channels)
    }

    /// How many of them publish.
    pub(super) const fn publishers_of(&self, channel: u32) -> u32 {
        share(self.publishers, channel, self.channels)
    }
}

/// How many of 0 to `all` less 1 leave this rest.
const fn share(all: u32, rest: u32, channels: u32) -> u32 {
    all / channels + if rest < all % channels { 1 } else { 0 }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = units::duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(100) || duration > Duration::from_secs(3_600) {
        return Err("must be from 100ms to 1h".to_owned());
    }
    Ok(duration)
}

fn size(text: &str) -> Result<usize, String> {
    let size = units::size(text).map_err(|error| error.to_string())?;
    usize::try_from(size)
        .ok()
        .filter(|size| (token::LEAST..=token::MOST).contains(size))
        .ok_or_else(|| {
            format!(
                "must be from {}B to {}",
                token::LEAST,
                units::show_size(token::MOST as u64)
            )
        })
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected \"Name: value\"")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| format!("\"{name}\" is no name of a header"))?;
    let value = value
        .trim()
        .parse()
        .map_err(|_| "a header's value is one line of visible characters")?;
    Ok((name, value))
}

/// Numbers of four bytes that all connections together keep: 100 MB.
const MOST_PLACES: u64 = 25_000_000;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn plan(words: &str) -> Result<Plan, String> {
        let words = words.split(' ').filter(|word| !word.is_empty());
        let line = Line::try_parse_from(["bench"].into_iter().chain(words));
        Plan::new(&line.map_err(|error| error.to_string())?.bench)
    }

    #[test]
    fn the_defaults_make_sense() {
        let plan = plan("").unwrap();
        assert_eq!(
            (plan.connections, plan.channels, plan.publishers),
            (100, 10, 10)
        );
        assert_eq!((&*plan.host, plan.port), ("127.0.0.1", 8080));
        assert_eq!(plan.url_of(9), "ws://127.0.0.1:8080/bench10");
    }

    #[test]
    fn connections_are_spread_evenly() {
        let plan = plan("-n 25 --channels 10 --publishers 12").unwrap();
        let members: Vec<u32> = (0..10).map(|channel| plan.members_of(channel)).collect();
        let publishers: Vec<u32> = (0..10).map(|channel| plan.publishers_of(channel)).collect();
        assert_eq!(members, [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]);
        assert_eq!(publishers, [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn what_makes_no_sense_is_explained() {
        for (line, words) in [
            ("http://h/", "expected ws://"),
            ("wss://h/a{}", "speaks no TLS"),
            ("ws://h/a", "--channels 1"),
            ("-n 3 --publishers 4", "more than --connections"),
            (
                "-n 60000 --channels 1 --publishers 60000",
                "use fewer --publishers",
            ),
            ("--size 10B", "from 72B to 1MiB"),
            ("--duration 2h", "from 100ms to 1h"),
            ("-H nonsense", "Name: value"),
            ("-n 0", "1..=60000"),
        ] {
            let error = plan(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
