//! Persistent reservations: who may write, by the will of initiators, whatever becomes of their
//! sessions and of the server (SPC-4 5.13).
//!
//! ```text
//!                REGISTER                    RESERVE
//! unregistered ------------> registered --------------> holder
//!       ^                        |  ^                     |
//!       |  REGISTER 0, CLEAR,    |  |      RELEASE        |
//!       +-- another's PREEMPT ---+  +---------------------+
//! ```
//!
//! With a type for all registrants everybody who is registered holds the reservation, and it ends
//! with the last of them.

use crate::port::InitiatorPort;
use crate::sense::Sense;

pub(crate) mod out;
pub(crate) mod report;

/// A reservation key; never zero for what is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// What a reservation holds back, and who holds it (SPC-4 6.15.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationType {
    /// One writes, all read.
    WriteExclusive,
    /// One reads and writes.
    ExclusiveAccess,
    /// Whoever is registered writes, all read; one holds.
    WriteExclusiveRegistrantsOnly,
    /// Whoever is registered reads and writes; one holds.
    ExclusiveAccessRegistrantsOnly,
    /// Whoever is registered writes, all read; all of those hold.
    WriteExclusiveAllRegistrants,
    /// Whoever is registered reads and writes; all of those hold.
    ExclusiveAccessAllRegistrants,
}

/// What a client does with the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads.
    Read,
    /// Changes.
    Write,
}

/// One registered port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Registration {
    pub(crate) port: InitiatorPort,
    pub(crate) key: Key,
}

/// The one reservation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reservation {
    pub(crate) kind: ReservationType,
    /// A registered port; `None` if, and only if, the type is for all registrants.
    pub(crate) holder: Option<InitiatorPort>,
}

/// All registrations and the reservation of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Reservations {
    /// Grows with each change of registrations (PRGENERATION).
    pub(crate) generation: u32,
    /// Whether everything outlives a loss of power (APTPL).
    pub(crate) persistent: bool,
    /// In the order in which they came; each port once.
    pub(crate) registrations: Vec<Registration>,
    pub(crate) reservation: Option<Reservation>,
}

/// The service actions of PERSISTENT RESERVE OUT (SPC-4 6.16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveAction {
    Register,
    Reserve,
    Release,
    Clear,
    Preempt,
    PreemptAndAbort,
    RegisterAndIgnore,
}

/// The service actions of PERSISTENT RESERVE IN (SPC-4 6.15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveReport {
    Keys,
    Reservation,
    Capabilities,
    FullStatus,
}

/// Byte 2 of PERSISTENT RESERVE OUT. It is looked at where an action makes use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeAndType(pub(crate) u8);

impl ReservationType {
    pub(crate) const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::WriteExclusive => 1,
            Self::ExclusiveAccess => 3,
            Self::WriteExclusiveRegistrantsOnly => 5,
            Self::ExclusiveAccessRegistrantsOnly => 6,
            Self::WriteExclusiveAllRegistrants => 7,
            Self::ExclusiveAccessAllRegistrants => 8,
        }
    }

    /// The type of a number from the wire.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    pub(crate) const fn is_for_all_registrants(self) -> bool {
        matches!(self, Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants)
    }

    /// Whether a registration is enough for access, and its loss has to be told.
    pub(crate) const fn admits_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    const fn lets_others_read(self) -> bool {
        matches!(
            self,
            Self::WriteExclusive
                | Self::WriteExclusiveRegistrantsOnly
                | Self::WriteExclusiveAllRegistrants
        )
    }
}

impl ReserveAction {
    pub(crate) const fn from_action(action: u8) -> Result<Self, Sense> {
        Ok(match action {
            0 => Self::Register,
            1 => Self::Reserve,
            2 => Self::Release,
            3 => Self::Clear,
            4 => Self::Preempt,
            5 => Self::PreemptAndAbort,
            6 => Self::RegisterAndIgnore,
            _ => return Err(Sense::cdb_field(1, Some(4))),
        })
    }
}

impl ReserveReport {
    pub(crate) const fn from_action(action: u8) -> Result<Self, Sense> {
        Ok(match action {
            0 => Self::Keys,
            1 => Self::Reservation,
            2 => Self::Capabilities,
            3 => Self::FullStatus,
            _ => return Err(Sense::cdb_field(1, Some(4))),
        })
    }
}

impl ScopeAndType {
    /// The type; the scope has to be the whole unit, as there is no other.
    pub(crate) fn parse(self) -> Result<ReservationType, Sense> {
        if self.0 >> 4 != 0 {
            return Err(Sense::cdb_field(2, Some(7)));
        }
        ReservationType::from_code(self.0 & 0x0f).ok_or(Sense::cdb_field(2, Some(3)))
    }
}

impl Reservations {
    /// Whether a port may read or change the medium (SPC-4 5.13.1).
    pub fn admits(&self, port: &InitiatorPort, access: Access) -> bool {
        let Some(reservation) = &self.reservation else { return true };
        let is_registered = self.key_of(port).is_some();
        let admitted = reservation.kind.admits_registrants() && is_registered;
        admitted || self.is_holder(port) || reservation.lets_strangers(access)
    }

    /// Whether a client without an initiator's name may read or change the medium. It cannot be
    /// registered: nobody could reserve against it otherwise.
    pub fn admits_stranger(&self, access: Access) -> bool {
        self.reservation.as_ref().is_none_or(|reservation| reservation.lets_strangers(access))
    }

    /// The type of the reservation, if there is one.
    pub fn held(&self) -> Option<ReservationType> {
        self.reservation.as_ref().map(|reservation| reservation.kind)
    }

    /// Whether any port is registered.
    pub(crate) fn has_registrations(&self) -> bool {
        !self.registrations.is_empty()
    }

    pub(crate) fn key_of(&self, port: &InitiatorPort) -> Option<Key> {
        let mut registrations = self.registrations.iter();
        registrations.find(|registration| registration.port == *port).map(|found| found.key)
    }

    pub(crate) fn is_holder(&self, port: &InitiatorPort) -> bool {
        self.reservation.as_ref().is_some_and(|reservation| match &reservation.holder {
            Some(holder) => holder == port,
            None => self.key_of(port).is_some(),
        })
    }

    /// What is left after a loss of power (SPC-4 5.13.5). The generation begins anew in any case.
    pub(crate) fn lose_power(&mut self) {
        if !self.persistent {
            *self = Self::default();
        }
        self.generation = 0;
    }
}

impl Reservation {
    /// A reservation that the port makes.
    pub(crate) fn by(port: &InitiatorPort, kind: ReservationType) -> Self {
        let holder = (!kind.is_for_all_registrants()).then(|| port.clone());
        Self { kind, holder }
    }

    const fn lets_strangers(&self, access: Access) -> bool {
        matches!(access, Access::Read) && self.kind.lets_others_read()
    }
}

#[cfg(test)]
mod tests;
