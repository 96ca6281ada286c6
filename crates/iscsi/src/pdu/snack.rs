//! SNACK Request: the wish to get something again, which takes an error recovery level above 0 (RFC
//! 7143 section 11.16).

use super::FINAL;
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::{Itt, Serial, Ttt};
use crate::opcode::Opcode;

/// A SNACK Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snack {
    /// What is wanted: 0 data or R2Ts, 1 statuses, 2 an acknowledgement of data, 3 data of another
    /// length; four bits.
    pub kind: u8,
    /// Copied from the Data-In that is acknowledged.
    pub lun: Lun,
    /// The task's tag.
    pub itt: Itt,
    /// Copied from the Data-In that is acknowledged.
    pub ttt: Ttt,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
    /// The first number that is wanted.
    pub begin: u32,
    /// How many are wanted; 0 for all.
    pub count: u32,
}

impl Snack {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            kind: header.flags() & 0x0f,
            lun: header.lun(),
            itt: header.itt(),
            ttt: header.ttt(),
            expected_stat_sn: header.expected_stat_sn(),
            begin: header.u32(40),
            count: header.u32(44),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::SNACK)
            .put_u8(1, FINAL | self.kind)
            .put_lun(self.lun)
            .put_tags(self.itt, self.ttt)
            .put_u32(28, self.expected_stat_sn.0)
            .put_u32(40, self.begin)
            .put_u32(44, self.count)
    }
}
