//! What goes on beside the connection, and how it ends.

use std::future::Future;
use std::pin::Pin;

use blockferry_device::Failure;
use blockferry_iscsi::pdu::FunctionResult;
use blockferry_iscsi::{Cdb, ManagementId, TaskId};
use blockferry_scsi::{Medium as Wanted, Step};

use crate::execute::Executed;

/// Something that goes on.
pub(super) type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// How it ended.
pub(super) enum Ended {
    /// The medium has done what a command wanted.
    Work(Box<Worked>),
    /// What has to be done before a command goes on.
    Settled(Box<Settled>),
    /// A task management function.
    Managed(ManagementId, FunctionResult),
}

pub(super) struct Worked {
    pub(super) task: TaskId,
    pub(super) wanted: Wanted,
    pub(super) executed: Executed,
}

pub(super) struct Settled {
    pub(super) task: TaskId,
    pub(super) cdb: Cdb,
    pub(super) step: Step,
    pub(super) settled: Result<(), Failure>,
}
