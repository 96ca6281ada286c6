//! Status codes: how a command ended (SAM-5 5.3.1).

/// The status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Done.
    Good,
    /// Not done, and the sense data says why.
    CheckCondition,
    /// Not now; the initiator tries again.
    Busy,
    /// Somebody else has reserved the unit.
    ReservationConflict,
    /// Given up, since its nexus is gone.
    TaskAborted,
}

impl Status {
    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Good => 0x00,
            Self::CheckCondition => 0x02,
            Self::Busy => 0x08,
            Self::ReservationConflict => 0x18,
            Self::TaskAborted => 0x40,
        }
    }
}
