//! Additional sense codes: what exactly was wrong, as two bytes (SPC-4 annex F).

use std::fmt;

/// An additional sense code with its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SenseCode {
    asc: u8,
    ascq: u8,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $asc:literal, $ascq:literal;)*) => {
        impl SenseCode {
            $($(#[$doc])* pub const $name: Self = Self { asc: $asc, ascq: $ascq };)*

            const fn name(self) -> Option<&'static str> {
                match (self.asc, self.ascq) {
                    $(($asc, $ascq) => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Nothing to tell.
    NONE = 0x00, 0x00;
    /// The medium could not be written.
    WRITE_ERROR = 0x0c, 0x00;
    /// What the transport announced does not fit what the command describes.
    INVALID_FIELD_IN_INFORMATION_UNIT = 0x0e, 0x03;
    /// The medium could not be read.
    UNRECOVERED_READ_ERROR = 0x11, 0x00;
    /// A parameter list is cut, or longer than it may be.
    PARAMETER_LIST_LENGTH = 0x1a, 0x00;
    /// The medium holds other bytes.
    MISCOMPARE = 0x1d, 0x00;
    /// The command is not known here.
    INVALID_OPERATION_CODE = 0x20, 0x00;
    /// The command reaches beyond the last block.
    LBA_OUT_OF_RANGE = 0x21, 0x00;
    /// A field of the command descriptor block is wrong.
    INVALID_FIELD_IN_CDB = 0x24, 0x00;
    /// There is no such logical unit.
    LOGICAL_UNIT_NOT_SUPPORTED = 0x25, 0x00;
    /// A field of the parameter list is wrong.
    INVALID_FIELD_IN_PARAMETER_LIST = 0x26, 0x00;
    /// The reservation that is to be released is of another kind.
    INVALID_RELEASE = 0x26, 0x04;
    /// The volume cannot be written.
    WRITE_PROTECTED = 0x27, 0x00;
    /// An initiator has protected the unit with its control page.
    SOFTWARE_WRITE_PROTECTED = 0x27, 0x02;
    /// The pool behind the volume is full.
    SPACE_ALLOCATION_FAILED = 0x27, 0x07;
    /// The nexus is new, or the unit was restarted.
    POWER_ON_OR_RESET = 0x29, 0x00;
    /// The unit or its target was reset.
    DEVICE_RESET = 0x29, 0x03;
    /// Another nexus has changed mode parameters.
    MODE_PARAMETERS_CHANGED = 0x2a, 0x01;
    /// Reservation and registrations were cleared by another nexus.
    RESERVATIONS_PREEMPTED = 0x2a, 0x03;
    /// The reservation on which this nexus relied is no more.
    RESERVATIONS_RELEASED = 0x2a, 0x04;
    /// The registration of this nexus was taken away.
    REGISTRATIONS_PREEMPTED = 0x2a, 0x05;
    /// Something failed that an initiator could not know of.
    INTERNAL_TARGET_FAILURE = 0x44, 0x00;
    /// There is no room for another reservation key.
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x55, 0x04;
}

impl SenseCode {
    /// The additional sense code on the wire.
    pub const fn asc(self) -> u8 {
        self.asc
    }

    /// Its qualifier on the wire.
    pub const fn ascq(self) -> u8 {
        self.ascq
    }
}

impl fmt::Debug for SenseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:02x}/{:02x}", self.asc, self.ascq),
        }
    }
}
