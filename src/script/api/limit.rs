//! `limit`: rates and slots over all workers of the node. The stores are `commons/limits.rs` and `commons/holds.rs`.

use super::{Entry, key};
use crate::script::commons::HoldError;
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::Raise;
use crate::script::world::World;

pub(super) const FUNCTIONS: &[Entry] = &[(c"allow", allow), (c"hold", hold)];

/// `limit.allow(key, per_second, burst)` → whether one more may pass now, and the seconds to wait.
fn allow(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let rate = number(stack, 2, "limit.allow", "per_second", 0.0)?;
    let burst = number(stack, 3, "limit.allow", "burst", 1.0)?;
    let key = key(stack, 1, "limit.allow")?;
    let limits = &world.host.commons.limits;
    let result = limits.allow(key, rate, burst, world.monotonic(), world.capacity());
    stack.push_bool(result.is_ok());
    stack.push_number(result.err().unwrap_or(0.0));
    Ok(2)
}

/// `limit.hold(key, max)` → whether the connection has one of `max` slots.
fn hold(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let max = number(stack, 2, "limit.hold", "max", 1.0)?;
    let Some((_, conn)) = world.conn.get() else {
        return Err(
            "limit.hold: no connection's hook is running, so there is none to hold for".into(),
        );
    };
    let key = key(stack, 1, "limit.hold")?;
    match world.host.commons.holds.hold(conn, key, max) {
        Ok(()) => stack.push_bool(true),
        Err(HoldError::Full) => stack.push_bool(false),
        Err(HoldError::TooMany) => {
            return Err("limit.hold: the connection holds 64 slots already".into());
        }
    }
    Ok(1)
}

/// A number of at least `least`, which 0 is not.
fn number(stack: &Stack, place: i32, what: &str, name: &str, least: f64) -> Result<f64, Raise> {
    match stack.number(place) {
        Some(n) if n.is_finite() && n >= least && n > 0.0 => Ok(n),
        _ => {
            let value = quoted(stack, place);
            let wanted = if least > 0.0 { "at least 1" } else { "above 0" };
            Err(Raise(format!(
                "{what}: {name} is {value}; must be a number {wanted}"
            )))
        }
    }
}
