//! [pure] The part of a session's life between our close frame and the peer's: what comes meanwhile is thrown away.

use super::super::close::ProtocolError;
use super::super::frame::{self, Opcode, Side};
use super::{Step, whole};
use crate::types::Close;

#[derive(Clone, Debug)]
pub(super) struct Closing {
    /// What we sent.
    pub(super) why: Close,
    /// Bytes still to come of a data frame that is thrown away.
    pub(super) skip: u64,
}

impl Closing {
    /// As `Session::read`, but data goes nowhere and pings get no answer.
    pub(super) fn read(&mut self, from: Side, input: &mut [u8]) -> Result<Step, ProtocolError> {
        if self.skip > 0 {
            let taken = usize::try_from(self.skip).map_or(input.len(), |n| n.min(input.len()));
            self.skip = self.skip.saturating_sub(taken as u64);
            return Ok(if taken == 0 {
                Step::More
            } else {
                Step::Part(taken, None)
            });
        }
        let Some(head) = frame::head(input, from)? else {
            return Ok(Step::More);
        };
        if !head.opcode.is_control() {
            self.skip = head.len;
            return Ok(Step::Part(head.size, None));
        }
        Ok(match whole(input, &head) {
            None => Step::More,
            Some((_, size, len)) if head.opcode == Opcode::Close => Step::Control {
                opcode: Opcode::Close,
                size,
                len,
            },
            Some((_, size, _)) => Step::Part(size, None),
        })
    }
}
