//! SCSI Command and SCSI Response (RFC 7143 sections 11.3 and 11.4).

use super::{FINAL, when};
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::{Itt, Sequence, Serial};
use crate::opcode::Opcode;

const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const ATTRIBUTE: u8 = 0x07;
/// Residual flags, of a response and of a Data-In with status.
const OVERFLOW: u8 = 0x04;
const UNDERFLOW: u8 = 0x02;

/// A task's attribute: how it is ordered among others (RFC 7143 section 11.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Left to the target.
    Untagged,
    /// In any order.
    Simple,
    /// After all older ones, before all younger ones.
    Ordered,
    /// Before all others.
    HeadOfQueue,
    /// Only while an auto contingent allegiance lasts.
    Aca,
    /// One of the two reserved values.
    Reserved(u8),
}

impl Attribute {
    const fn decode(flags: u8) -> Self {
        match flags & ATTRIBUTE {
            0 => Self::Untagged,
            1 => Self::Simple,
            2 => Self::Ordered,
            3 => Self::HeadOfQueue,
            4 => Self::Aca,
            other => Self::Reserved(other),
        }
    }

    const fn encode(self) -> u8 {
        match self {
            Self::Untagged => 0,
            Self::Simple => 1,
            Self::Ordered => 2,
            Self::HeadOfQueue => 3,
            Self::Aca => 4,
            Self::Reserved(other) => other & ATTRIBUTE,
        }
    }
}

/// A SCSI Command. Its data, if any, is the beginning of the data to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// No unsolicited Data-Out follows (F).
    pub last: bool,
    /// Data is expected from the target (R).
    pub read: bool,
    /// Data is expected by the target (W).
    pub write: bool,
    /// The task's attribute.
    pub attribute: Attribute,
    /// The addressed unit.
    pub lun: Lun,
    /// The task's tag.
    pub itt: Itt,
    /// Expected Data Transfer Length, in bytes.
    pub expected_length: u32,
    /// The command's number.
    pub cmd_sn: Serial,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
    /// The first 16 bytes of the CDB, filled up with zeroes.
    pub cdb: [u8; 16],
}

impl ScsiCommand {
    /// Reads the fields.
    pub fn decode(header: &Header) -> Self {
        let flags = header.flags();
        let mut cdb = [0; 16];
        cdb.copy_from_slice(&header.0[32..48]);
        Self {
            immediate: header.is_immediate(),
            last: flags & FINAL != 0,
            read: flags & READ != 0,
            write: flags & WRITE != 0,
            attribute: Attribute::decode(flags),
            lun: header.lun(),
            itt: header.itt(),
            expected_length: header.u32(20),
            cmd_sn: header.cmd_sn(),
            expected_stat_sn: header.expected_stat_sn(),
            cdb,
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        let flags = when(self.last, FINAL) | when(self.read, READ) | when(self.write, WRITE);
        Header::new(Opcode::SCSI_COMMAND)
            .immediate(self.immediate)
            .put_u8(1, flags | self.attribute.encode())
            .put_lun(self.lun)
            .put_u32(16, self.itt.0)
            .put_u32(20, self.expected_length)
            .put_u32(24, self.cmd_sn.0)
            .put_u32(28, self.expected_stat_sn.0)
            .put(32, self.cdb)
    }
}

/// A SCSI status code (SAM-5 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// The command was executed.
    pub const GOOD: Self = Self(0x00);
    /// Sense data says why not.
    pub const CHECK_CONDITION: Self = Self(0x02);
    /// The unit cannot take the command now.
    pub const BUSY: Self = Self(0x08);
    /// Another initiator has reserved the unit.
    pub const RESERVATION_CONFLICT: Self = Self(0x18);
    /// There is no room for another task.
    pub const TASK_SET_FULL: Self = Self(0x28);
}

/// How what a command transfers differs from what its initiator expected (RFC 7143 section 11.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    /// Not at all.
    #[default]
    None,
    /// So many bytes were not transferred because they were not expected (O).
    Overflow(u32),
    /// So many expected bytes were not transferred (U).
    Underflow(u32),
}

impl Residual {
    /// The residual of a command that transfers `transfers` bytes where `expected` were expected.
    pub fn of(expected: u32, transfers: u64) -> Self {
        let expected = u64::from(expected);
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        match transfers {
            more if more > expected => Self::Overflow(narrow(more - expected)),
            less if less < expected => Self::Underflow(narrow(expected - less)),
            _ => Self::None,
        }
    }

    pub(super) const fn decode(flags: u8, count: u32) -> Self {
        match flags & (OVERFLOW | UNDERFLOW) {
            OVERFLOW => Self::Overflow(count),
            UNDERFLOW => Self::Underflow(count),
            _ => Self::None,
        }
    }

    /// The flag and the count.
    pub(super) const fn encode(self) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Overflow(count) => (OVERFLOW, count),
            Self::Underflow(count) => (UNDERFLOW, count),
        }
    }
}

/// Whether a command has a status at all (RFC 7143 section 11.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseCode(pub u8);

impl ResponseCode {
    /// It was completed; its status says how.
    pub const COMPLETED: Self = Self(0x00);
    /// The target failed.
    pub const TARGET_FAILURE: Self = Self(0x01);
}

/// A SCSI Response. Its data is the sense data behind its length in two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// What was not transferred.
    pub residual: Residual,
    /// Whether there is a status.
    pub response: ResponseCode,
    /// The status.
    pub status: Status,
    /// The task's tag.
    pub itt: Itt,
    /// The target's numbers.
    pub sequence: Sequence,
    /// How many Data-In and R2T PDUs there were for the command.
    pub expected_data_sn: u32,
}

impl ScsiResponse {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            residual: Residual::decode(header.flags(), header.u32(44)),
            response: ResponseCode(header.0[2]),
            status: Status(header.0[3]),
            itt: header.itt(),
            sequence: header.sequence(),
            expected_data_sn: header.u32(36),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        let (flag, count) = self.residual.encode();
        Header::new(Opcode::SCSI_RESPONSE)
            .put(1, [FINAL | flag, self.response.0, self.status.0])
            .put_u32(16, self.itt.0)
            .put_sequence(self.sequence)
            .put_u32(36, self.expected_data_sn)
            .put_u32(44, count)
    }
}
