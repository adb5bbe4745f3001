//! Puts messages together that do not lie whole in one read: fragments, and frames that arrive in pieces.
//!
//! [pure] Checks the order of fragments, the size limit as soon as a header announces too much, and UTF-8 as it arrives,
//! over any border. A compressed message is kept as it came; `session` inflates and checks it when it is whole. Memory
//! grows by what has come, never by what was announced, and never over the limit. Control frames don't come here.
//! `session` uses it, and so does `server_frames`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::close::ProtocolError;
use super::deflate::most_compressed;
use super::frame::{self, Head, Opcode};
use crate::types::{Kind, Payload};

/// The message that is being put together, if there is one. A pointer's size when there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Assembler {
    partial: Option<Box<Partial>>,
}

/// A message whose last byte has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Whole {
    /// Compressed; nothing of it is checked.
    Deflated(Kind, Vec<u8>),
    /// As it is, and checked.
    Plain(Payload),
}

#[derive(Clone, Debug)]
struct Partial {
    kind: Kind,
    /// Whether `data` is compressed.
    deflated: bool,
    /// What has come, unmasked. `data.len() + missing` was within the limit when the frame began.
    data: Vec<u8>,
    /// Bytes of `data` known to be whole characters. `data.len() - checked` is at most 3 for text that is not compressed;
    /// for anything else `checked` is 0.
    checked: usize,
    /// Bytes of the frame at hand that have not come.
    missing: usize,
    /// Of the frame at hand, turned to fit the next byte.
    mask: [u8; 4],
    /// Whether the frame at hand is the message's last.
    fin: bool,
}

impl Assembler {
    /// Whether no message is begun: the next data frame is a text or a binary one.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Bytes of the frame at hand that have not come; 0 between frames.
    #[inline]
    pub(super) fn missing(&self) -> usize {
        self.partial.as_ref().map_or(0, |p| p.missing)
    }

    /// Bytes allocated for what is begun.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |p| p.data.capacity())
    }

    /// Forgets what is begun.
    pub(super) fn clear(&mut self) {
        self.partial = None;
    }

    /// Judges the header of a data frame against the message so far; gives its kind and payload length.
    #[inline]
    pub(super) fn admit(&self, head: &Head, limit: usize) -> Result<(Kind, usize), ProtocolError> {
        let (kind, so_far) = match (head.opcode, &self.partial) {
            (Opcode::Continuation, Some(partial)) => (partial.kind, partial.data.len()),
            (Opcode::Continuation, None) => return Err(ProtocolError::UnexpectedContinuation),
            (_, Some(_)) => return Err(ProtocolError::Interleaved),
            (Opcode::Text, None) => (Kind::Text, 0),
            (_, None) => (Kind::Binary, 0),
        };
        let deflated = head.deflated || self.partial.as_ref().is_some_and(|p| p.deflated);
        match usize::try_from(head.len) {
            Ok(len) if len <= most(limit, deflated).saturating_sub(so_far) => Ok((kind, len)),
            _ => Err(ProtocolError::TooBig),
        }
    }

    /// Begins a frame that [`Assembler::admit`] let pass; its payload follows with [`Assembler::append`].
    pub(super) fn begin(&mut self, head: &Head, kind: Kind, len: usize) {
        let partial = self.partial.get_or_insert_with(|| {
            Box::new(Partial {
                kind,
                deflated: head.deflated,
                data: Vec::new(),
                checked: 0,
                missing: 0,
                mask: [0; 4],
                fin: false,
            })
        });
        partial.missing = len;
        partial.mask = head.mask;
        partial.fin = head.fin;
    }

    /// Takes the next bytes of the frame at hand off the front of `input`, which is unmasked in place.
    ///
    /// Returns how many were taken, and the message if they were its last.
    pub(super) fn append(
        &mut self,
        input: &mut [u8],
        limit: usize,
    ) -> Result<(usize, Option<Whole>), ProtocolError> {
        let Some(partial) = self.partial.as_deref_mut() else {
            return Ok((0, None));
        };
        let taken = partial.missing.min(input.len());
        if let Some(chunk) = input.get_mut(..taken) {
            partial.take(chunk, most(limit, partial.deflated));
        }
        let complete = partial.fin && partial.missing == 0;
        if partial.kind == Kind::Text && !partial.deflated {
            partial.check(complete)?;
        }
        if !complete {
            return Ok((taken, None));
        }
        Ok((taken, self.partial.take().map(|p| p.into_whole())))
    }
}

/// An unfinished message written out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct SavedMessage {
    text: bool,
    deflated: bool,
    data: Vec<u8>,
    checked: usize,
    missing: usize,
    mask: [u8; 4],
    fin: bool,
}

impl Assembler {
    /// What is begun, for [`Assembler::restore`].
    pub(super) fn save(&self) -> Option<SavedMessage> {
        let partial = self.partial.as_deref()?;
        Some(SavedMessage {
            text: partial.kind == Kind::Text,
            deflated: partial.deflated,
            data: partial.data.clone(),
            checked: partial.checked,
            missing: partial.missing,
            mask: partial.mask,
            fin: partial.fin,
        })
    }

    /// What was begun.
    pub(super) fn restore(saved: SavedMessage) -> Self {
        let kind = if saved.text { Kind::Text } else { Kind::Binary };
        // What was not whole is looked at again, so no text comes out that was never checked.
        let checked = if saved.checked > saved.data.len() {
            0
        } else {
            saved.checked
        };
        Self {
            partial: Some(Box::new(Partial {
                kind,
                deflated: saved.deflated,
                data: saved.data,
                checked,
                missing: saved.missing,
                mask: saved.mask,
                fin: saved.fin,
            })),
        }
    }
}

impl Partial {
    fn take(&mut self, chunk: &mut [u8], limit: usize) {
        self.mask = frame::unmask(chunk, self.mask);
        let len = self.data.len();
        if self.data.capacity().saturating_sub(len) < chunk.len() {
            // Doubles, so that many small pieces cost a few copies, but not beyond what the message can still become.
            let most = if self.fin {
                self.missing
            } else {
                limit.saturating_sub(len)
            };
            self.data.reserve_exact(chunk.len().max(len.min(most)));
        }
        self.data.extend_from_slice(chunk);
        self.missing = self.missing.saturating_sub(chunk.len());
    }

    fn check(&mut self, complete: bool) -> Result<(), ProtocolError> {
        let unchecked = self.data.get(self.checked..).unwrap_or_default();
        match simdutf8::compat::from_utf8(unchecked) {
            Ok(_) => self.checked = self.data.len(),
            // Only the end of a character is missing, and it may still come.
            Err(error) if error.error_len().is_none() && !complete => {
                self.checked = self.checked.saturating_add(error.valid_up_to());
            }
            Err(_) => return Err(ProtocolError::TextNotUtf8),
        }
        Ok(())
    }

    fn into_whole(mut self) -> Whole {
        if self.deflated {
            return Whole::Deflated(self.kind, self.data);
        }
        // A message that is kept should not hold much more than itself.
        let spare = self.data.capacity().saturating_sub(self.data.len());
        if spare > self.data.len() / 4 {
            self.data.shrink_to_fit();
        }
        Whole::Plain(Payload {
            kind: self.kind,
            data: Bytes::from(self.data),
        })
    }
}

/// The most bytes of a message as it comes, if `limit` is the most that it may have in the end.
#[inline]
const fn most(limit: usize, deflated: bool) -> usize {
    if deflated {
        most_compressed(limit)
    } else {
        limit
    }
}

/// Whether the bytes may stand in a message of that kind.
#[inline]
pub(super) fn check(kind: Kind, data: &[u8]) -> Result<(), ProtocolError> {
    if kind == Kind::Text && simdutf8::basic::from_utf8(data).is_err() {
        return Err(ProtocolError::TextNotUtf8);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_checked_once() {
        let head = Head {
            opcode: Opcode::Text,
            fin: true,
            deflated: false,
            mask: [0; 4],
            size: 6,
            len: 300,
        };
        let mut assembler = Assembler::default();
        let (kind, len) = assembler.admit(&head, 300).unwrap();
        assembler.begin(&head, kind, len);
        let mut text = "€".repeat(100).into_bytes();
        let mut sent = 0;
        for chunk in text.chunks_mut(4).take(74) {
            assert_eq!(assembler.append(chunk, 300), Ok((4, None)));
            sent += 4;
            let partial = assembler.partial.as_ref().unwrap();
            assert_eq!(partial.checked, sent / 3 * 3);
            assert!(partial.data.capacity() <= 300);
        }
    }
}
