//! From a command descriptor block to a command.

use super::{ByteCheck, Command, CommandQuery};
use crate::cdb::Cdb;
use crate::geometry::Lba;
use crate::mode::{ModeQuery, PageControl};
use crate::reservations::{ReserveAction, ReserveReport, ScopeAndType};
use crate::sense::{Sense, SenseFormat};
use crate::table::{Entry, Form, Operation};

/// Force unit access, in byte 1 of reads and writes.
const FUA: u8 = 0x08;
/// What VERIFY compares with, in byte 1.
const BYTCHK: u8 = 0x06;
/// A WRITE SAME may give the space back, in byte 1.
const UNMAP: u8 = 0x08;
/// A WRITE SAME has no block of data, in byte 1.
const NDOB: u8 = 0x01;
/// Mode pages have the standard's format, in byte 1.
const PF: u8 = 0x10;
/// Mode parameters are saved, in byte 1.
const SP: u8 = 0x01;
/// The long block descriptor is welcome, in byte 1.
const LLBAA: u8 = 0x10;
/// No block descriptor, in byte 1.
const DBD: u8 = 0x08;

impl Command {
    /// Reads a command descriptor block of which the row is known. Bytes after its end are padding.
    ///
    /// # Errors
    /// The sense to answer with.
    pub(crate) fn decode(entry: &Entry, bytes: &[u8]) -> Result<Self, Sense> {
        entry.check(bytes)?;
        let cdb = Cdb::new(bytes);
        match entry.operation {
            Operation::Read(form) => {
                Ok(Self::Read { range: cdb.range(form), fua: is_forced(form, cdb) })
            }
            Operation::Write(form) => {
                Ok(Self::Write { range: cdb.range(form), fua: is_forced(form, cdb) })
            }
            Operation::WriteVerify(form) => write_verify(form, cdb),
            Operation::Verify(form) => verify(form, cdb),
            Operation::ModeSense6
            | Operation::ModeSense10
            | Operation::ModeSelect6
            | Operation::ModeSelect10 => mode(entry.operation, cdb),
            Operation::ReserveIn => Ok(Self::ReserveIn {
                report: ReserveReport::from_action(cdb.byte(1) & 0x1f)?,
                allocation: cdb.allocation(7..9),
            }),
            Operation::ReserveOut => Ok(Self::ReserveOut {
                action: ReserveAction::from_action(cdb.byte(1) & 0x1f)?,
                scope_and_type: ScopeAndType(cdb.byte(2)),
                length: cdb.number_u32(5..9),
            }),
            Operation::Reserve => Ok(Self::Reserve),
            Operation::Release => Ok(Self::Release),
            other => medium(other, cdb).map_or_else(|| report(other, cdb), Ok),
        }
    }
}

/// The other commands on the medium; `None` for those on the unit itself.
fn medium(operation: Operation, cdb: Cdb<'_>) -> Option<Command> {
    Some(match operation {
        Operation::OrWrite => {
            Command::OrWrite { range: cdb.range(Form::Sixteen), fua: is_forced(Form::Sixteen, cdb) }
        }
        Operation::CompareAndWrite => {
            let mut range = cdb.range(Form::Sixteen);
            range.blocks = cdb.number_u32(13..14);
            Command::CompareAndWrite { range, fua: is_forced(Form::Sixteen, cdb) }
        }
        Operation::WriteSame(form) => Command::WriteSame {
            range: cdb.range(form),
            unmap: cdb.has(1, UNMAP),
            no_data: form == Form::Sixteen && cdb.has(1, NDOB),
        },
        Operation::Unmap => Command::Unmap { length: cdb.number_u32(7..9) },
        Operation::SynchronizeCache(form) => Command::SynchronizeCache { range: cdb.range(form) },
        Operation::PreFetch(form) => Command::PreFetch { range: cdb.range(form) },
        Operation::LbaStatus => {
            Command::LbaStatus { from: Lba(cdb.number(2..10)), allocation: cdb.allocation(10..14) }
        }
        _ => return None,
    })
}

/// Commands on the unit itself that are answered from what it knows.
fn report(operation: Operation, cdb: Cdb<'_>) -> Result<Command, Sense> {
    Ok(match operation {
        Operation::RequestSense => {
            let descriptor = cdb.has(1, 0x01);
            let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
            Command::RequestSense { format, allocation: cdb.allocation(4..5) }
        }
        Operation::Inquiry => inquiry(cdb)?,
        Operation::ReportLuns => {
            Command::ReportLuns { select: cdb.byte(2), allocation: cdb.allocation(6..10) }
        }
        Operation::ReadCapacity10 => Command::ReadCapacity10,
        Operation::ReadCapacity16 => Command::ReadCapacity16 { allocation: cdb.allocation(10..14) },
        Operation::ReportCommands => report_commands(cdb)?,
        Operation::ReportTaskManagement => Command::ReportTaskManagement {
            extended: cdb.has(2, 0x80),
            allocation: cdb.allocation(6..10),
        },
        Operation::ReadDefectData10 => Command::ReadDefectData {
            long: false,
            lists: cdb.byte(2),
            allocation: cdb.allocation(7..9),
        },
        Operation::ReadDefectData12 => Command::ReadDefectData {
            long: true,
            lists: cdb.byte(1),
            allocation: cdb.allocation(6..10),
        },
        Operation::StartStop => {
            let stops = !cdb.has(4, 0x01);
            Command::StartStop { flush: stops && !cdb.has(4, 0x04) }
        }
        Operation::PreventAllow => Command::PreventAllow,
        _ => Command::Ready,
    })
}

/// READ (6) and WRITE (6) have no flags.
fn is_forced(form: Form, cdb: Cdb<'_>) -> bool {
    form != Form::Six && cdb.has(1, FUA)
}

fn write_verify(form: Form, cdb: Cdb<'_>) -> Result<Command, Sense> {
    let compare = match (cdb.byte(1) & BYTCHK) >> 1 {
        0 => false,
        1 => true,
        _ => return Err(Sense::cdb_field(1, Some(2))),
    };
    Ok(Command::WriteVerify { range: cdb.range(form), compare })
}

fn verify(form: Form, cdb: Cdb<'_>) -> Result<Command, Sense> {
    let check = match (cdb.byte(1) & BYTCHK) >> 1 {
        0 => ByteCheck::Medium,
        1 => ByteCheck::Bytes,
        3 => ByteCheck::Block,
        _ => return Err(Sense::cdb_field(1, Some(2))),
    };
    Ok(Command::Verify { range: cdb.range(form), check })
}

/// A page code without EVPD asks for nothing that exists (SPC-4 6.6.1).
fn inquiry(cdb: Cdb<'_>) -> Result<Command, Sense> {
    let (vital, code) = (cdb.has(1, 0x01), cdb.byte(2));
    if !vital && code != 0 {
        return Err(Sense::cdb_field(2, None));
    }
    Ok(Command::Inquiry { page: vital.then_some(code), allocation: cdb.allocation(3..5) })
}

fn report_commands(cdb: Cdb<'_>) -> Result<Command, Sense> {
    let code = cdb.byte(3);
    let action = cdb.number(4..6).try_into().unwrap_or_default();
    let query = match cdb.byte(2) & 0x07 {
        0 => CommandQuery::All,
        1 => CommandQuery::Code(code),
        2 => CommandQuery::Action(code, action),
        3 => CommandQuery::Either(code, action),
        _ => return Err(Sense::cdb_field(2, Some(2))),
    };
    let timeouts = cdb.has(2, 0x80);
    Ok(Command::ReportCommands { query, timeouts, allocation: cdb.allocation(6..10) })
}

fn mode(operation: Operation, cdb: Cdb<'_>) -> Result<Command, Sense> {
    let long = matches!(operation, Operation::ModeSense10 | Operation::ModeSelect10);
    let length = if long { 7..9 } else { 4..5 };
    if matches!(operation, Operation::ModeSelect6 | Operation::ModeSelect10) {
        if !cdb.has(1, PF) {
            return Err(Sense::cdb_field(1, Some(4)));
        }
        let length = cdb.number_u32(length);
        return Ok(Command::ModeSelect { long, save: cdb.has(1, SP), length });
    }
    Ok(Command::ModeSense(ModeQuery {
        long,
        block_descriptor: !cdb.has(1, DBD),
        long_lba: long && cdb.has(1, LLBAA),
        control: PageControl::from_bits(cdb.byte(2) >> 6),
        page: cdb.byte(2) & 0x3f,
        subpage: cdb.byte(3),
        allocation: cdb.allocation(length),
    }))
}
