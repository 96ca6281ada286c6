//! Operation codes (RFC 7143 section 11.2.1.2).

use std::fmt;

/// What a PDU is; any six bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

impl Opcode {
    /// From an initiator: a ping, or the answer to one.
    pub const NOP_OUT: Self = Self(0x00);
    /// From an initiator: a SCSI command.
    pub const SCSI_COMMAND: Self = Self(0x01);
    /// From an initiator: a task management function.
    pub const MANAGEMENT_REQUEST: Self = Self(0x02);
    /// From an initiator: a step of the login.
    pub const LOGIN_REQUEST: Self = Self(0x03);
    /// From an initiator: key=value pairs.
    pub const TEXT_REQUEST: Self = Self(0x04);
    /// From an initiator: data of a write.
    pub const DATA_OUT: Self = Self(0x05);
    /// From an initiator: the wish to log out.
    pub const LOGOUT_REQUEST: Self = Self(0x06);
    /// From an initiator: the wish to get something again.
    pub const SNACK: Self = Self(0x10);
    /// From a target: a ping, or the answer to one.
    pub const NOP_IN: Self = Self(0x20);
    /// From a target: a command's status.
    pub const SCSI_RESPONSE: Self = Self(0x21);
    /// From a target: a task management function's outcome.
    pub const MANAGEMENT_RESPONSE: Self = Self(0x22);
    /// From a target: a step of the login.
    pub const LOGIN_RESPONSE: Self = Self(0x23);
    /// From a target: key=value pairs.
    pub const TEXT_RESPONSE: Self = Self(0x24);
    /// From a target: data of a read.
    pub const DATA_IN: Self = Self(0x25);
    /// From a target: leave to go.
    pub const LOGOUT_RESPONSE: Self = Self(0x26);
    /// From a target: data of a write may come.
    pub const R2T: Self = Self(0x31);
    /// From a target: something happened.
    pub const ASYNC_MESSAGE: Self = Self(0x32);
    /// From a target: a PDU could not be understood or taken.
    pub const REJECT: Self = Self(0x3f);
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NOP_OUT => "NOP-Out",
            Self::SCSI_COMMAND => "SCSI Command",
            Self::MANAGEMENT_REQUEST => "Task Management Function Request",
            Self::LOGIN_REQUEST => "Login Request",
            Self::TEXT_REQUEST => "Text Request",
            Self::DATA_OUT => "SCSI Data-Out",
            Self::LOGOUT_REQUEST => "Logout Request",
            Self::SNACK => "SNACK Request",
            Self::NOP_IN => "NOP-In",
            Self::SCSI_RESPONSE => "SCSI Response",
            Self::MANAGEMENT_RESPONSE => "Task Management Function Response",
            Self::LOGIN_RESPONSE => "Login Response",
            Self::TEXT_RESPONSE => "Text Response",
            Self::DATA_IN => "SCSI Data-In",
            Self::LOGOUT_RESPONSE => "Logout Response",
            Self::R2T => "Ready To Transfer",
            Self::ASYNC_MESSAGE => "Asynchronous Message",
            Self::REJECT => "Reject",
            Self(other) => return write!(f, "PDU {other:#04x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
