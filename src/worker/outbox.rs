//! Pieces of runs waiting to be written to one connection, counted in bytes.
//!
//! [pure] A run is shared by all connections that get it; only the queue of pieces is this connection's own. A piece
//! knows the borders of its frames, so that `delivery.when_full` drops whole messages and a frame that is half written is
//! always finished. Control frames are never dropped and never refused. `worker/state` fills it, `flush.rs` empties it.

mod queue;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::rc::Rc;

use super::run::Run;
use crate::config::WhenFull;
use queue::Queue;

/// A stretch of whole frames of a run, less what of the first one is already written.
#[derive(Clone, Debug)]
struct Piece {
    run: Rc<Run>,
    range: Range<u32>,
    what: What,
}

/// What may become of a piece that waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    /// It is never dropped.
    Control,
    /// It follows the policy of its run.
    Data,
    /// It gives way to later ones, if there are many.
    Pongs,
}

impl Piece {
    const fn len(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }
}

/// What became of frames that were to be queued.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pushed {
    /// Frames that will not be sent: these or older ones.
    pub dropped: usize,
    /// There was no room and the policy is to disconnect: nothing was queued.
    pub overflow: bool,
}

/// Pieces of runs waiting to be written to one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: Queue,
    /// Whether the first piece begins in the middle of a frame.
    half_written: bool,
    /// Bytes that were taken out and encrypted, and that the socket has not taken: they have no piece any more.
    held: u32,
    /// Bytes not yet written: the sum of the pieces' lengths, and `held`.
    queued: usize,
    /// Of these, bytes of pongs.
    pongs: usize,
}

impl Outbox {
    /// Queues frames, as far as `limit` bytes and their policy allow. A single frame that is larger than the limit still
    /// goes to an outbox that is empty.
    pub fn push(&mut self, run: &Rc<Run>, range: Range<u32>, limit: usize) -> Pushed {
        let len = (range.end - range.start) as usize;
        if self.queued + len <= limit {
            self.append(run, range, What::Data);
            return Pushed::default();
        }
        let mut result = Pushed::default();
        let mut start = range.start;
        while start < range.end {
            let frame = start..run.frame_end(start).min(range.end);
            start = frame.end;
            let len = (frame.end - frame.start) as usize;
            if self.queued == 0 || self.queued + len <= limit {
                self.append(run, frame, What::Data);
                continue;
            }
            match run.when_full {
                WhenFull::Disconnect => {
                    return Pushed {
                        overflow: true,
                        ..result
                    };
                }
                WhenFull::DropNewest => {}
                WhenFull::DropOldest => {
                    result.dropped += self.drop_waiting(run, limit.saturating_sub(len));
                }
                WhenFull::KeepLatest => result.dropped += self.drop_waiting(run, 0),
            }
            if self.queued == 0 || self.queued + len <= limit {
                self.append(run, frame, What::Data);
            } else {
                result.dropped += 1;
            }
        }
        result
    }

    /// Queues bytes that are never refused: control frames and the answer to the handshake.
    pub fn push_control(&mut self, run: &Rc<Run>) {
        self.append(run, run.range(), What::Control);
    }

    /// Queues pongs. Those that wait give way once there are [`PONG_BYTES`] of them, the latest first: only the latest
    /// ping needs an answer (RFC 6455 §5.5.3), and whoever sends many and reads none must not fill the memory.
    pub fn push_pongs(&mut self, run: &Rc<Run>) {
        let len = run.range().len();
        let mut index = self.pieces.len();
        while self.pongs + len > PONG_BYTES && index > usize::from(self.half_written) {
            index -= 1;
            let piece = self.pieces.get_mut(index);
            if let Some(piece) = piece.filter(|piece| piece.what == What::Pongs) {
                let len = piece.len();
                self.pongs -= len;
                self.queued -= len;
                self.pieces.remove(index);
            }
        }
        self.pongs += len;
        self.append(run, run.range(), What::Pongs);
    }

    /// Lets go of everything but a frame that is half written, control frames and the answer to the handshake.
    pub fn clear(&mut self) {
        if self.half_written
            && let Some(piece) = self.pieces.front_mut()
        {
            piece.range.end = piece.run.frame_end(piece.range.start).min(piece.range.end);
        }
        let mut first = self.half_written;
        self.pieces
            .retain(|piece| std::mem::take(&mut first) || piece.what != What::Data);
        self.queued = self.held() + self.pieces.iter().map(Piece::len).sum::<usize>();
    }

    /// Calls `each` with what is to be written, in order, as long as it returns true.
    pub fn slices<'a>(&'a self, mut each: impl FnMut(&'a [u8]) -> bool) {
        for piece in self.pieces.iter() {
            if !each(piece.run.slice(piece.range.clone())) {
                return;
            }
        }
    }

    /// So many bytes of what is encrypted wait in place of pieces: the socket has not taken them.
    pub fn hold(&mut self, bytes: usize) {
        self.queued -= self.held();
        // It is one turn's worth, far below 4 GiB.
        self.held = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.queued += self.held();
    }

    const fn held(&self) -> usize {
        self.held as usize
    }

    /// What is to be written, if it is one slice, as it nearly always is.
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        let piece = self.pieces.single()?;
        Some(piece.run.slice(piece.range.clone()))
    }

    /// So many bytes were written, or taken to be encrypted.
    pub fn advance(&mut self, written: usize) {
        let mut left = written.min(self.queued - self.held());
        self.queued -= left;
        while let Some(piece) = self.pieces.front_mut() {
            let len = piece.len();
            if left < len {
                if left > 0 {
                    if piece.what == What::Pongs {
                        self.pongs -= left;
                    }
                    // `left` is less than a length that is a u32.
                    let at = piece.range.start + u32::try_from(left).unwrap_or(0);
                    self.half_written = !ends_at(&piece.run, at);
                    piece.range.start = at;
                }
                return;
            }
            if piece.what == What::Pongs {
                self.pongs -= len;
            }
            left -= len;
            self.half_written = false;
            self.pieces.pop_front();
        }
    }

    /// Bytes waiting.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Compares the count of bytes with the pieces; panics where they differ.
    pub fn check_invariants(&self) {
        let sum: usize = self.pieces.iter().map(Piece::len).sum();
        assert_eq!(self.queued, sum + self.held(), "bytes waiting");
        let pongs = self.pieces.iter().filter(|p| p.what == What::Pongs);
        assert_eq!(self.pongs, pongs.map(Piece::len).sum::<usize>(), "pongs");
        assert!(
            self.pieces.iter().all(|piece| piece.len() > 0),
            "an empty piece"
        );
        assert!(
            !self.half_written || !self.pieces.is_empty(),
            "half of nothing"
        );
    }

    fn append(&mut self, run: &Rc<Run>, range: Range<u32>, what: What) {
        if range.is_empty() {
            return;
        }
        self.queued += (range.end - range.start) as usize;
        if let Some(last) = self.pieces.back_mut()
            && Rc::ptr_eq(&last.run, run)
            && last.range.end == range.start
        {
            last.range.end = range.end;
            return;
        }
        self.pieces.push_back(Piece {
            run: Rc::clone(run),
            range,
            what,
        });
    }

    /// Drops waiting frames of the same channel, oldest first, until at most `keep` bytes wait. Returns how many.
    fn drop_waiting(&mut self, run: &Run, keep: usize) -> usize {
        let mut dropped = 0;
        let mut index = 0;
        while self.queued > keep {
            let Some(piece) = self.pieces.get_mut(index) else {
                break;
            };
            if piece.what != What::Data || piece.run.channel != run.channel {
                index += 1;
                continue;
            }
            let end = piece.run.frame_end(piece.range.start).min(piece.range.end);
            if index == 0 && self.half_written {
                // The half-written frame stays, as a piece of its own.
                if end < piece.range.end {
                    let rest = Piece {
                        run: Rc::clone(&piece.run),
                        range: end..piece.range.end,
                        what: What::Data,
                    };
                    piece.range.end = end;
                    self.pieces.insert(1, rest);
                }
                index = 1;
                continue;
            }
            self.queued -= (end - piece.range.start) as usize;
            piece.range.start = end;
            dropped += 1;
            if piece.range.is_empty() {
                self.pieces.remove(index);
            }
        }
        dropped
    }
}

/// The first byte of a pong (RFC 6455 §5.5.3).
pub const PONG: u8 = 0x8a;

/// The most bytes of pongs that wait, unless the last ones are more by themselves: dozens, for one that reads slowly.
const PONG_BYTES: usize = 4096;

/// Whether a frame of the run ends exactly there.
fn ends_at(run: &Run, at: u32) -> bool {
    at > 0 && run.frame_end(at - 1) == at
}
