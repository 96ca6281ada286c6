//! Text Request and Text Response (RFC 7143 sections 11.10 and 11.11).

use super::{CONTINUE, FINAL, when};
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::{Itt, Sequence, Serial, Ttt};
use crate::opcode::Opcode;

/// A Text Request. Its data is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// The initiator has nothing more to say (F).
    pub last: bool,
    /// The text goes on in the next request (C).
    pub continued: bool,
    /// Copied from the response that it goes on from.
    pub lun: Lun,
    /// The request's tag.
    pub itt: Itt,
    /// Copied from the response that it goes on from; [`Ttt::NONE`] at the beginning.
    pub ttt: Ttt,
    /// The command's number.
    pub cmd_sn: Serial,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
}

impl TextRequest {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        let flags = header.flags();
        Self {
            immediate: header.is_immediate(),
            last: flags & FINAL != 0,
            continued: flags & CONTINUE != 0,
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            cmd_sn: header.cmd_sn(),
            expected_stat_sn: header.expected_stat_sn(),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::TEXT_REQUEST)
            .immediate(self.immediate)
            .put_u8(1, when(self.last, FINAL) | when(self.continued, CONTINUE))
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_u32(24, self.cmd_sn.0)
            .put_u32(28, self.expected_stat_sn.0)
    }
}

/// A Text Response. Its data is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// The target has nothing more to say (F).
    pub last: bool,
    /// The text goes on in the next response (C).
    pub continued: bool,
    /// To be copied into the next request.
    pub lun: Lun,
    /// The request's tag.
    pub itt: Itt,
    /// To be copied into the next request; [`Ttt::NONE`] at the end.
    pub ttt: Ttt,
    /// The target's numbers.
    pub sequence: Sequence,
}

impl TextResponse {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        let flags = header.flags();
        Self {
            last: flags & FINAL != 0,
            continued: flags & CONTINUE != 0,
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            sequence: header.sequence(),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::TEXT_RESPONSE)
            .put_u8(1, when(self.last, FINAL) | when(self.continued, CONTINUE))
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_sequence(self.sequence)
    }
}
