//! The comparison of both sides under live updates, at the source: what differs is dirty, and is
//! sent again by resync.

use std::cell::Cell;
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::digest::LEAF;
use blockferry_migration::source::Step;

use crate::executor::Signal;
use crate::link::Link;
use crate::route::{RESYNC_KEY, RETRY};

/// Length of one comparison in bytes.
const LENGTH: u64 = 4 * LEAF;

/// One pass over the volume.
#[derive(Default)]
pub struct Compared {
    wanted: Cell<bool>,
    address: Cell<u64>,
    mismatched: Cell<u64>,
    begun: Signal,
}

impl Compared {
    /// How far the pass is, and how much of that differed. A question after a pass that this run of
    /// the program knows nothing of begins it.
    pub fn ask(&self, restart: bool, size: u64) -> (u64, u64) {
        if restart || (!self.wanted.get() && self.address.get() < size) {
            self.wanted.set(true);
            self.address.set(0);
            self.mismatched.set(0);
            self.begun.raise();
        }
        (self.address.get(), self.mismatched.get())
    }
}

impl Link {
    /// Compares while somebody wants it.
    pub async fn keep_compares(self: Rc<Self>) {
        let size = self.volume.witness.size;
        while !self.is_over() {
            let compared = &self.compared;
            let begun = compared.begun.wait();
            let from = compared.address.get();
            if !compared.wanted.get() || from >= size {
                compared.wanted.set(false);
                begun.await;
                continue;
            }
            let extent = Extent::between(from, size.min(from + LENGTH));
            match self.compare(extent).await {
                None => self.volume.sim.sleep(RETRY).await,
                // A pass that was begun anew meanwhile comes by here again.
                Some(_) if compared.address.get() != from => {}
                Some(equal) => {
                    compared.address.set(extent.end());
                    let differs = if equal { 0 } else { extent.len() };
                    compared.mismatched.set(compared.mismatched.get() + differs);
                }
            }
        }
    }

    async fn compare(&self, extent: Extent) -> Option<bool> {
        let volume = &self.volume;
        let id = volume.machine.borrow_mut().begin_compare(extent);
        let Step::Apply { .. } = volume.next_step(id).await else { return None };
        let equal = self.is_equal(extent).await;
        volume.machine.borrow_mut().compare_done(id, extent, equal);
        volume.forget(id);
        volume.after_change();
        volume.witness.note("compared", || format!("{extent}: {equal:?}"));
        if equal == Some(false) {
            volume.witness.add("compared-different", 1);
        }
        equal
    }

    async fn is_equal(&self, extent: Extent) -> Option<bool> {
        let ours = self.volume.disk.read(extent).await.ok()?;
        let theirs = self.route.mirror_read(RESYNC_KEY, extent).await?;
        Some(ours == theirs)
    }
}
