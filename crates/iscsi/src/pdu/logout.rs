//! Logout Request and Logout Response (RFC 7143 sections 11.14 and 11.15).

use super::FINAL;
use crate::header::Header;
use crate::numbers::{Cid, Itt, Sequence, Serial};
use crate::opcode::Opcode;

/// What an initiator wants to end (RFC 7143 section 11.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutReason(pub u8);

impl LogoutReason {
    /// The session with all its connections.
    pub const CLOSE_SESSION: Self = Self(0);
    /// One connection.
    pub const CLOSE_CONNECTION: Self = Self(1);
    /// One connection, whose tasks go on elsewhere; takes an error recovery level of 2.
    pub const REMOVE_FOR_RECOVERY: Self = Self(2);
}

/// A Logout Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// What is to end; seven bits.
    pub reason: LogoutReason,
    /// The request's tag.
    pub itt: Itt,
    /// The connection that is to end.
    pub cid: Cid,
    /// The command's number.
    pub cmd_sn: Serial,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
}

impl LogoutRequest {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            immediate: header.is_immediate(),
            reason: LogoutReason(header.flags() & !FINAL),
            itt: header.itt(),
            cid: Cid(header.u16(20)),
            cmd_sn: header.cmd_sn(),
            expected_stat_sn: header.expected_stat_sn(),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::LOGOUT_REQUEST)
            .immediate(self.immediate)
            .put_u8(1, FINAL | self.reason.0)
            .put_u32(16, self.itt.0)
            .put_u16(20, self.cid.0)
            .put_u32(24, self.cmd_sn.0)
            .put_u32(28, self.expected_stat_sn.0)
    }
}

/// How a logout went (RFC 7143 section 11.15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutResult(pub u8);

impl LogoutResult {
    /// The connection or the session is closed.
    pub const CLOSED: Self = Self(0);
    /// There is no such connection.
    pub const NO_SUCH_CONNECTION: Self = Self(1);
    /// Connections are not recovered here.
    pub const NO_RECOVERY: Self = Self(2);
    /// The cleanup failed.
    pub const CLEANUP_FAILED: Self = Self(3);
}

/// A Logout Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// How it went.
    pub result: LogoutResult,
    /// The request's tag.
    pub itt: Itt,
    /// The target's numbers.
    pub sequence: Sequence,
    /// Seconds to wait before a new connection.
    pub time2wait: u16,
    /// Seconds after `time2wait` until tasks that go on elsewhere are given up.
    pub time2retain: u16,
}

impl LogoutResponse {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            result: LogoutResult(header.0[2]),
            itt: header.itt(),
            sequence: header.sequence(),
            time2wait: header.u16(40),
            time2retain: header.u16(42),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::LOGOUT_RESPONSE)
            .put(1, [FINAL, self.result.0])
            .put_u32(16, self.itt.0)
            .put_sequence(self.sequence)
            .put_u16(40, self.time2wait)
            .put_u16(42, self.time2retain)
    }
}
