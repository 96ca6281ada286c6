//! What an initiator can do wrong so that its session cannot go on.

use crate::numbers::Itt;
use crate::opcode::Opcode;

/// Why the connection has to be dropped: always the initiator's fault. Where data of a command that
/// the caller has is merely lost, that command ends, and the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A PDU that a session has no place for.
    #[error("a session was sent a {0}")]
    Unexpected(Opcode),
    /// Data that nobody asked for, or asked for with another tag.
    #[error("data came for task {:#x} that it may not have now", .0.0)]
    UnexpectedData(Itt),
    /// Data that is not the next: then some has been lost.
    #[error("data came for task {:#x} out of order", .0.0)]
    DataOutOfOrder(Itt),
    /// More data than the first burst or the R2T allows.
    #[error("more data came for task {:#x} than was asked for", .0.0)]
    TooMuchData(Itt),
    /// Less data than the R2T asked for.
    #[error("less data came for task {:#x} than was asked for", .0.0)]
    MissingData(Itt),
    /// A command ahead of its turn that would have to be kept, with more data than that is worth.
    #[error("a {0} came ahead of its turn with much data")]
    AheadWithData(Opcode),
}
