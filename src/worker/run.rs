//! What a channel got in one turn or one delivery window, rendered once and shared by all who get it.
//!
//! [pure] An [`OpenRun`] takes publications; closed it becomes a [`Run`], one contiguous buffer of WebSocket frames with
//! their borders, of which every subscriber's outbox holds a reference. Who joined in the middle of a window, or must
//! not get a message back, gets pieces of the same buffer, or a rendering of its own where messages share a frame.
//! `worker/state` opens and closes runs; `outbox.rs` holds them.

mod spare;
#[cfg(test)]
mod tests;

pub use spare::SpareRuns;

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use crate::config::{Delivery, Format, WhenFull};
use crate::types::{ChannelName, ConnId, Kind, Payload, is_json};
use crate::wire::deflate::{Deflate, Effort};
use crate::wire::frame;

/// Frames that are complete, shared by all connections that get them.
#[derive(Debug)]
pub struct Run {
    /// Whose frames they are; `None`: sent to one connection, by wsd or a hook.
    pub channel: Option<ChannelName>,
    /// What happens when there is no room for them.
    pub when_full: WhenFull,
    bytes: Box<[u8]>,
    /// Where each frame ends; rising, the last one is the length of `bytes`. Empty where that is the only one.
    borders: Box<[u32]>,
}

impl Run {
    /// One frame for one connection.
    #[must_use]
    pub fn single(payload: &Payload, when_full: WhenFull) -> Rc<Self> {
        let mut bytes = Vec::with_capacity(payload.len() + frame::Header::MAX_BYTES);
        frame::encode(payload.kind, &payload.data, &mut bytes);
        Self::from_frames(None, when_full, bytes.into(), &[])
    }

    /// Bytes that are already a frame, or an answer to the handshake: never dropped, never refused.
    #[must_use]
    pub fn control(bytes: &[u8]) -> Rc<Self> {
        Self::from_frames(None, WhenFull::Disconnect, bytes.into(), &[])
    }

    fn from_frames(
        channel: Option<ChannelName>,
        when_full: WhenFull,
        bytes: Box<[u8]>,
        borders: &[u32],
    ) -> Rc<Self> {
        let borders = if borders.len() > 1 { borders } else { &[] };
        Rc::new(Self {
            channel,
            when_full,
            bytes,
            borders: borders.into(),
        })
    }

    /// The bytes of a range that lies within.
    #[must_use]
    pub fn slice(&self, range: Range<u32>) -> &[u8] {
        self.bytes
            .get(range.start as usize..range.end as usize)
            .unwrap_or(&[])
    }

    /// The same frames in their compressed form; `None` where none of them gets shorter.
    #[must_use]
    pub fn deflated(&self, deflate: &mut Deflate, effort: Effort) -> Option<Rc<Self>> {
        let frames = deflate.frames(effort, &self.bytes, &self.borders())?;
        let channel = self.channel.clone();
        Some(Self::from_frames(
            channel,
            self.when_full,
            frames.bytes.into(),
            &frames.borders,
        ))
    }

    /// Where the frames of a range of `other` stand in this run, which is another form of it.
    #[must_use]
    pub fn range_as_in(&self, other: &Self, range: &Range<u32>) -> Range<u32> {
        let (here, there) = (self.borders(), other.borders());
        let place = |at: u32| {
            let count = there.partition_point(|&end| end <= at);
            let before = count.checked_sub(1);
            before.map_or(0, |i| here.get(i).copied().unwrap_or(0))
        };
        place(range.start)..place(range.end)
    }

    /// Where each frame ends, also that of a run of one frame.
    fn borders(&self) -> Cow<'_, [u32]> {
        if self.borders.is_empty() {
            Cow::Owned(vec![offset(self.bytes.len())])
        } else {
            Cow::Borrowed(&self.borders)
        }
    }

    /// All of it.
    #[must_use]
    pub fn range(&self) -> Range<u32> {
        0..offset(self.bytes.len())
    }

    /// Where the frame ends that begins at or contains `at`; the length if there is none.
    #[must_use]
    pub fn frame_end(&self, at: u32) -> u32 {
        let index = self.borders.partition_point(|&end| end <= at);
        self.borders
            .get(index)
            .copied()
            .unwrap_or_else(|| offset(self.bytes.len()))
    }
}

/// Runs up to this many bytes are copied out of the buffer that they were gathered in, which is used again: that costs
/// less than a new one that grows. The allocator has larger ones at hand, and nobody copies those.
const COPIED: usize = 16 << 10;

/// A piece of a run, for one connection.
pub type Part = (Rc<Run>, Range<u32>);

/// What a closed run gives to the members of its channel.
#[derive(Debug)]
pub struct ClosedRun {
    /// For everybody who is not in `special`.
    pub all: Rc<Run>,
    /// For those who joined late or must not get something back; perhaps nothing.
    pub special: Vec<(ConnId, Vec<Part>)>,
}

/// What a channel got so far in this turn or window.
///
/// Closed it is empty, and may be another channel's next: so its buffers are used again, turn after turn, and a channel
/// that is quiet has none.
#[derive(Debug)]
pub struct OpenRun {
    channel: ChannelName,
    delivery: Delivery,
    content: Content,
    count: u32,
    /// The frame that still takes messages.
    frame: Frame,
    /// Messages that one member must not get, in order.
    skips: Vec<(u32, ConnId)>,
    /// Members that joined when so many messages were there.
    late: Vec<(ConnId, u32)>,
}

/// What became of a message that a run was offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offered {
    /// It is in, and there is room for more.
    Added,
    /// It is in, and the run should be closed now.
    Full,
    /// It is not in: the run must be closed first.
    NoRoom,
}

/// Messages and rendered bytes of the frame that is open. Where each message is a frame, all of the run counts.
#[derive(Clone, Copy, Debug)]
struct Frame {
    messages: usize,
    bytes: usize,
}

impl Frame {
    const fn empty(format: Format) -> Self {
        let brackets = matches!(format, Format::JsonArray);
        Self {
            messages: 0,
            bytes: if brackets { 2 } else { 0 },
        }
    }
}

#[derive(Debug)]
enum Content {
    /// A frame each, encoded as they come.
    Frames { bytes: Vec<u8>, borders: Vec<u32> },
    /// Messages that share frames: rendered when the run is closed.
    Items(Vec<Item>),
}

/// A message that shares a frame with its neighbours of the same group.
#[derive(Debug)]
struct Item {
    group: u32,
    /// `None`: a frame of its own, so.
    alone: Option<Kind>,
    content: Bytes,
}

impl OpenRun {
    /// An empty one.
    #[must_use]
    pub fn new(channel: ChannelName, delivery: Delivery) -> Self {
        let content = match delivery.format {
            Format::Message => Content::Frames {
                bytes: Vec::new(),
                borders: Vec::new(),
            },
            Format::JsonArray | Format::Lines => Content::Items(Vec::new()),
        };
        Self {
            channel,
            delivery,
            content,
            count: 0,
            frame: Frame::empty(delivery.format),
            skips: Vec::new(),
            late: Vec::new(),
        }
    }

    /// Begins anew, for a channel that may be another one; what was in it has been closed.
    pub fn begin(&mut self, channel: ChannelName, delivery: Delivery) {
        self.channel = channel;
        match (&self.content, delivery.format) {
            (Content::Frames { .. }, Format::Message)
            | (Content::Items(_), Format::JsonArray | Format::Lines) => {
                self.frame = Frame::empty(delivery.format);
                self.delivery = delivery;
            }
            _ => *self = Self::new(self.channel.clone(), delivery),
        }
    }

    /// Bytes that its buffers can hold without growing.
    #[must_use]
    pub fn spare_bytes(&self) -> usize {
        match &self.content {
            Content::Frames { bytes, borders } => bytes.capacity() + 4 * borders.capacity(),
            Content::Items(items) => items.capacity() * size_of::<Item>(),
        }
    }

    /// Adds a message, unless `max_bytes` would be passed by more than this one message.
    pub fn offer(&mut self, payload: &Payload, skip: Option<ConnId>) -> Offered {
        self.offer_bytes(payload.kind, &payload.data, skip)
    }

    /// The same with a payload that lies anywhere; text is UTF-8.
    pub fn offer_bytes(&mut self, kind: Kind, data: &[u8], skip: Option<ConnId>) -> Offered {
        let full = match &mut self.content {
            Content::Frames { bytes, borders } => {
                if self.count > 0 && bytes.len() + data.len() > self.delivery.max_bytes {
                    return Offered::NoRoom;
                }
                frame::encode(kind, data, bytes);
                borders.push(offset(bytes.len()));
                self.frame.messages += 1;
                bytes.len() >= self.delivery.max_bytes
            }
            Content::Items(items) => {
                let item = item(self.delivery.format, kind, data, items.last());
                let shared = item.alone.is_none() && self.frame.messages > 0;
                let before = if shared {
                    self.frame
                } else {
                    Frame::empty(self.delivery.format)
                };
                let bytes = before.bytes + item.content.len() + usize::from(shared);
                if shared && bytes > self.delivery.max_bytes {
                    return Offered::NoRoom;
                }
                self.frame = Frame {
                    messages: before.messages + 1,
                    bytes,
                };
                // What goes alone closes the open frame, and waits for no window.
                let alone = item.alone.is_some();
                items.push(item);
                alone || bytes >= self.delivery.max_bytes
            }
        };
        if let Some(conn) = skip {
            self.skips.push((self.count, conn));
        }
        self.count += 1;
        if full || self.frame.messages >= self.delivery.max_messages {
            Offered::Full
        } else {
            Offered::Added
        }
    }

    /// A member joined: it gets what comes from now on.
    pub fn join(&mut self, conn: ConnId) {
        if self.count > 0 {
            self.late.push((conn, self.count));
        }
    }

    /// How this run is to be delivered.
    #[must_use]
    pub const fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Messages in it.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Renders it; then it is empty.
    #[must_use]
    pub fn close(&mut self) -> ClosedRun {
        let closed = self.render();
        self.count = 0;
        self.frame = Frame::empty(self.delivery.format);
        self.skips.clear();
        self.late.clear();
        closed
    }

    fn render(&mut self) -> ClosedRun {
        let mut conns: Vec<ConnId> = self.late.iter().map(|&(conn, _)| conn).collect();
        conns.extend(self.skips.iter().map(|&(_, conn)| conn));
        conns.sort_unstable();
        conns.dedup();
        let when_full = self.delivery.when_full;
        let channel = Some(self.channel.clone());
        match &mut self.content {
            Content::Frames { bytes, borders } => {
                let content = if bytes.len() > COPIED {
                    std::mem::take(bytes).into_boxed_slice()
                } else {
                    bytes.as_slice().into()
                };
                let all = Run::from_frames(channel, when_full, content, borders);
                let special = conns.into_iter().map(|conn| {
                    let (from, skips) = own(conn, &self.late, &self.skips);
                    let ranges = ranges(borders, from, &skips).into_iter();
                    (conn, ranges.map(|range| (Rc::clone(&all), range)).collect())
                });
                let closed = ClosedRun {
                    special: special.collect(),
                    all: Rc::clone(&all),
                };
                bytes.clear();
                borders.clear();
                closed
            }
            Content::Items(items) => {
                let render = |from: u32, skips: &[u32]| {
                    let (bytes, borders) = render(self.delivery.format, items, from, skips);
                    Run::from_frames(channel.clone(), when_full, bytes.into(), &borders)
                };
                let special = conns.iter().map(|&conn| {
                    let (from, skips) = own(conn, &self.late, &self.skips);
                    let run = render(from, &skips);
                    let range = run.range();
                    (
                        conn,
                        if range.is_empty() {
                            Vec::new()
                        } else {
                            vec![(run, range)]
                        },
                    )
                });
                let closed = ClosedRun {
                    special: special.collect(),
                    all: render(0, &[]),
                };
                items.clear();
                closed
            }
        }
    }
}

/// From which message on a member gets them, and which of those not.
fn own(conn: ConnId, late: &[(ConnId, u32)], skips: &[(u32, ConnId)]) -> (u32, Vec<u32>) {
    let from = late
        .iter()
        .filter(|(other, _)| *other == conn)
        .map(|&(_, from)| from)
        .max();
    let skips = skips
        .iter()
        .filter(|(_, other)| *other == conn)
        .map(|&(index, _)| index);
    (from.unwrap_or(0), skips.collect())
}

/// The stretches of frames from the one numbered `from` on, without those numbered in `skips`, which rises.
fn ranges(borders: &[u32], from: u32, skips: &[u32]) -> Vec<Range<u32>> {
    let start_of = |index: u32| match index.checked_sub(1) {
        Some(before) => borders.get(before as usize).copied().unwrap_or(0),
        None => 0,
    };
    let end = borders.last().copied().unwrap_or(0);
    let mut ranges = Vec::new();
    let mut start = start_of(from);
    for &skip in skips.iter().filter(|&&skip| skip >= from) {
        let hole = start_of(skip)..borders.get(skip as usize).copied().unwrap_or(end);
        if start < hole.start {
            ranges.push(start..hole.start);
        }
        start = hole.end;
    }
    if start < end {
        ranges.push(start..end);
    }
    ranges
}

/// A message as it stands in a shared frame, and in which.
fn item(format: Format, kind: Kind, data: &[u8], last: Option<&Item>) -> Item {
    let shares = match (format, kind) {
        (_, Kind::Binary) | (Format::Message, _) => false,
        (Format::Lines, Kind::Text) => memchr::memchr(b'\n', data).is_none(),
        (Format::JsonArray, Kind::Text) => true,
    };
    let content = if format == Format::JsonArray && shares {
        as_json(data)
    } else {
        Bytes::copy_from_slice(data)
    };
    let alone = (!shares).then_some(kind);
    let group = match last {
        None => 0,
        Some(last) if last.alone.is_none() && alone.is_none() => last.group,
        Some(last) => last.group + 1,
    };
    Item {
        group,
        alone,
        content,
    }
}

/// JSON text as it stands, any other text as a JSON string.
fn as_json(text: &[u8]) -> Bytes {
    if is_json(text) {
        return Bytes::copy_from_slice(text);
    }
    // A text payload is UTF-8 and a string always serializes.
    let text = String::from_utf8_lossy(text);
    serde_json::to_vec(&text)
        .map(Bytes::from)
        .unwrap_or_default()
}

/// The frames of the messages from the one numbered `from` on, without those in `skips`.
fn render(format: Format, items: &[Item], from: u32, skips: &[u32]) -> (Vec<u8>, Vec<u32>) {
    let (open, join, close) = match format {
        Format::JsonArray => ("[", b',', "]"),
        Format::Lines | Format::Message => ("", b'\n', ""),
    };
    let (mut bytes, mut borders) = (Vec::new(), Vec::new());
    let mut payload: Vec<u8> = Vec::new();
    let kept: Vec<&Item> = (0u32..)
        .zip(items)
        .filter(|(index, _)| *index >= from && skips.binary_search(index).is_err())
        .map(|(_, item)| item)
        .collect();
    for group in kept.chunk_by(|a, b| a.group == b.group) {
        payload.clear();
        let alone = group.first().and_then(|item| item.alone);
        if alone.is_none() {
            payload.extend_from_slice(open.as_bytes());
        }
        for (index, item) in group.iter().enumerate() {
            if index > 0 {
                payload.push(join);
            }
            payload.extend_from_slice(&item.content);
        }
        if alone.is_none() {
            payload.extend_from_slice(close.as_bytes());
        }
        frame::encode(alone.unwrap_or(Kind::Text), &payload, &mut bytes);
        borders.push(offset(bytes.len()));
    }
    (bytes, borders)
}

/// Places in a run are `u32`: a run is closed far below 4 GiB, as messages and `max_bytes` are bounded below 1 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
