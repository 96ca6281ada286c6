//! What a session tells its caller, and what the caller tells it.

use bytes::Bytes;

use crate::cdb::Cdb;
use crate::lun::Lun;
use crate::name::IscsiName;
use crate::numbers::PortalGroup;
use crate::parts::Pieces;
use crate::pdu::{Attribute, Function, Status};
use crate::portal::PortalAddress;
#[cfg(doc)]
use crate::session::Session;
use crate::session::task::TaskId;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Execute the command, then answer with [`Session::respond`]. Commands come in their order.
    Command(Command),
    /// Data that was asked for with [`Session::take`].
    Data {
        /// The command.
        task: TaskId,
        /// Where the data belongs in the command's data, in bytes.
        offset: u32,
        /// The data.
        data: Pieces,
        /// Whether that is all.
        last: bool,
    },
    /// The initiator does not want the command any more, or its data was lost. Nothing more will come for
    /// it. It still has to be answered with [`Session::respond`], once it has no effect any more; the answer is not sent.
    Aborted(TaskId),
    /// Carry out the task management function, then answer with [`Session::managed`]. The commands
    /// of this session that it ends are [`Event::Aborted`] already.
    Manage {
        /// For the answer.
        id: ManagementId,
        /// What is to be done.
        function: Function,
        /// The unit, where the function has one.
        lun: Lun,
    },
    /// Answer with [`Session::tell_targets`].
    SendTargets {
        /// For the answer.
        id: QueryId,
        /// Which targets.
        query: TargetQuery,
    },
    /// The initiator has answered [`Session::ping`].
    Pong,
    /// The initiator has logged out: send the output, then close.
    LoggedOut,
}

/// A SCSI command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// By which the command is known from now on.
    pub task: TaskId,
    /// The addressed unit.
    pub lun: Lun,
    /// What to do.
    pub cdb: Cdb,
    /// How the command is ordered among others.
    pub attribute: Attribute,
    /// Whether it was delivered outside the order of commands.
    pub immediate: bool,
    /// How much data the initiator expects, in bytes.
    pub read_length: u32,
    /// How much data the initiator has for the command, in bytes.
    pub write_length: u32,
    /// How much of that is here already, in bytes.
    pub available: u32,
}

/// How a write's data is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// All at once.
    Whole,
    /// Piece by piece, in order, as it comes.
    Pieces,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status.
    pub status: Status,
    /// Sense data; empty where there is none.
    pub sense: Bytes,
    /// How much the command transfers by its own account, in bytes, whatever the initiator expects:
    /// the residual count comes from that. What an unsuccessful command has transferred.
    pub transfers: u64,
}

impl Outcome {
    /// The command was executed and transfers so many bytes.
    pub const fn good(transfers: u64) -> Self {
        Self { status: Status::GOOD, sense: Bytes::new(), transfers }
    }

    /// The command was not executed, and has transferred nothing.
    pub const fn check_condition(sense: Bytes) -> Self {
        Self { status: Status::CHECK_CONDITION, sense, transfers: 0 }
    }
}

/// A task management function that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ManagementId(pub(super) u32);

/// A question for targets that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryId(pub(super) u32);

/// Which targets an initiator asks for (RFC 7143 appendix C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetQuery {
    /// All that it may know of.
    All,
    /// The one of the name, if there is one.
    One(IscsiName),
}

/// What an initiator is told of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEntry {
    /// Its name.
    pub name: IscsiName,
    /// Where it is reached. When it is empty, where the connection goes to.
    pub portals: Vec<(PortalAddress, PortalGroup)>,
}

/// What an initiator is told unasked (RFC 7143 section 11.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Log out within so many seconds.
    LogoutRequest {
        /// Seconds until the connection is dropped.
        within: u16,
    },
    /// This connection will be dropped.
    ConnectionDrop(Reconnect),
    /// The session will be dropped.
    SessionDrop(Reconnect),
}

/// When an initiator whose connection is dropped may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// Seconds to wait at least.
    pub time2wait: u16,
    /// Seconds after these until its tasks are given up.
    pub time2retain: u16,
}
