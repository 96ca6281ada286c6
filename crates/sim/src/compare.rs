//! The comparison of both sides under live updates, at the source: what differs is dirty, and is
//! sent again by resync.

use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::digest::LEAF;
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::Step;

use crate::link::Link;
use crate::route::{RESYNC_KEY, RETRY};

/// Length of one comparison in bytes.
const LENGTH: u64 = 4 * LEAF;

impl Link {
    /// Compares while somebody wants it.
    pub async fn keep_compares(self: Rc<Self>) {
        while !self.is_over() {
            let changed = self.volume.changed.wait();
            let next = self.volume.machine.borrow_mut().next_compare(LENGTH);
            match next {
                Some((id, extent)) => self.compare(id, extent).await,
                None => changed.await,
            }
        }
    }

    async fn compare(&self, id: OpId, extent: Extent) {
        let volume = &self.volume;
        let equal = match volume.next_step(id).await {
            Step::Apply { .. } => self.is_equal(extent).await,
            _ => None,
        };
        volume.machine.borrow_mut().compare_done(id, extent, equal);
        volume.forget(id);
        volume.after_change();
        volume.witness.note("compared", || format!("{extent}: {equal:?}"));
        if equal == Some(false) {
            volume.witness.add("compared-different", 1);
        }
        if equal.is_none() {
            volume.sim.sleep(RETRY).await;
        }
    }

    async fn is_equal(&self, extent: Extent) -> Option<bool> {
        let ours = self.volume.disk.read(extent).await.ok()?;
        let theirs = self.route.mirror_read(RESYNC_KEY, extent).await?;
        Some(ours == theirs)
    }
}
