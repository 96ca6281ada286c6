//! Whether a command may be executed at all: unit attentions first, then reservations, then its own
//! fields (SAM-5 5.3.3).

use super::LogicalUnit;
use crate::command::Command;
use crate::nexus::NexusId;
use crate::port::InitiatorPort;
use crate::reservations::Access;
use crate::response::Refusal;
use crate::sense::{Sense, SenseKey};
use crate::table::{self, Entry, Rule};

/// What keeps one session from executing a command while RESERVE is in force.
enum Reserve {
    /// Only another session's.
    Anothers,
    /// Any, its own too.
    Any,
    /// Nothing.
    Nothing,
}

impl LogicalUnit {
    /// Reads a new command, if it may be executed.
    pub(super) fn admit(&mut self, nexus: NexusId, cdb: &[u8]) -> Result<Command, Refusal> {
        let found = table::find(cdb, self.config.provisioning);
        let session = self.nexuses.get_mut(nexus).ok_or(Refusal::Gone)?;
        let passes = found.as_ref().is_ok_and(|entry| entry.passes_attentions());
        if !passes && let Some(code) = session.attentions.take() {
            return Err(Sense::new(SenseKey::UnitAttention, code).into());
        }
        self.admit_entry(nexus, found?, cdb)
    }

    /// Reads a command again that has its parameter list now. Reservations may have changed since.
    pub(super) fn admit_again(&self, nexus: NexusId, cdb: &[u8]) -> Result<Command, Refusal> {
        let entry = table::find(cdb, self.config.provisioning)?;
        self.admit_entry(nexus, entry, cdb)
    }

    fn admit_entry(&self, nexus: NexusId, entry: &Entry, cdb: &[u8]) -> Result<Command, Refusal> {
        let session = self.nexuses.get(nexus).ok_or(Refusal::Gone)?;
        if !self.is_admitted(nexus, &session.port, entry.rule, cdb) {
            return Err(Refusal::Conflict);
        }
        Ok(Command::decode(entry, cdb)?)
    }

    fn is_admitted(&self, nexus: NexusId, port: &InitiatorPort, rule: Rule, cdb: &[u8]) -> bool {
        let (reserve, access) = bounds(rule, cdb);
        let by_reserve = match reserve {
            Reserve::Anothers => self.reserved_by.is_none_or(|holder| holder == nexus),
            Reserve::Any => self.reserved_by.is_none(),
            Reserve::Nothing => true,
        };
        let by_registration = match rule {
            Rule::Reserve | Rule::Release => !self.reservations.has_registrations(),
            _ => access.is_none_or(|access| self.reservations.admits(port, access)),
        };
        by_reserve && by_registration
    }
}

/// What of reservations binds a command: of RESERVE, and of persistent reservations.
fn bounds(rule: Rule, cdb: &[u8]) -> (Reserve, Option<Access>) {
    let byte_4 = cdb.get(4).copied().unwrap_or_default();
    let prevents = byte_4 & 0x03 != 0;
    let stops = byte_4 & 0x01 == 0 || byte_4 & 0xf0 != 0;
    match rule {
        Rule::Free | Rule::Release => (Reserve::Nothing, None),
        Rule::Status | Rule::Reserve => (Reserve::Anothers, None),
        Rule::Persistent => (Reserve::Any, None),
        Rule::Read => (Reserve::Anothers, Some(Access::Read)),
        Rule::Write => (Reserve::Anothers, Some(Access::Write)),
        Rule::Prevent if prevents => (Reserve::Anothers, Some(Access::Write)),
        Rule::Start if stops => (Reserve::Anothers, Some(Access::Write)),
        Rule::Prevent | Rule::Start => (Reserve::Nothing, None),
    }
}
