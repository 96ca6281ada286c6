//! The PDUs of both sides as values: which fields the 48 bytes hold (RFC 7143 section 11).
//!
//! Decoding never fails: every field has a meaning for every content, and what is reserved is not
//! looked at. Whether a PDU may come is for the state machines.

mod command;
mod data;
mod login;
mod logout;
mod management;
mod nop;
mod notice;
mod snack;
#[cfg(test)]
mod tests;
mod text;

pub use command::{Attribute, Residual, ResponseCode, ScsiCommand, ScsiResponse, Status};
pub use data::{DataIn, DataOut, R2t};
pub use login::{LoginRequest, LoginResponse, LoginStatus, Stage};
pub use logout::{LogoutReason, LogoutRequest, LogoutResponse, LogoutResult};
pub use management::{Function, FunctionResult, ManagementRequest, ManagementResponse};
pub use nop::{NopIn, NopOut};
pub use notice::{AsyncEvent, AsyncMessage, Reject, RejectReason};
pub use snack::Snack;
pub use text::{TextRequest, TextResponse};

use crate::header::Header;
use crate::opcode::Opcode;

/// The flag of byte 1 that ends a sequence of PDUs.
const FINAL: u8 = 0x80;
/// The flag of byte 1 that says that a text goes on in the next PDU.
const CONTINUE: u8 = 0x40;

/// `bit` when the condition holds.
const fn when(condition: bool, bit: u8) -> u8 {
    if condition { bit } else { 0 }
}

/// What an initiator sends, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the PDU of its name")]
pub enum Request {
    NopOut(NopOut),
    ScsiCommand(ScsiCommand),
    Management(ManagementRequest),
    Login(LoginRequest),
    Text(TextRequest),
    DataOut(DataOut),
    Logout(LogoutRequest),
    Snack(Snack),
}

impl Request {
    /// `None` for an operation that an initiator does not have.
    pub fn decode(header: &Header) -> Option<Self> {
        Some(match header.opcode() {
            Opcode::NOP_OUT => Self::NopOut(NopOut::decode(header)),
            Opcode::SCSI_COMMAND => Self::ScsiCommand(ScsiCommand::decode(header)),
            Opcode::MANAGEMENT_REQUEST => Self::Management(ManagementRequest::decode(header)),
            Opcode::LOGIN_REQUEST => Self::Login(LoginRequest::decode(header)),
            Opcode::TEXT_REQUEST => Self::Text(TextRequest::decode(header)),
            Opcode::DATA_OUT => Self::DataOut(DataOut::decode(header)),
            Opcode::LOGOUT_REQUEST => Self::Logout(LogoutRequest::decode(header)),
            Opcode::SNACK => Self::Snack(Snack::decode(header)),
            _ => return None,
        })
    }

    /// Its header; lengths are 0.
    pub fn encode(&self) -> Header {
        match self {
            Self::NopOut(pdu) => pdu.encode(),
            Self::ScsiCommand(pdu) => pdu.encode(),
            Self::Management(pdu) => pdu.encode(),
            Self::Login(pdu) => pdu.encode(),
            Self::Text(pdu) => pdu.encode(),
            Self::DataOut(pdu) => pdu.encode(),
            Self::Logout(pdu) => pdu.encode(),
            Self::Snack(pdu) => pdu.encode(),
        }
    }
}

/// What a target sends, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the PDU of its name")]
pub enum Response {
    NopIn(NopIn),
    Scsi(ScsiResponse),
    Management(ManagementResponse),
    Login(LoginResponse),
    Text(TextResponse),
    DataIn(DataIn),
    Logout(LogoutResponse),
    R2t(R2t),
    Async(AsyncMessage),
    Reject(Reject),
}

impl Response {
    /// `None` for an operation that a target does not have.
    pub fn decode(header: &Header) -> Option<Self> {
        Some(match header.opcode() {
            Opcode::NOP_IN => Self::NopIn(NopIn::decode(header)),
            Opcode::SCSI_RESPONSE => Self::Scsi(ScsiResponse::decode(header)),
            Opcode::MANAGEMENT_RESPONSE => Self::Management(ManagementResponse::decode(header)),
            Opcode::LOGIN_RESPONSE => Self::Login(LoginResponse::decode(header)),
            Opcode::TEXT_RESPONSE => Self::Text(TextResponse::decode(header)),
            Opcode::DATA_IN => Self::DataIn(DataIn::decode(header)),
            Opcode::LOGOUT_RESPONSE => Self::Logout(LogoutResponse::decode(header)),
            Opcode::R2T => Self::R2t(R2t::decode(header)),
            Opcode::ASYNC_MESSAGE => Self::Async(AsyncMessage::decode(header)),
            Opcode::REJECT => Self::Reject(Reject::decode(header)),
            _ => return None,
        })
    }

    /// Its header; lengths are 0.
    pub fn encode(&self) -> Header {
        match self {
            Self::NopIn(pdu) => pdu.encode(),
            Self::Scsi(pdu) => pdu.encode(),
            Self::Management(pdu) => pdu.encode(),
            Self::Login(pdu) => pdu.encode(),
            Self::Text(pdu) => pdu.encode(),
            Self::DataIn(pdu) => pdu.encode(),
            Self::Logout(pdu) => pdu.encode(),
            Self::R2t(pdu) => pdu.encode(),
            Self::Async(pdu) => pdu.encode(),
            Self::Reject(pdu) => pdu.encode(),
        }
    }
}
