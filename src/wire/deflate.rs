//! Compression of messages (RFC 7692 §7.2): each for itself, without context takeover.
//!
//! [pure] [`Inflate`] reads what clients send and never yields more than its ceiling; [`Deflate`] writes the compressed
//! form of frames that all subscribers share. Both are scratch that a worker lends to its connections in turn: nothing of
//! a message stays in them, so no connection owns any and none has to be carried over a restart. A compressed message in
//! fragments is kept as it came and inflated when its last byte is there.
//!
//! # Why zlib-rs and not libdeflate for what goes out
//!
//! libdeflate took 10 µs for 1 KiB of JSON at level 3 where zlib-rs took 15: 0.05 µs for each of 100 subscribers. But it
//! ends every stream with a final block. RFC 7692 §7.2.3.5 allows that, yet clients that keep one zlib stream for all
//! messages take it for the end of everything: with aiohttp 3.13 the second message comes out empty. zlib-rs flushes as
//! everybody expects it, and is no C code.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::close::ProtocolError;
use super::frame::{self, Opcode, Side};
use crate::types::Kind;

/// What a sender leaves off the end of a message (RFC 7692 §7.2.1): the length of an empty stored block, whose header is
/// there. A final empty block follows, so that a message that is cut off shows: its stream does not end with these bytes.
const TAIL: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// How much of [`TAIL`] a sender cuts off.
const CUT: usize = 4;

/// Scratch memory above this is let go after a message.
const KEPT_BYTES: usize = 128 << 10;

/// The first size of the scratch memory for what is inflated.
const FIRST_BYTES: usize = 16 << 10;

/// The most bytes that a compressed message within `limit` may have.
///
/// What cannot be compressed gets longer: at zlib's worst setting by an eighth and a sixty-fourth (`deflateBound` in its
/// `deflate.c`), and each flush adds five bytes.
pub(super) const fn most_compressed(limit: usize) -> usize {
    limit
        .saturating_add(limit / 8)
        .saturating_add(limit / 64)
        .saturating_add(64)
}

/// Scratch for reading compressed messages. Allocates nothing before the first one.
#[derive(Debug, Default)]
pub struct Inflate {
    stream: Option<Decompress>,
    /// As long as it was grown; its content means something during a call only.
    out: Vec<u8>,
    /// Bytes of `out` that are this message's.
    len: usize,
}

impl Inflate {
    /// Nothing allocated yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The message that `data` is the compressed form of.
    ///
    /// Stops with [`ProtocolError::TooBig`] at the first byte beyond `ceiling`, whatever `data` would still become, and
    /// with [`ProtocolError::Deflate`] at what is no DEFLATE stream, or not all of one.
    pub fn message(&mut self, data: &[u8], ceiling: usize) -> Result<Bytes, ProtocolError> {
        self.len = 0;
        // RFC 7692 §7.2.2: nothing and the tail inflate to nothing.
        let result = if data.is_empty() {
            Ok(())
        } else {
            self.run(data, ceiling)
        };
        let message = result.map(|()| self.take());
        if self.out.len() > KEPT_BYTES {
            self.out = Vec::new();
        }
        message
    }

    fn run(&mut self, data: &[u8], ceiling: usize) -> Result<(), ProtocolError> {
        match &mut self.stream {
            Some(stream) => stream.reset(false),
            none => *none = Some(Decompress::new(false)),
        }
        // Some senders end with a final block and leave out the empty one that should follow.
        if self.feed(data, ceiling)? || self.feed(&TAIL, ceiling)? {
            Ok(())
        } else {
            Err(ProtocolError::Deflate)
        }
    }

    /// Inflates `input`; true if a stream ended with its last byte.
    fn feed(&mut self, input: &[u8], ceiling: usize) -> Result<bool, ProtocolError> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let mut rest = input;
        loop {
            if self.len == self.out.len() {
                // One more byte than may come, to see that it does.
                let most = ceiling.saturating_add(1);
                let grown = self.out.len().saturating_mul(2).max(FIRST_BYTES);
                self.out.resize(grown.min(most).max(self.len), 0);
            }
            let room = self.out.get_mut(self.len..).unwrap_or_default();
            let before = (stream.total_in(), stream.total_out());
            let status = stream
                .decompress(rest, room, FlushDecompress::None)
                .map_err(|_| ProtocolError::Deflate)?;
            let taken = since(before.0, stream.total_in());
            let given = since(before.1, stream.total_out());
            rest = rest.get(taken..).unwrap_or_default();
            self.len = self.len.saturating_add(given);
            if self.len > ceiling {
                return Err(ProtocolError::TooBig);
            }
            let ended = status == Status::StreamEnd;
            match (ended, rest.is_empty()) {
                (true, true) => return Ok(true),
                // RFC 7692 §7.2.3.5: a final block ends a stream, not the message.
                (true, false) => stream.reset(false),
                // All that was to come out has, if there was room for more.
                (false, true) if self.len < self.out.len() => return Ok(false),
                (false, _) if taken == 0 && given == 0 => return Ok(false),
                (false, _) => {}
            }
        }
    }

    fn take(&mut self) -> Bytes {
        if self.out.len() > KEPT_BYTES {
            let mut out = std::mem::take(&mut self.out);
            out.truncate(self.len);
            // A message that is kept should not hold more than itself.
            out.shrink_to_fit();
            Bytes::from(out)
        } else {
            Bytes::copy_from_slice(self.out.get(..self.len).unwrap_or_default())
        }
    }
}

/// Scratch for writing compressed frames. Allocates nothing before the first one.
#[derive(Debug, Default)]
pub struct Deflate {
    /// With its level.
    stream: Option<(u32, Compress)>,
    /// As long as it was grown; its content means something during a call only.
    out: Vec<u8>,
}

/// Frames and where each of them ends, which rises.
#[derive(Debug, Eq, PartialEq)]
pub struct Frames {
    /// One after the other.
    pub bytes: Vec<u8>,
    /// The last one is the length of `bytes`.
    pub borders: Vec<u32>,
}

/// What frames are worth compressing, and how hard it is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Effort {
    /// 1 to 9.
    pub level: u32,
    /// Messages with fewer bytes stay as they are.
    pub min_size: usize,
}

impl Deflate {
    /// Nothing allocated yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The compressed form of frames that a server sends, of which `borders` says where each ends.
    ///
    /// As many frames with the same messages: one that is shorter than asked for, or that would not get shorter, stays as
    /// it is. `None` if that is all of them.
    pub fn frames(&mut self, effort: Effort, bytes: &[u8], borders: &[u32]) -> Option<Frames> {
        let mut done: Option<Frames> = None;
        let mut start = 0;
        for (index, &border) in borders.iter().enumerate() {
            let end = border as usize;
            let frame = bytes.get(start..end).unwrap_or_default();
            let compressed = self.compress(effort, frame);
            if done.is_none() && compressed.is_some() {
                // Those before it stay as they are.
                let mut frames = Frames {
                    bytes: Vec::with_capacity(bytes.len()),
                    borders: Vec::with_capacity(borders.len()),
                };
                let before = bytes.get(..start).unwrap_or_default();
                frames.bytes.extend_from_slice(before);
                let before = borders.get(..index).unwrap_or_default();
                frames.borders.extend_from_slice(before);
                done = Some(frames);
            }
            if let Some(frames) = &mut done {
                match compressed {
                    Some((kind, data)) => frame::encode_deflated(kind, data, &mut frames.bytes),
                    None => frames.bytes.extend_from_slice(frame),
                }
                // No longer than `bytes`, whose length is one of the borders.
                let at = u32::try_from(frames.bytes.len()).unwrap_or(u32::MAX);
                frames.borders.push(at);
            }
            start = end;
        }
        if self.out.len() > KEPT_BYTES {
            self.out = Vec::new();
        }
        done
    }

    /// Kind and compressed payload of a frame, if it is one to be compressed and gets shorter.
    fn compress(&mut self, effort: Effort, frame: &[u8]) -> Option<(Kind, &[u8])> {
        if frame.len() <= effort.min_size {
            // With a header it is longer than its payload.
            return None;
        }
        let head = frame::head(frame, Side::Server).ok().flatten()?;
        let kind = match head.opcode {
            Opcode::Text => Kind::Text,
            Opcode::Binary => Kind::Binary,
            _ => return None,
        };
        let payload = frame.get(head.size..)?;
        if payload.len() < effort.min_size {
            return None;
        }
        let stream = match &mut self.stream {
            Some((level, stream)) if *level == effort.level => {
                stream.reset();
                stream
            }
            other => {
                let stream = Compress::new(Compression::new(effort.level), false);
                &mut other.insert((effort.level, stream)).1
            }
        };
        // No more room than makes it worth the while. A flush is only complete if some is left.
        let room = payload.len().saturating_add(CUT);
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let out = self.out.get_mut(..room)?;
        stream.compress(payload, out, FlushCompress::Sync).ok()?;
        let written = usize::try_from(stream.total_out()).ok()?;
        let whole = stream.total_in() == payload.len() as u64 && written < room;
        let (cut, tail) = TAIL.split_at_checked(CUT)?;
        debug_assert_eq!(tail.len(), CUT.saturating_add(1));
        let data = out.get(..written)?.strip_suffix(cut)?;
        (whole && data.len() < payload.len()).then_some((kind, data))
    }
}

/// How far a counter has come; a message has less bytes than fit into memory.
fn since(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}
