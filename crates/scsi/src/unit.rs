//! The logical unit: what it remembers, and what becomes of a command.
//!
//! ```text
//!   begin --+--> Answer: the command has ended
//!           +--> Parameters: so many bytes are needed --> parameters --+--> Answer
//!           |                                                          +--> Medium
//!           +--> Medium: somebody has to do this --> finish --> Response
//! ```
//!
//! Nothing waits in here: a command that is given up between two steps leaves nothing behind.

use crate::codes::SenseCode;
use crate::config::UnitConfig;
use crate::mode::Modes;
use crate::nexus::{ConnectError, NexusId, Nexuses};
use crate::port::InitiatorPort;
use crate::reservations::{Access, Reservations};
use crate::response::{Refusal, Response};
use crate::sense::SenseFormat;
use crate::state::UnitState;
use crate::work::Medium;

mod admission;
mod answers;
mod medium;
mod outcome;
mod parameters;

/// One disk.
#[derive(Clone, Debug)]
pub struct LogicalUnit {
    config: UnitConfig,
    modes: Modes,
    reservations: Reservations,
    nexuses: Nexuses,
    /// Who has sent RESERVE (SPC-2 7.21). It ends with the session.
    reserved_by: Option<NexusId>,
}

/// What becomes of a command next, and what has to be done before anybody hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// What next.
    pub step: Step,
    /// [`LogicalUnit::state`] is another one than before: it has to be where it must not get lost
    /// before the command is answered.
    pub changed: bool,
    /// Every command of these nexuses but this one has to end, unanswered, before this one is
    /// answered (PREEMPT AND ABORT).
    pub abort: Vec<NexusId>,
}

/// What becomes of a command next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has ended.
    Answer(Response),
    /// It needs its parameter list: give exactly so many bytes of the data to
    /// [`LogicalUnit::parameters`], fewer where the initiator announced fewer.
    Parameters {
        /// Length of the list, at most [`crate::limits::PARAMETER_BYTES_MAX`].
        bytes: u32,
    },
    /// It needs the medium: do that, and tell [`LogicalUnit::finish`] what came of it.
    Medium(Medium),
}

impl LogicalUnit {
    /// A unit with what travelled with its volume; [`UnitState::new`] for a new volume.
    pub fn new(config: UnitConfig, state: UnitState) -> Self {
        let UnitState { modes, reservations } = state;
        Self { config, modes, reservations, nexuses: Nexuses::default(), reserved_by: None }
    }

    /// What the unit is from outside.
    pub const fn config(&self) -> &UnitConfig {
        &self.config
    }

    /// A session begins. Its first command hears that the unit may have been reset.
    ///
    /// # Errors
    /// [`ConnectError`] when the number is in use or there are too many sessions.
    pub fn connect(&mut self, nexus: NexusId, port: InitiatorPort) -> Result<(), ConnectError> {
        self.nexuses.connect(nexus, port)
    }

    /// A session has ended, however (I_T nexus loss): what RESERVE reserved for it is free, and
    /// what it is registered for stays. Unknown numbers are none of the unit's business.
    pub fn disconnect(&mut self, nexus: NexusId) {
        self.nexuses.disconnect(nexus);
        self.reserved_by.take_if(|holder| *holder == nexus);
    }

    /// Whether the session is connected.
    pub fn is_connected(&self, nexus: NexusId) -> bool {
        self.nexuses.get(nexus).is_some()
    }

    /// LOGICAL UNIT RESET, or a reset of the whole target (SAM-5 6.3.3): what RESERVE reserved is
    /// free, mode parameters are the saved ones, and every session hears of it. Persistent
    /// reservations stay. All commands have to end, which is the caller's. Says whether
    /// [`LogicalUnit::state`] has changed.
    pub fn reset(&mut self) -> bool {
        let before = self.modes;
        self.modes.reset();
        self.reserved_by = None;
        self.nexuses.reset(SenseCode::DEVICE_RESET);
        self.modes != before
    }

    /// What has to travel with the volume.
    pub fn state(&self) -> UnitState {
        UnitState { modes: self.modes, reservations: self.reservations.clone() }
    }

    /// Takes over what travelled with the volume.
    pub fn restore(&mut self, state: UnitState) {
        self.modes = state.modes;
        self.reservations = state.reservations;
    }

    /// The persistent reservations.
    pub const fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// Whether a client without an initiator's name, one that speaks another protocol, may read or
    /// change the volume now: every kind of reservation binds it, and so does write protection.
    pub fn admits_stranger(&self, access: Access) -> bool {
        let protected = access == Access::Write && self.is_write_protected();
        self.reserved_by.is_none() && !protected && self.reservations.admits_stranger(access)
    }

    /// Whether nothing may be written, by the volume's nature or by an initiator's will.
    pub const fn is_write_protected(&self) -> bool {
        self.config.read_only || self.modes.current.write_protect
    }

    /// Begins a command. `data_out` is how many bytes the initiator has announced to send.
    pub fn begin(&mut self, nexus: NexusId, cdb: &[u8], data_out: u64) -> Begun {
        let begun = self.admit(nexus, cdb);
        let begun = begun.and_then(|command| self.start(nexus, command, data_out));
        begun.unwrap_or_else(|refusal| self.refuse(&refusal))
    }

    /// Goes on with a command that needed its parameter list.
    pub fn parameters(&mut self, nexus: NexusId, cdb: &[u8], list: &[u8]) -> Begun {
        let begun = self.admit_again(nexus, cdb);
        let begun = begun.and_then(|command| self.take(nexus, command, list));
        begun.unwrap_or_else(|refusal| self.refuse(&refusal))
    }

    fn refuse(&self, refusal: &Refusal) -> Begun {
        Begun::from(Step::Answer(Response::refused(refusal, self.sense_format())))
    }

    const fn sense_format(&self) -> SenseFormat {
        if self.modes.current.descriptor_sense {
            SenseFormat::Descriptor
        } else {
            SenseFormat::Fixed
        }
    }
}

impl From<Step> for Begun {
    /// Nothing else has to be done.
    fn from(step: Step) -> Self {
        Self { step, changed: false, abort: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
