//! SCSI Data-Out, SCSI Data-In and Ready To Transfer (RFC 7143 sections 11.7 and 11.8).

use super::{FINAL, Residual, Status, when};
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::{Itt, Sequence, Serial, Ttt};
use crate::opcode::Opcode;

/// Asks for an acknowledgement (A).
const ACKNOWLEDGE: u8 = 0x40;
/// A Data-In carries the status (S).
const STATUS: u8 = 0x01;

/// A SCSI Data-Out: a piece of the data to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// The last of its sequence (F).
    pub last: bool,
    /// The unit, where the piece was asked for.
    pub lun: Lun,
    /// The task's tag.
    pub itt: Itt,
    /// The tag of the R2T that asked for it; [`Ttt::NONE`] when nobody did.
    pub ttt: Ttt,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
    /// The piece's number in its sequence, from 0.
    pub data_sn: u32,
    /// Where the piece belongs in the command's data, in bytes.
    pub offset: u32,
}

impl DataOut {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            last: header.flags() & FINAL != 0,
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            expected_stat_sn: header.expected_stat_sn(),
            data_sn: header.u32(36),
            offset: header.u32(40),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::DATA_OUT)
            .put_u8(1, when(self.last, FINAL))
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_u32(28, self.expected_stat_sn.0)
            .put_u32(36, self.data_sn)
            .put_u32(40, self.offset)
    }
}

/// A SCSI Data-In: a piece of the data that was read, at the end with the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// The last of its sequence (F).
    pub last: bool,
    /// Asks for an acknowledgement (A), which takes an error recovery level above 0.
    pub acknowledge: bool,
    /// The status and what was not transferred, where the piece ends the command (S).
    pub end: Option<(Status, Residual)>,
    /// The unit, where there is a transfer tag.
    pub lun: Lun,
    /// The task's tag.
    pub itt: Itt,
    /// For the acknowledgement.
    pub ttt: Ttt,
    /// The target's numbers; `StatSN` means something only with the status.
    pub sequence: Sequence,
    /// The piece's number in the command, from 0.
    pub data_sn: u32,
    /// Where the piece belongs in the command's data, in bytes.
    pub offset: u32,
}

impl DataIn {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        let flags = header.flags();
        let end = if flags & STATUS != 0 {
            Some((Status(header.0[3]), Residual::decode(flags, header.u32(44))))
        } else {
            None
        };
        Self {
            last: flags & FINAL != 0,
            acknowledge: flags & ACKNOWLEDGE != 0,
            end,
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            sequence: header.sequence(),
            data_sn: header.u32(36),
            offset: header.u32(40),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        let (ended, status, residual) = match self.end {
            Some((status, residual)) => (STATUS, status.0, residual),
            None => (0, 0, Residual::None),
        };
        let (residual_flag, count) = residual.encode();
        let flags = when(self.last, FINAL) | when(self.acknowledge, ACKNOWLEDGE);
        Header::new(Opcode::DATA_IN)
            .put(1, [flags | ended | residual_flag, 0, status])
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_sequence(self.sequence)
            .put_u32(36, self.data_sn)
            .put_u32(40, self.offset)
            .put_u32(44, count)
    }
}

/// A Ready To Transfer: data of a write may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct R2t {
    /// The unit.
    pub lun: Lun,
    /// The task's tag.
    pub itt: Itt,
    /// What the data has to name.
    pub ttt: Ttt,
    /// The target's numbers; it has no status, so `StatSN` is that of the next one.
    pub sequence: Sequence,
    /// Its number in the command, from 0.
    pub r2t_sn: u32,
    /// Where the data begins in the command's data, in bytes.
    pub offset: u32,
    /// How much may come, in bytes.
    pub length: u32,
}

impl R2t {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            sequence: header.sequence(),
            r2t_sn: header.u32(36),
            offset: header.u32(40),
            length: header.u32(44),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::R2T)
            .put_u8(1, FINAL)
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_sequence(self.sequence)
            .put_u32(36, self.r2t_sn)
            .put_u32(40, self.offset)
            .put_u32(44, self.length)
    }
}
