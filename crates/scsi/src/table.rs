//! The one table of commands. What is decoded, which bits a command may carry, what REPORT
//! SUPPORTED OPERATION CODES tells, and which command a reservation holds back: all of it stands
//! here.

use crate::codes::SenseCode;
use crate::config::Provisioning;
use crate::sense::Sense;
use crate::usage as u;

/// A command that the unit knows, as far as its operation code and service action tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    TestUnitReady,
    RequestSense,
    Inquiry,
    ReportLuns,
    ReadCapacity10,
    ReadCapacity16,
    ReportCommands,
    ReportTaskManagement,
    ReadDefectData10,
    ReadDefectData12,
    SendDiagnostic,
    ModeSense6,
    ModeSense10,
    ModeSelect6,
    ModeSelect10,
    ReserveIn,
    ReserveOut,
    Reserve,
    Release,
    StartStop,
    PreventAllow,
    Read(Form),
    Write(Form),
    WriteVerify(Form),
    Verify(Form),
    OrWrite,
    CompareAndWrite,
    WriteSame(Form),
    Unmap,
    SynchronizeCache(Form),
    PreFetch(Form),
    LbaStatus,
}

/// Where a command descriptor block has its address and its length (SPC-4 4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Six,
    Ten,
    Twelve,
    Sixteen,
}

/// What a command does as far as reservations of others are concerned: the rows of the tables of
/// commands that are allowed in the presence of reservations (SPC-4 5.13.1, SBC-3 4.17; for RESERVE
/// SPC-2 5.5.1 and annex B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Allowed whoever has reserved the unit in whatever way.
    Free,
    /// Held back by RESERVE only.
    Status,
    /// Reads: held back by exclusive access, too.
    Read,
    /// Changes something: held back by write exclusive, too.
    Write,
    /// PREVENT ALLOW MEDIUM REMOVAL: free where it allows, a change where it prevents.
    Prevent,
    /// START STOP UNIT: free where it starts, a change where it stops.
    Start,
    /// PERSISTENT RESERVE IN and OUT: held back by RESERVE, even for its holder.
    Persistent,
    /// RESERVE: held back by another's RESERVE, and by every registration.
    Reserve,
    /// RELEASE: held back by every registration.
    Release,
}

/// One row: a command with or without a service action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) operation: Operation,
    /// The low five bits of byte 1, where they belong to the operation code.
    pub(crate) action: Option<u8>,
    pub(crate) rule: Rule,
    /// For each byte of the descriptor block the bits that this unit evaluates or may ignore; the
    /// first is the operation code itself (SPC-4 6.35.3).
    pub(crate) usage: &'static [u8],
}

/// Bits of the control byte that belong to vendors. They are ignored (SAM-5 5.2).
const CONTROL_VENDOR: u8 = 0xc0;

const fn row(operation: Operation, rule: Rule, usage: &'static [u8]) -> Entry {
    Entry { operation, action: None, rule, usage }
}

const fn action(operation: Operation, action: u8, rule: Rule, usage: &'static [u8]) -> Entry {
    Entry { operation, action: Some(action), rule, usage }
}

/// Every command, in the order of operation codes and service actions.
static COMMANDS: [Entry; 56] = ROWS;

const ROWS: [Entry; 56] = [
    row(Operation::TestUnitReady, Rule::Status, u::TEST_UNIT_READY),
    row(Operation::RequestSense, Rule::Free, u::REQUEST_SENSE),
    row(Operation::Read(Form::Six), Rule::Read, u::READ_6),
    row(Operation::Write(Form::Six), Rule::Write, u::WRITE_6),
    row(Operation::Inquiry, Rule::Free, u::INQUIRY),
    row(Operation::ModeSelect6, Rule::Write, u::MODE_SELECT_6),
    row(Operation::Reserve, Rule::Reserve, u::RESERVE_6),
    row(Operation::Release, Rule::Release, u::RELEASE_6),
    row(Operation::ModeSense6, Rule::Read, u::MODE_SENSE_6),
    row(Operation::StartStop, Rule::Start, u::START_STOP_UNIT),
    row(Operation::SendDiagnostic, Rule::Write, u::SEND_DIAGNOSTIC),
    row(Operation::PreventAllow, Rule::Prevent, u::PREVENT_ALLOW),
    row(Operation::ReadCapacity10, Rule::Free, u::READ_CAPACITY_10),
    row(Operation::Read(Form::Ten), Rule::Read, u::READ_10),
    row(Operation::Write(Form::Ten), Rule::Write, u::WRITE_10),
    row(Operation::WriteVerify(Form::Ten), Rule::Write, u::WRITE_AND_VERIFY_10),
    row(Operation::Verify(Form::Ten), Rule::Read, u::VERIFY_10),
    row(Operation::PreFetch(Form::Ten), Rule::Read, u::PRE_FETCH_10),
    row(Operation::SynchronizeCache(Form::Ten), Rule::Write, u::SYNCHRONIZE_CACHE_10),
    row(Operation::ReadDefectData10, Rule::Read, u::READ_DEFECT_DATA_10),
    row(Operation::WriteSame(Form::Ten), Rule::Write, u::WRITE_SAME_10),
    row(Operation::Unmap, Rule::Write, u::UNMAP),
    row(Operation::ModeSelect10, Rule::Write, u::MODE_SELECT_10),
    row(Operation::Reserve, Rule::Reserve, u::RESERVE_10),
    row(Operation::Release, Rule::Release, u::RELEASE_10),
    row(Operation::ModeSense10, Rule::Read, u::MODE_SENSE_10),
    action(Operation::ReserveIn, 0x00, Rule::Persistent, u::PERSISTENT_RESERVE_IN),
    action(Operation::ReserveIn, 0x01, Rule::Persistent, u::PERSISTENT_RESERVE_IN),
    action(Operation::ReserveIn, 0x02, Rule::Persistent, u::PERSISTENT_RESERVE_IN),
    action(Operation::ReserveIn, 0x03, Rule::Persistent, u::PERSISTENT_RESERVE_IN),
    action(Operation::ReserveOut, 0x00, Rule::Persistent, u::PERSISTENT_RESERVE_OUT),
    action(Operation::ReserveOut, 0x01, Rule::Persistent, u::PERSISTENT_RESERVE_OUT),
    action(Operation::ReserveOut, 0x02, Rule::Persistent, u::PERSISTENT_RESERVE_OUT),
    action(Operation::ReserveOut, 0x03, Rule::Persistent, u::PERSISTENT_RESERVE_OUT),
    action(Operation::ReserveOut, 0x04, Rule::Persistent, u::PERSISTENT_RESERVE_OUT),
    action(Operation::ReserveOut, 0x05, Rule::Persistent, u::PERSISTENT_RESERVE_OUT),
    action(Operation::ReserveOut, 0x06, Rule::Persistent, u::PERSISTENT_RESERVE_OUT),
    row(Operation::Read(Form::Sixteen), Rule::Read, u::READ_16),
    row(Operation::CompareAndWrite, Rule::Write, u::COMPARE_AND_WRITE),
    row(Operation::Write(Form::Sixteen), Rule::Write, u::WRITE_16),
    row(Operation::OrWrite, Rule::Write, u::ORWRITE_16),
    row(Operation::WriteVerify(Form::Sixteen), Rule::Write, u::WRITE_AND_VERIFY_16),
    row(Operation::Verify(Form::Sixteen), Rule::Read, u::VERIFY_16),
    row(Operation::PreFetch(Form::Sixteen), Rule::Read, u::PRE_FETCH_16),
    row(Operation::SynchronizeCache(Form::Sixteen), Rule::Write, u::SYNCHRONIZE_CACHE_16),
    row(Operation::WriteSame(Form::Sixteen), Rule::Write, u::WRITE_SAME_16),
    action(Operation::ReadCapacity16, 0x10, Rule::Free, u::READ_CAPACITY_16),
    action(Operation::LbaStatus, 0x12, Rule::Read, u::GET_LBA_STATUS),
    row(Operation::ReportLuns, Rule::Free, u::REPORT_LUNS),
    action(Operation::ReportCommands, 0x0c, Rule::Read, u::REPORT_SUPPORTED_OPERATION_CODES),
    action(Operation::ReportTaskManagement, 0x0d, Rule::Read, u::REPORT_TASK_MANAGEMENT),
    row(Operation::Read(Form::Twelve), Rule::Read, u::READ_12),
    row(Operation::Write(Form::Twelve), Rule::Write, u::WRITE_12),
    row(Operation::WriteVerify(Form::Twelve), Rule::Write, u::WRITE_AND_VERIFY_12),
    row(Operation::Verify(Form::Twelve), Rule::Read, u::VERIFY_12),
    row(Operation::ReadDefectData12, Rule::Read, u::READ_DEFECT_DATA_12),
];

/// For each operation code its first row; their number where there is none.
static FIRST: [usize; 256] = first_rows();

const fn first_rows() -> [usize; 256] {
    let mut first = [ROWS.len(); 256];
    let mut index = ROWS.len();
    while index > 0 {
        index -= 1;
        first[ROWS[index].opcode() as usize] = index;
    }
    first
}

/// The commands that a unit of this provisioning knows.
pub(crate) fn commands(provisioning: Provisioning) -> impl Iterator<Item = &'static Entry> {
    COMMANDS.iter().filter(move |entry| entry.is_known(provisioning))
}

/// The row of a command descriptor block.
///
/// # Errors
/// The sense to answer with: an unknown operation code, or an unknown service action of a known
/// one.
pub(crate) fn find(cdb: &[u8], provisioning: Provisioning) -> Result<&'static Entry, Sense> {
    let unknown = Sense::illegal(SenseCode::INVALID_OPERATION_CODE);
    let opcode = *cdb.first().ok_or(unknown)?;
    let rows = COMMANDS[FIRST[usize::from(opcode)]..].iter();
    let mut of_code = rows
        .take_while(|entry| entry.opcode() == opcode)
        .filter(|entry| entry.is_known(provisioning))
        .peekable();
    of_code.peek().ok_or(unknown)?;
    let named = cdb.get(1).copied().unwrap_or_default() & 0x1f;
    of_code
        .find(|entry| entry.action.is_none_or(|action| action == named))
        .ok_or(Sense::cdb_field(1, Some(4)))
}

impl Entry {
    pub(crate) const fn opcode(&self) -> u8 {
        self.usage[0]
    }

    /// A unit without thin provisioning has nothing to unmap and nothing to tell of it (SBC-3 4.7).
    fn is_known(&self, provisioning: Provisioning) -> bool {
        let needs_thin = matches!(self.operation, Operation::Unmap | Operation::LbaStatus);
        provisioning == Provisioning::Thin || !needs_thin
    }

    /// Whether the command is executed although a unit attention waits (SAM-5 5.14).
    pub(crate) const fn passes_attentions(&self) -> bool {
        matches!(
            self.operation,
            Operation::Inquiry | Operation::ReportLuns | Operation::RequestSense
        )
    }

    /// Refuses every bit that the command does not have.
    pub(crate) fn check(&self, cdb: &[u8]) -> Result<(), Sense> {
        let length = self.usage.len();
        if cdb.len() < length {
            return Err(Sense::illegal(SenseCode::INVALID_FIELD_IN_CDB));
        }
        for (index, (byte, usage)) in (0_u16..).zip(cdb.iter().zip(self.usage)).skip(1) {
            let is_control = usize::from(index) + 1 == length;
            let ignored = if is_control { CONTROL_VENDOR } else { 0 };
            let wrong = byte & !(usage | ignored);
            if let Some(bit) = wrong.checked_ilog2() {
                return Err(Sense::cdb_field(index, u8::try_from(bit).ok()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
