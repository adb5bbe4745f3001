//! `metrics`: what scripts count for Prometheus. The store is `commons/registry.rs`.

use std::sync::Arc;

use super::Entry;
use crate::script::commons::{Metric, MetricKind};
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::{Kind, Raise};
use crate::script::world::{Kept, World};

pub(super) const FUNCTIONS: &[Entry] = &[
    (c"counter", |stack, world| {
        metric(stack, world, MetricKind::Counter)
    }),
    (c"gauge", |stack, world| {
        metric(stack, world, MetricKind::Gauge)
    }),
    (c"histogram", |stack, world| {
        metric(stack, world, MetricKind::Histogram)
    }),
];

/// Of what `metrics.counter` gives.
pub(in crate::script) const COUNTER: &[Entry] = &[(c"inc", |stack, world| {
    let n = amount(stack, world, MetricKind::Counter, "inc", Some(1.0))?;
    if n.1 < 0.0 {
        return Err("counter:inc: a counter only grows; a gauge goes both ways".into());
    }
    n.0.add(n.1);
    Ok(0)
})];

/// Of what `metrics.gauge` gives.
pub(in crate::script) const GAUGE: &[Entry] = &[(c"set", |stack, world| {
    let (own, n) = amount(stack, world, MetricKind::Gauge, "set", None)?;
    own.set(n);
    Ok(0)
})];

/// Of what `metrics.histogram` gives.
pub(in crate::script) const HISTOGRAM: &[Entry] = &[(c"observe", |stack, world| {
    let (own, n) = amount(stack, world, MetricKind::Histogram, "observe", None)?;
    own.observe(n);
    Ok(0)
})];

/// `metrics.counter(name [, help])`, and the other two.
fn metric(stack: &mut Stack, world: &World, kind: MetricKind) -> Result<i32, Raise> {
    let what = format!("metrics.{}", kind.name());
    stack.set_top(2);
    let Some(name) = stack.text(1).filter(|name| is_name(name)) else {
        let value = quoted(stack, 1);
        return Err(Raise(format!(
            "{what}: the name {value}: must be 1 to 100 letters, digits or _, and no digit at its beginning"
        )));
    };
    let help = match (stack.kind(2), stack.text(2)) {
        (Kind::Nil, _) => "",
        (_, Some(help)) if help.len() <= HELP_MAX => help,
        _ => {
            let value = quoted(stack, 2);
            return Err(Raise(format!(
                "{what}: the help is {value}; must be a text of at most {HELP_MAX} bytes"
            )));
        }
    };
    let host = &world.host;
    let found = host
        .commons
        .metrics
        .register(name, kind, help, host.generation)
        .map_err(|why| Raise(format!("{what}: {name:?}: {why}")))?;
    let handle = {
        let mut known = world.metrics.borrow_mut();
        let place = known.iter().position(|known| Arc::ptr_eq(known, &found));
        place.unwrap_or_else(|| {
            known.push(found);
            known.len() - 1
        })
    };
    super::push_handle(stack, of(world.kept()?, kind), handle);
    Ok(1)
}

/// Whose method is called, and with which number.
fn amount(
    stack: &mut Stack,
    world: &World,
    kind: MetricKind,
    method: &str,
    default: Option<f64>,
) -> Result<(Arc<Metric>, f64), Raise> {
    let name = kind.name();
    let handle = super::handle(stack, of(world.kept()?, kind));
    let own = {
        let known = world.metrics.borrow();
        handle.and_then(|handle| known.get(handle).map(Arc::clone))
    };
    let Some(own) = own else {
        return Err(Raise(format!(
            "{name}:{method}: called without its {name}; write m:{method}(…), with a colon"
        )));
    };
    match (stack.kind(2), stack.number(2), default) {
        (Kind::Nil | Kind::None, _, Some(n)) => Ok((own, n)),
        (_, Some(n), _) if n.is_finite() => Ok((own, n)),
        _ => {
            let value = quoted(stack, 2);
            Err(Raise(format!(
                "{name}:{method}: is given {value}; must be a number"
            )))
        }
    }
}

const fn of(kept: Kept, kind: MetricKind) -> super::Handle {
    match kind {
        MetricKind::Counter => kept.counter,
        MetricKind::Gauge => kept.gauge,
        MetricKind::Histogram => kept.histogram,
    }
}

/// What Prometheus takes, which `wsd_lua_` comes before.
fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Bytes of a help.
const HELP_MAX: usize = 1000;
