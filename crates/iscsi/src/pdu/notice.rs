//! Asynchronous Message and Reject: what a target says unasked (RFC 7143 sections 11.9 and 11.17).

use std::fmt;

use super::FINAL;
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::{Itt, Sequence};
use crate::opcode::Opcode;

/// What happened (RFC 7143 section 11.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncEvent(pub u8);

impl AsyncEvent {
    /// A unit reports something; the data is sense data.
    pub const SCSI: Self = Self(0);
    /// The initiator is asked to log out within `parameters[2]` seconds.
    pub const LOGOUT_REQUEST: Self = Self(1);
    /// The connection `parameters[0]` will be dropped; the other two are `Time2Wait` and
    /// `Time2Retain`.
    pub const CONNECTION_DROP: Self = Self(2);
    /// All connections of the session will be dropped; the parameters are as above.
    pub const SESSION_DROP: Self = Self(3);
    /// The initiator is asked to negotiate again.
    pub const NEGOTIATION_REQUEST: Self = Self(4);
    /// Known to a vendor.
    pub const VENDOR: Self = Self(255);
}

/// An Asynchronous Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// The unit, for [`AsyncEvent::SCSI`].
    pub lun: Lun,
    /// The target's numbers.
    pub sequence: Sequence,
    /// What happened.
    pub event: AsyncEvent,
    /// For [`AsyncEvent::VENDOR`].
    pub vendor_code: u8,
    /// `Parameter1` to `Parameter3`.
    pub parameters: [u16; 3],
}

impl AsyncMessage {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            lun: header.lun(),
            sequence: header.sequence(),
            event: AsyncEvent(header.0[36]),
            vendor_code: header.0[37],
            parameters: [header.u16(38), header.u16(40), header.u16(42)],
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        let [first, second, third] = self.parameters;
        Header::new(Opcode::ASYNC_MESSAGE)
            .put_u8(1, FINAL)
            .put_lun(self.lun)
            .put_u32(16, Itt::NONE.0)
            .put_sequence(self.sequence)
            .put(36, [self.event.0, self.vendor_code])
            .put_u16(38, first)
            .put_u16(40, second)
            .put_u16(42, third)
    }
}

/// Why a PDU was not taken (RFC 7143 section 11.17.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RejectReason(pub u8);

impl RejectReason {
    /// Its data was damaged.
    pub const DATA_DIGEST: Self = Self(0x02);
    /// Nothing is sent again here.
    pub const SNACK: Self = Self(0x03);
    /// It may not come now, or contradicts itself.
    pub const PROTOCOL_ERROR: Self = Self(0x04);
    /// There is no such command here.
    pub const NOT_SUPPORTED: Self = Self(0x05);
    /// Too many immediate commands are under way.
    pub const TOO_MANY_IMMEDIATE: Self = Self(0x06);
    /// Its tag is in use.
    pub const TASK_IN_PROGRESS: Self = Self(0x07);
    /// A field has a value that it cannot have.
    pub const INVALID_FIELD: Self = Self(0x09);
    /// No transfer tag is left.
    pub const OUT_OF_RESOURCES: Self = Self(0x0a);
    /// Only a logout is taken now.
    pub const WAITING_FOR_LOGOUT: Self = Self(0x0c);
}

impl fmt::Debug for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::DATA_DIGEST => "data digest error",
            Self::SNACK => "SNACK reject",
            Self::PROTOCOL_ERROR => "protocol error",
            Self::NOT_SUPPORTED => "command not supported",
            Self::TOO_MANY_IMMEDIATE => "too many immediate commands",
            Self::TASK_IN_PROGRESS => "task in progress",
            Self::INVALID_FIELD => "invalid PDU field",
            Self::OUT_OF_RESOURCES => "out of resources",
            Self::WAITING_FOR_LOGOUT => "waiting for logout",
            Self(other) => return write!(f, "reject reason {other:#04x}"),
        };
        f.write_str(name)
    }
}

/// A Reject. Its data is the header of the PDU that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// The target's numbers.
    pub sequence: Sequence,
    /// The next number of data, for a few reasons that are not used here.
    pub data_sn: u32,
}

impl Reject {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            reason: RejectReason(header.0[2]),
            sequence: header.sequence(),
            data_sn: header.u32(36),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::REJECT)
            .put(1, [FINAL, self.reason.0])
            .put_u32(16, Itt::NONE.0)
            .put_sequence(self.sequence)
            .put_u32(36, self.data_sn)
    }
}
