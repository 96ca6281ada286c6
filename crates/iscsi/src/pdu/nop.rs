//! NOP-Out and NOP-In: pings and their answers (RFC 7143 sections 11.18 and 11.19).

use super::FINAL;
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::{Itt, Sequence, Serial, Ttt};
use crate::opcode::Opcode;

/// A NOP-Out. Its data comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// Copied from the ping that it answers.
    pub lun: Lun,
    /// The ping's tag; [`Itt::NONE`] when no answer is wanted.
    pub itt: Itt,
    /// The tag of the ping that it answers; [`Ttt::NONE`] when it answers none.
    pub ttt: Ttt,
    /// The command's number.
    pub cmd_sn: Serial,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
}

impl NopOut {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            immediate: header.is_immediate(),
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            cmd_sn: header.cmd_sn(),
            expected_stat_sn: header.expected_stat_sn(),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::NOP_OUT)
            .immediate(self.immediate)
            .put_u8(1, FINAL)
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_u32(24, self.cmd_sn.0)
            .put_u32(28, self.expected_stat_sn.0)
    }
}

/// A NOP-In. An answer has the ping's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// Has to be 0 where nothing is asked for.
    pub lun: Lun,
    /// The tag of the ping that it answers; [`Itt::NONE`] when it answers none.
    pub itt: Itt,
    /// The ping's tag; [`Ttt::NONE`] when no answer is wanted.
    pub ttt: Ttt,
    /// The target's numbers; an answer has a status, a ping has none.
    pub sequence: Sequence,
}

impl NopIn {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            sequence: header.sequence(),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::NOP_IN)
            .put_u8(1, FINAL)
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_sequence(self.sequence)
    }
}
