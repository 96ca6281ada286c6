//! Commands: what a command descriptor block says, field by field.

use crate::cdb::Allocation;
use crate::geometry::{Lba, Range};
use crate::mode::ModeQuery;
use crate::reservations::{ReserveAction, ReserveReport, ScopeAndType};
use crate::sense::SenseFormat;

mod decode;

/// A command with its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// TEST UNIT READY, and a SEND DIAGNOSTIC whose test everything passes.
    Ready,
    RequestSense {
        format: SenseFormat,
        allocation: Allocation,
    },
    Inquiry {
        /// The vital product data page; standard data without.
        page: Option<u8>,
        allocation: Allocation,
    },
    ReportLuns {
        select: u8,
        allocation: Allocation,
    },
    ReadCapacity10,
    ReadCapacity16 {
        allocation: Allocation,
    },
    ReportCommands {
        query: CommandQuery,
        /// With a timeouts descriptor for each.
        timeouts: bool,
        allocation: Allocation,
    },
    ReportTaskManagement {
        extended: bool,
        allocation: Allocation,
    },
    ReadDefectData {
        /// The longer header, of READ DEFECT DATA (12).
        long: bool,
        /// Which lists in which format, to be told again.
        lists: u8,
        allocation: Allocation,
    },
    ModeSense(ModeQuery),
    ModeSelect {
        /// The longer header, of MODE SELECT (10).
        long: bool,
        /// The values are to be kept over a reset.
        save: bool,
        length: u32,
    },
    ReserveIn {
        report: ReserveReport,
        allocation: Allocation,
    },
    ReserveOut {
        action: ReserveAction,
        scope_and_type: ScopeAndType,
        length: u32,
    },
    Reserve,
    Release,
    StartStop {
        /// What was written has to be durable.
        flush: bool,
    },
    PreventAllow,
    Read {
        range: Range,
        fua: bool,
    },
    Write {
        range: Range,
        fua: bool,
    },
    WriteVerify {
        range: Range,
        compare: bool,
    },
    Verify {
        range: Range,
        check: ByteCheck,
    },
    OrWrite {
        range: Range,
        fua: bool,
    },
    CompareAndWrite {
        range: Range,
        fua: bool,
    },
    WriteSame {
        range: Range,
        unmap: bool,
        /// There is no block of data: write zeroes.
        no_data: bool,
    },
    Unmap {
        length: u32,
    },
    SynchronizeCache {
        range: Range,
    },
    PreFetch {
        range: Range,
    },
    LbaStatus {
        from: Lba,
        allocation: Allocation,
    },
}

/// What REPORT SUPPORTED OPERATION CODES asks for (SPC-4 6.35.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandQuery {
    All,
    /// One without service action.
    Code(u8),
    /// One with service action.
    Action(u8, u16),
    /// One with or without.
    Either(u8, u16),
}

/// What VERIFY compares the medium with (SBC-3 5.29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteCheck {
    /// With nothing; it has to be readable.
    Medium,
    /// With as many bytes.
    Bytes,
    /// With one block, again and again.
    Block,
}

#[cfg(test)]
mod tests;
