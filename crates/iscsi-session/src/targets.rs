//! What a program brings to serve: the targets, and who may use them.

use std::sync::Arc;

use blockferry_iscsi::{Chap, Inquiry, IscsiName, Refusal, TargetEntry};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::medium::Medium;
use crate::unit::Unit;

/// The targets of a server. Each has one disk, its LUN 0.
pub trait Targets: Send + Sync + 'static {
    /// What an initiator that looks for targets is told.
    fn list(&self, initiator: &IscsiName) -> Vec<TargetEntry>;

    /// Lets an initiator in that looks for targets, or wants the one that it names; `Some` where it has
    /// to prove first who it is.
    ///
    /// # Errors
    /// What the initiator is told instead, as where its target is now.
    fn admit(&self, who: &Inquiry) -> Result<Option<Chap>, Refusal>;

    /// Opens a target for a session that was let in.
    ///
    /// # Errors
    /// Why the session ends before it has begun.
    fn open<'a>(
        &'a self,
        target: &'a IscsiName,
        who: &'a Inquiry,
    ) -> BoxFuture<'a, Result<Opened, Refusal>>;
}

/// A target that a session has opened.
pub struct Opened {
    /// Its disk.
    pub unit: Arc<Unit>,
    /// How the session's commands reach the volume.
    pub medium: Arc<dyn Medium>,
    /// Cancelled when the session has to end at once.
    pub cut: CancellationToken,
}
