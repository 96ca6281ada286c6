//! Task Management Function Request and Response (RFC 7143 sections 11.5 and 11.6).

use super::FINAL;
use crate::header::Header;
use crate::lun::Lun;
use crate::numbers::{Itt, Sequence, Serial};
use crate::opcode::Opcode;

/// What is to be done (RFC 7143 section 11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub u8);

impl Function {
    /// Ends one task.
    pub const ABORT_TASK: Self = Self(1);
    /// Ends the session's tasks of a unit.
    pub const ABORT_TASK_SET: Self = Self(2);
    /// Ends an auto contingent allegiance.
    pub const CLEAR_ACA: Self = Self(3);
    /// Ends everybody's tasks of a unit.
    pub const CLEAR_TASK_SET: Self = Self(4);
    /// Resets a unit.
    pub const LOGICAL_UNIT_RESET: Self = Self(5);
    /// Resets all units.
    pub const TARGET_WARM_RESET: Self = Self(6);
    /// Resets all units and ends all sessions.
    pub const TARGET_COLD_RESET: Self = Self(7);
    /// Goes on with a task on another connection; takes an error recovery level of 2.
    pub const TASK_REASSIGN: Self = Self(8);
}

/// A Task Management Function Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagementRequest {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// What is to be done; seven bits.
    pub function: Function,
    /// The unit, where the function has one.
    pub lun: Lun,
    /// The request's tag.
    pub itt: Itt,
    /// The task that is meant, where the function has one.
    pub referenced: Itt,
    /// The command's number.
    pub cmd_sn: Serial,
    /// The next status that the initiator expects.
    pub expected_stat_sn: Serial,
    /// The number of the task that is meant.
    pub referenced_cmd_sn: Serial,
}

impl ManagementRequest {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self {
            immediate: header.is_immediate(),
            function: Function(header.flags() & !FINAL),
            lun: header.lun(),
            itt: header.itt(),
            referenced: Itt(header.u32(20)),
            cmd_sn: header.cmd_sn(),
            expected_stat_sn: header.expected_stat_sn(),
            referenced_cmd_sn: Serial(header.u32(32)),
        }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::MANAGEMENT_REQUEST)
            .immediate(self.immediate)
            .put_u8(1, FINAL | self.function.0)
            .put_lun(self.lun)
            .put_u32(16, self.itt.0)
            .put_u32(20, self.referenced.0)
            .put_u32(24, self.cmd_sn.0)
            .put_u32(28, self.expected_stat_sn.0)
            .put_u32(32, self.referenced_cmd_sn.0)
    }
}

/// How a function went (RFC 7143 section 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionResult(pub u8);

impl FunctionResult {
    /// It is done.
    pub const COMPLETE: Self = Self(0);
    /// There is no such task.
    pub const NO_SUCH_TASK: Self = Self(1);
    /// There is no such unit.
    pub const NO_SUCH_LUN: Self = Self(2);
    /// The task still belongs to another connection.
    pub const STILL_ALLEGIANT: Self = Self(3);
    /// Tasks cannot be reassigned here.
    pub const NO_REASSIGNMENT: Self = Self(4);
    /// The function is not supported.
    pub const NOT_SUPPORTED: Self = Self(5);
    /// The initiator may not do that.
    pub const NOT_ALLOWED: Self = Self(6);
    /// Refused for another reason.
    pub const REJECTED: Self = Self(255);
}

/// A Task Management Function Response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagementResponse {
    /// How it went.
    pub result: FunctionResult,
    /// The request's tag.
    pub itt: Itt,
    /// The target's numbers.
    pub sequence: Sequence,
}

impl ManagementResponse {
    /// Reads the fields.
    pub const fn decode(header: &Header) -> Self {
        Self { result: FunctionResult(header.0[2]), itt: header.itt(), sequence: header.sequence() }
    }

    /// Its header.
    pub fn encode(&self) -> Header {
        Header::new(Opcode::MANAGEMENT_RESPONSE)
            .put(1, [FINAL, self.result.0])
            .put_u32(16, self.itt.0)
            .put_sequence(self.sequence)
    }
}
