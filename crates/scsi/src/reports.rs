//! Answers about the unit as a whole: its size, its commands, its place in the target.

use crate::codes::SenseCode;
use crate::command::CommandQuery;
use crate::config::{Provisioning, UnitConfig};
use crate::geometry::Geometry;
use crate::sense::{Sense, SenseKey};
use crate::table::{self, Entry};

/// READ CAPACITY (10): the last block, or that it does not fit, and a block's length (SBC-3
/// 5.15.2).
pub(crate) fn capacity_10(geometry: &Geometry) -> Vec<u8> {
    let last = u32::try_from(geometry.last().0).unwrap_or(u32::MAX);
    [last.to_be_bytes(), geometry.block_bytes().to_be_bytes()].concat()
}

/// READ CAPACITY (16) (SBC-3 5.16.2).
pub(crate) fn capacity_16(config: &UnitConfig) -> Vec<u8> {
    /// Space can be given back, and what has none reads as zeroes.
    const LBPME_LBPRZ: u8 = 0xc0;
    let mut answer = vec![0; 32];
    answer[..8].copy_from_slice(&config.geometry.last().0.to_be_bytes());
    answer[8..12].copy_from_slice(&config.geometry.block_bytes().to_be_bytes());
    answer[13] = config.geometry.physical_exponent();
    if config.provisioning == Provisioning::Thin {
        answer[14] = LBPME_LBPRZ;
    }
    answer
}

/// REPORT LUNS (SPC-4 6.33): a target of this project has one unit, at LUN 0.
///
/// # Errors
/// The sense to answer with, when a report is asked for that does not exist, or with less room than
/// one entry needs.
pub(crate) fn luns(select: u8, room: u32) -> Result<Vec<u8>, Sense> {
    const HEADER_AND_ENTRY_BYTES: u32 = 16;
    if room < HEADER_AND_ENTRY_BYTES {
        return Err(Sense::cdb_field(6, None));
    }
    let entries: &[[u8; 8]] = match select {
        0 | 2 => &[[0; 8]],
        // Well-known units: there are none.
        1 => &[],
        _ => return Err(Sense::cdb_field(2, None)),
    };
    let list = entries.concat();
    let mut answer = u32::try_from(list.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    answer.extend([0; 4]);
    answer.extend(list);
    Ok(answer)
}

/// REPORT SUPPORTED OPERATION CODES (SPC-4 6.35).
///
/// # Errors
/// The sense to answer with, when a command with service actions is asked for without one, or the
/// other way round.
pub(crate) fn commands(
    query: CommandQuery,
    timeouts: bool,
    provisioning: Provisioning,
) -> Result<Vec<u8>, Sense> {
    let (code, action) = match query {
        CommandQuery::All => return Ok(all_commands(timeouts, provisioning)),
        CommandQuery::Code(code) => (code, None),
        CommandQuery::Action(code, action) | CommandQuery::Either(code, action) => {
            (code, Some(action))
        }
    };
    let known: Vec<_> =
        table::commands(provisioning).filter(|entry| entry.opcode() == code).collect();
    let has_actions = known.iter().any(|entry| entry.action.is_some());
    let misfit = match query {
        CommandQuery::Code(_) => has_actions,
        CommandQuery::Action(..) => !known.is_empty() && !has_actions,
        _ => false,
    };
    if misfit {
        return Err(Sense::cdb_field(2, Some(2)));
    }
    let found = known.into_iter().find(|entry| match (entry.action, action) {
        (None, Some(action)) => action == 0,
        (None, None) => true,
        (Some(own), asked) => asked == Some(u16::from(own)),
    });
    Ok(one_command(found, timeouts))
}

/// SPC-4 6.35.2.
fn all_commands(timeouts: bool, provisioning: Provisioning) -> Vec<u8> {
    const CTDP: u8 = 0x02;
    const SERVACTV: u8 = 0x01;
    let mut list = Vec::new();
    for entry in table::commands(provisioning) {
        let with_timeouts = if timeouts { CTDP } else { 0 };
        let flags = if entry.action.is_some() { with_timeouts | SERVACTV } else { with_timeouts };
        list.extend([entry.opcode(), 0, 0, entry.action.unwrap_or_default(), 0, flags]);
        list.extend(length_of(entry));
        if timeouts {
            list.extend(NO_TIMEOUTS);
        }
    }
    let mut answer = u32::try_from(list.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    answer.extend(list);
    answer
}

/// SPC-4 6.35.3.
fn one_command(found: Option<&'static Entry>, timeouts: bool) -> Vec<u8> {
    const CTDP: u8 = 0x80;
    const NOT_SUPPORTED: u8 = 1;
    const AS_THE_STANDARD_SAYS: u8 = 3;
    let Some(entry) = found else { return vec![0, NOT_SUPPORTED, 0, 0] };
    let flags = AS_THE_STANDARD_SAYS | if timeouts { CTDP } else { 0 };
    let mut answer = vec![0, flags];
    answer.extend(length_of(entry));
    answer.extend(entry.usage);
    if let (Some(action), Some(byte)) = (entry.action, answer.get_mut(5)) {
        *byte = *byte & !0x1f | action;
    }
    if timeouts {
        answer.extend(NO_TIMEOUTS);
    }
    answer
}

/// A timeouts descriptor that names none (SPC-4 6.35.4).
const NO_TIMEOUTS: [u8; 12] = [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn length_of(entry: &Entry) -> [u8; 2] {
    u16::try_from(entry.usage.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36): those of iSCSI, without the ones on
/// auto contingent allegiance.
pub(crate) fn task_management(extended: bool) -> Vec<u8> {
    const ABORT_TASK: u8 = 0x80;
    const ABORT_TASK_SET: u8 = 0x40;
    const CLEAR_TASK_SET: u8 = 0x10;
    const LOGICAL_UNIT_RESET: u8 = 0x08;
    const TARGET_RESET: u8 = 0x02;
    let functions =
        ABORT_TASK | ABORT_TASK_SET | CLEAR_TASK_SET | LOGICAL_UNIT_RESET | TARGET_RESET;
    let mut answer = vec![functions, 0, 0, 0];
    if extended {
        answer[3] = 12;
        answer.extend([0; 12]);
    }
    answer
}

/// READ DEFECT DATA: the lists that were asked for, empty (SBC-3 5.17, 5.18).
pub(crate) fn defects(long: bool, lists: u8) -> Vec<u8> {
    if long { vec![0, lists, 0, 0, 0, 0, 0, 0] } else { vec![0, lists, 0, 0] }
}

/// What REQUEST SENSE tells when nothing waits.
pub(crate) const fn nothing_to_tell() -> Sense {
    Sense::new(SenseKey::NoSense, SenseCode::NONE)
}

#[cfg(test)]
mod tests;
