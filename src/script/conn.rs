//! The connection as scripts see it: a Lua table, made when a hook first needs it.
//!
//! A table because reading a field of one costs a tenth of asking Rust. What may be assigned (`user`, `channel`,
//! `protocol`) is compared after a normal return and becomes an effect; a call that fails has its assignments taken
//! back at the next one. Methods are in `api/channel.rs`, `conn.data`'s bytes in `data.rs`.

use std::collections::HashMap;

use super::raw::{Ref, Stack};
use super::value::{Kind, Raise};
use super::world::{Kept, World};
use super::{convert, data};
use crate::config::Level;
use crate::pipeline::{Effect, Hook, Peer, Who};
use crate::types::{ChannelName, ConnId};
use crate::wire::Upgrade;

/// Every connection that has a table or data waiting for one.
#[derive(Default)]
pub(super) struct Conns {
    /// By slot.
    slots: Vec<Option<Entry>>,
    /// By the table's identity in Lua.
    tables: HashMap<usize, ConnId>,
    /// `conn.data` of an earlier state, until a hook needs the table.
    saved: HashMap<ConnId, Box<[u8]>>,
}

/// A connection's table and what stands in it.
struct Entry {
    generation: u32,
    table: Ref,
    identity: usize,
    /// As the worker last had it.
    peer: Assigned,
    /// As it stands in the table after the last call that returned.
    table_has: Assigned,
    /// A call failed: the table may have what it must not.
    dirty: bool,
    /// `headers`, `query` and `cookies` are there.
    opening: bool,
}

/// What both the worker and scripts change.
#[derive(Clone, Default, PartialEq)]
struct Assigned {
    user: Option<Box<str>>,
    channel: Option<ChannelName>,
}

impl Assigned {
    fn of(peer: &Peer) -> Self {
        Self {
            user: peer.user.clone(),
            channel: peer.channel.clone(),
        }
    }

    fn is(&self, peer: &Peer) -> bool {
        self.user == peer.user && self.channel == peer.channel
    }
}

impl Conns {
    fn entry(&mut self, conn: ConnId) -> Option<&mut Entry> {
        self.slots
            .get_mut(usize::try_from(conn.slot).ok()?)?
            .as_mut()
            .filter(|entry| entry.generation == conn.generation)
    }

    /// The connection of a table.
    pub(super) fn of_table(&self, identity: usize) -> Option<ConnId> {
        self.tables.get(&identity).copied()
    }

    /// The table of a connection, if it has one.
    pub(super) fn table(&mut self, conn: ConnId) -> Option<Ref> {
        self.entry(conn).map(|entry| entry.table)
    }

    /// Its user, as scripts last left it.
    pub(super) fn user(&self, conn: ConnId) -> Option<String> {
        let entry = self.slots.get(usize::try_from(conn.slot).ok()?)?.as_ref()?;
        entry.table_has.user.as_deref().map(ToOwned::to_owned)
    }

    /// Bytes of an earlier state, which nobody has needed yet.
    pub(super) fn saved(&self, conn: ConnId) -> Option<&[u8]> {
        self.saved.get(&conn).map(|bytes| &**bytes)
    }

    /// Keeps the bytes until a hook needs them.
    pub(super) fn save(&mut self, conn: ConnId, bytes: Box<[u8]>) {
        self.saved.insert(conn, bytes);
    }

    /// All that have a table.
    pub(super) fn with_table(&self) -> Vec<ConnId> {
        self.tables.values().copied().collect()
    }

    /// All bytes that wait.
    pub(super) fn take_saved(&mut self) -> HashMap<ConnId, Box<[u8]>> {
        std::mem::take(&mut self.saved)
    }

    /// A call for it failed.
    pub(super) fn failed(&mut self, conn: ConnId) {
        if let Some(entry) = self.entry(conn) {
            entry.dirty = true;
        }
    }

    /// Forgets it; the table, to be released.
    pub(super) fn forget(&mut self, conn: ConnId) -> Option<Ref> {
        self.saved.remove(&conn);
        let slot = self.slots.get_mut(usize::try_from(conn.slot).ok()?)?;
        if slot.as_ref()?.generation != conn.generation {
            return None;
        }
        let entry = slot.take()?;
        self.tables.remove(&entry.identity);
        Some(entry.table)
    }
}

/// Pushes the connection's table, brought up to date.
pub(super) fn push(
    stack: &mut Stack,
    world: &World,
    who: Who<'_>,
    upgrade: Option<&Upgrade>,
) -> Result<(), Raise> {
    let kept = world.kept()?;
    let found = {
        let mut conns = world.conns.borrow_mut();
        conns.entry(who.conn).map(|entry| {
            let current = entry.peer.is(who.peer) && !entry.dirty;
            (entry.table, current, entry.opening)
        })
    };
    let Some((table, current, opening)) = found else {
        make(stack, world, kept, who)?;
        return open(stack, world, who, upgrade, false);
    };
    stack.push_ref(table);
    if !current {
        refresh(stack, world, who);
    }
    if opening || upgrade.is_some() {
        open(stack, world, who, upgrade, opening)?;
    }
    Ok(())
}

/// Makes the table and leaves it on the stack.
fn make(stack: &mut Stack, world: &World, kept: Kept, who: Who<'_>) -> Result<(), Raise> {
    let peer = who.peer;
    stack.push_table(0, 15);
    let table = stack.top();
    let texts = [
        ("id", peer.origin.to_string()),
        ("ip", peer.ip.to_string()),
        ("path", peer.path.to_string()),
        ("route", peer.route.to_string()),
    ];
    for (name, text) in texts {
        stack.push_bytes(text.as_bytes());
        stack.set_named(table, name);
    }
    stack.push_number(f64::from(peer.port));
    stack.set_named(table, "port");
    stack.push_bool(peer.secure);
    stack.set_named(table, "secure");
    pairs(stack, peer.params.iter().map(|(k, v)| (&**k, v.as_bytes())));
    stack.set_named(table, "params");
    stack.push_table(peer.protocols.len(), 0);
    let list = stack.top();
    for (i, protocol) in peer.protocols.iter().enumerate() {
        stack.push_bytes(protocol.as_bytes());
        stack.set_element(list, i + 1);
    }
    stack.set_named(table, "protocols");
    let saved = world.conns.borrow().saved(who.conn).map(<[u8]>::to_vec);
    match saved {
        Some(bytes) => {
            // It was checked when it came.
            data::push(stack, kept, &bytes).map_err(|error| Raise(error.to_string()))?;
        }
        None => stack.push_table(0, 0),
    }
    stack.set_named(table, "data");
    let assigned = Assigned::of(peer);
    write(stack, table, kept, &assigned);
    stack.push_ref(kept.conn);
    stack.set_metatable(table);
    stack.push_copy(table);
    let entry = Entry {
        generation: who.conn.generation,
        identity: stack.identity(table),
        table: stack.keep(),
        peer: assigned.clone(),
        table_has: assigned,
        dirty: false,
        opening: false,
    };
    let mut conns = world.conns.borrow_mut();
    let slot = usize::try_from(who.conn.slot).unwrap_or(usize::MAX);
    if conns.slots.len() <= slot {
        conns.slots.resize_with(slot.saturating_add(1), || None);
    }
    conns.tables.insert(entry.identity, who.conn);
    conns.saved.remove(&who.conn);
    let old = conns
        .slots
        .get_mut(slot)
        .and_then(|place| place.replace(entry));
    if let Some(old) = old {
        // Its end was not told.
        conns.tables.remove(&old.identity);
        stack.release(old.table);
    }
    Ok(())
}

/// Writes what the worker changed, and what a failed call left, over what stands in the topmost table.
fn refresh(stack: &mut Stack, world: &World, who: Who<'_>) {
    let table = stack.top();
    let Some(kept) = world.kept.get() else { return };
    let assigned = {
        let mut conns = world.conns.borrow_mut();
        let Some(entry) = conns.entry(who.conn) else {
            return;
        };
        // Only what the worker changed: the other may be an assignment that it has not carried out yet.
        let now = Assigned::of(who.peer);
        if entry.peer.user != now.user {
            entry.table_has.user.clone_from(&now.user);
        }
        if entry.peer.channel != now.channel {
            entry.table_has.channel.clone_from(&now.channel);
        }
        entry.peer = now;
        entry.dirty = false;
        entry.table_has.clone()
    };
    write(stack, table, kept, &assigned);
    if world.hook.get() != Some(Hook::Connect) {
        stack.push_nil();
        stack.set_named(table, "protocol");
    }
}

fn write(stack: &mut Stack, table: i32, kept: Kept, assigned: &Assigned) {
    stack.push_ref(kept.user_key);
    match &assigned.user {
        Some(user) => stack.push_bytes(user.as_bytes()),
        None => stack.push_nil(),
    }
    stack.set_field(table);
    stack.push_ref(kept.channel_key);
    match &assigned.channel {
        Some(channel) => stack.push_bytes(channel.as_str().as_bytes()),
        None => stack.push_bytes(b""),
    }
    stack.set_field(table);
}

/// Adds to the topmost table what it has in `on_connect` only, or takes it away.
fn open(
    stack: &mut Stack,
    world: &World,
    who: Who<'_>,
    upgrade: Option<&Upgrade>,
    is_open: bool,
) -> Result<(), Raise> {
    let table = stack.top();
    match upgrade {
        Some(upgrade) if !is_open => {
            pairs(
                stack,
                convert::headers(upgrade).iter().map(|(k, v)| (&**k, &**v)),
            );
            stack.set_named(table, "headers");
            let query = convert::query(&upgrade.query);
            pairs(
                stack,
                query.iter().map(|(k, v)| (k.as_slice(), v.as_slice())),
            );
            stack.set_named(table, "query");
            let cookies = convert::cookies(upgrade);
            pairs(stack, cookies.iter().map(|(k, v)| (&**k, &**v)));
            stack.set_named(table, "cookies");
        }
        None if is_open => {
            for name in ["headers", "query", "cookies", "protocol"] {
                stack.push_nil();
                stack.set_named(table, name);
            }
        }
        _ => return Ok(()),
    }
    if let Some(entry) = world.conns.borrow_mut().entry(who.conn) {
        entry.opening = upgrade.is_some();
    }
    Ok(())
}

/// Pushes a table of texts; the first of a name counts.
fn pairs<'a, K: AsRef<[u8]>>(stack: &mut Stack, list: impl Iterator<Item = (K, &'a [u8])>) {
    stack.push_table(0, list.size_hint().0);
    let table = stack.top();
    for (name, value) in list {
        stack.push_bytes(name.as_ref());
        stack.push_bytes(value);
        stack.set_field(table);
    }
}

/// After a normal return: what the hook assigned to the table at `table` becomes effects.
pub(super) fn changes(
    stack: &mut Stack,
    world: &World,
    who: Who<'_>,
    table: i32,
) -> Result<(), Raise> {
    let kept = world.kept()?;
    stack.push_ref(kept.user_key);
    stack.field(table);
    let user_at = stack.top();
    stack.push_ref(kept.channel_key);
    stack.field(table);
    let channel_at = stack.top();
    let (user_same, channel_same) = {
        let mut conns = world.conns.borrow_mut();
        let Some(entry) = conns.entry(who.conn) else {
            return Ok(());
        };
        let has = &entry.table_has;
        let user = match (stack.bytes(user_at), &has.user) {
            (Some(now), Some(before)) => now == before.as_bytes(),
            (None, None) => stack.kind(user_at) == Kind::Nil,
            _ => false,
        };
        let channel = match (stack.bytes(channel_at), &has.channel) {
            (Some(now), Some(before)) => now == before.as_str().as_bytes(),
            (Some(now), None) => now.is_empty(),
            _ => false,
        };
        (user, channel)
    };
    if !user_same {
        let user = user(stack, user_at)?;
        world.ask(
            "conn.user",
            Effect::SetUser(who.conn, user.as_deref().map(Into::into)),
        )?;
        if let Some(entry) = world.conns.borrow_mut().entry(who.conn) {
            entry.table_has.user = user;
        }
    }
    if !channel_same {
        let channel = match (stack.kind(channel_at), stack.bytes(channel_at)) {
            (Kind::Nil, _) | (_, Some(b"")) => None,
            _ => Some(convert::channel(stack, channel_at, "conn.channel")?),
        };
        world.ask(
            "conn.channel",
            Effect::SetChannel(who.conn, channel.clone()),
        )?;
        if let Some(entry) = world.conns.borrow_mut().entry(who.conn) {
            entry.table_has.channel = channel;
        }
    }
    if world.hook.get() == Some(Hook::Connect) {
        protocol(stack, world, who, table)?;
    }
    Ok(())
}

fn user(stack: &Stack, place: i32) -> Result<Option<Box<str>>, Raise> {
    if stack.kind(place) == Kind::Nil {
        return Ok(None);
    }
    let Some(bytes) = stack.bytes(place) else {
        let kind = stack.kind(place).described();
        return Err(Raise(format!(
            "conn.user: is {kind}; must be a string or nil"
        )));
    };
    match std::str::from_utf8(bytes) {
        Ok(user) if bytes.len() <= USER_MAX => Ok(Some(user.into())),
        Ok(_) => Err(Raise(format!(
            "conn.user: has {} bytes; at most {USER_MAX}",
            bytes.len()
        ))),
        Err(_) => Err("conn.user: is not UTF-8".into()),
    }
}

fn protocol(stack: &mut Stack, world: &World, who: Who<'_>, table: i32) -> Result<(), Raise> {
    stack.named(table, "protocol");
    let place = stack.top();
    if stack.kind(place) == Kind::Nil {
        return Ok(());
    }
    let offered = &who.peer.protocols;
    match stack.text(place) {
        Some(chosen) if offered.iter().any(|protocol| **protocol == *chosen) => {
            let chosen = chosen.to_owned();
            world.ask("conn.protocol", Effect::SetProtocol(who.conn, chosen))
        }
        _ => {
            let value = convert::quoted(stack, place);
            let offered = offered.join(", ");
            Err(Raise(format!(
                "conn.protocol: {value} was not offered; must be one of: {offered}"
            )))
        }
    }
}

/// `conn.data` as bytes, for the next state. What cannot go along is told once.
pub(super) fn export(stack: &mut Stack, world: &World, conn: ConnId) -> Option<Box<[u8]>> {
    let kept = world.kept.get()?;
    let table = world.conns.borrow_mut().table(conn)?;
    stack.push_ref(table);
    let table = stack.top();
    stack.named(table, "data");
    let place = stack.top();
    let (bytes, left) = data::export(stack, kept, place);
    stack.set_top(table - 1);
    if let Some(left) = left {
        let text =
            format!("conn.data: {left} is left behind; it keeps plain data, 16 deep, 64 KiB");
        world.record(Level::Warn, text, Vec::new(), (String::new(), 0));
    }
    bytes
}

/// Bytes of a user's name.
pub(super) const USER_MAX: usize = 255;
