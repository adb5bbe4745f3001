//! The configurations that a simulation runs with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wsd::config::{
    ChannelPolicy, ChannelRule, ChannelTemplate, Config, Delivery, Format, Glob, OnGap,
    PathPattern, PublishWindow, Route, Segment, TemplatePiece, WhenFull,
};
use wsd::types::StagesId;

use crate::dice::Dice;

/// The channels that clients name.
pub(crate) const CHANNELS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What never changes in one run.
pub(crate) struct Settings {
    pub(crate) queue: usize,
    pub(crate) when_full: BTreeMap<&'static str, WhenFull>,
}

/// The first segment of each route's path: echo, publish, and its list of stages.
const ROUTES: [(&str, bool, bool, u32); 7] = [
    ("all", true, true, 0),
    ("quiet", false, true, 0),
    ("plain", true, true, 1),
    ("plainquiet", false, true, 1),
    ("second", true, true, 2),
    ("same", false, true, 3),
    ("listen", true, false, 0),
];

/// A route that joins the channel that its path names.
pub(crate) fn route(dice: &mut Dice) -> &'static str {
    // The first two have all the hooks.
    let index = if dice.one_in(2) {
        dice.below(2)
    } else {
        dice.below(ROUTES.len())
    };
    ROUTES[index].0
}

impl Settings {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let tight = dice.one_in(2);
        let policies = [
            WhenFull::Disconnect,
            WhenFull::DropNewest,
            WhenFull::DropOldest,
            WhenFull::KeepLatest,
        ];
        Self {
            queue: if tight { 700 } else { 64 << 20 },
            when_full: CHANNELS
                .into_iter()
                .map(|name| (name, dice.pick(&policies)))
                .collect(),
        }
    }

    pub(crate) const fn is_tight(&self) -> bool {
        self.queue < 1 << 20
    }

    /// One configuration; another each time.
    pub(crate) fn config(&self, dice: &mut Dice) -> Config {
        let mut config = Config {
            queue: self.queue,
            ..Config::default()
        };
        config.limits.subscriptions = 4;
        config.listen.handshake_timeout = Duration::from_secs(10);
        config.routes = ROUTES
            .iter()
            .map(|&(name, echo, publish, stages)| {
                let path = vec![
                    Segment::Literal(name.to_owned()),
                    Segment::Param("name".to_owned()),
                ];
                let pieces = vec![TemplatePiece::Param("name".to_owned())];
                Arc::new(Route {
                    name: Arc::from(name),
                    path: PathPattern::Segments(path),
                    channel: ChannelTemplate::Pieces(pieces),
                    hooks: StagesId(stages),
                    publish,
                    echo,
                    channels: Vec::new(),
                })
            })
            .collect();
        config.routes.push(Arc::new(Route {
            name: Arc::from("none"),
            path: PathPattern::Segments(vec![Segment::Literal("none".to_owned())]),
            channel: ChannelTemplate::None,
            hooks: StagesId::ALL,
            publish: true,
            echo: dice.one_in(2),
            channels: Vec::new(),
        }));
        config.stages = vec![
            None,
            Some(Arc::from([])),
            Some(Arc::from(["2.lua".to_owned()])),
            Some(Arc::from(["2.lua".to_owned()])),
        ];
        config.channels = CHANNELS
            .into_iter()
            .map(|name| ChannelRule {
                pattern: Glob::new(name),
                policy: Arc::new(policy(dice, self.when_full[name])),
            })
            .collect();
        let mut rest = (*config.channel_default).clone();
        rest.delivery.when_full = WhenFull::Disconnect;
        config.channel_default = Arc::new(rest);
        config
    }
}

fn policy(dice: &mut Dice, when_full: WhenFull) -> ChannelPolicy {
    let windows = [0, 0, 20, 200].map(Duration::from_millis);
    ChannelPolicy {
        publish: PublishWindow {
            window: dice.pick(&windows),
            max_messages: dice.pick(&[1, 2, 5, 100]),
            max_bytes: dice.pick(&[40, 100, 400, 10_000]),
        },
        delivery: Delivery {
            window: dice.pick(&windows),
            format: dice.pick(&[Format::Message, Format::JsonArray, Format::Lines]),
            max_messages: dice.pick(&[1, 2, 5, 100]),
            max_bytes: dice.pick(&[40, 100, 300]),
            when_full,
        },
        history_size: 0,
        history_ttl: Duration::ZERO,
        replay: 0,
        on_gap: OnGap::Ignore,
    }
}
