//! permessage-deflate as the generator speaks it: every message for itself. `[pure]`
//!
//! All receivers of a channel get the same bytes, and inflating them would cost the generator ten times what a delivery
//! costs the server. So what came once is remembered, and after that compared byte for byte.

use std::collections::HashMap;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Scratch for both directions, and what was inflated lately.
pub(crate) struct Codec {
    compress: Compress,
    decompress: Decompress,
    known: HashMap<Vec<u8>, Vec<u8>>,
}

impl Codec {
    pub(crate) fn new() -> Self {
        Self {
            compress: Compress::new(Compression::new(3), false),
            decompress: Decompress::new(false),
            known: HashMap::new(),
        }
    }

    /// The payload of a compressed frame.
    pub(crate) fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 64);
        self.compress.reset();
        let flush = FlushCompress::Sync;
        let done = self.compress.compress_vec(message, &mut out, flush);
        debug_assert!(done.is_ok() && out.ends_with(TAIL));
        out.truncate(out.len().saturating_sub(TAIL.len()));
        out
    }

    /// The message of a compressed frame; `None` if it is none of at most `most` bytes.
    pub(crate) fn inflate(&mut self, data: &[u8], most: usize) -> Option<&[u8]> {
        // Two look-ups, as a borrow that is returned cannot end in between.
        if !self.known.contains_key(data) {
            if self.known.len() >= KNOWN {
                self.known.clear();
            }
            let mut out = Vec::with_capacity(most + 1);
            self.decompress.reset(false);
            for part in [data, TAIL] {
                let flush = FlushDecompress::Sync;
                self.decompress.decompress_vec(part, &mut out, flush).ok()?;
            }
            if out.len() > most {
                return None;
            }
            self.known.insert(data.to_vec(), out);
        }
        self.known.get(data).map(Vec::as_slice)
    }
}

/// What a sender leaves off (RFC 7692 §7.2.1).
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// More messages than are under way at a time.
const KNOWN: usize = 1_024;
