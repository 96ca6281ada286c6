//! Resync: dirty extents are made equal again.

use blockferry_migration::source::MirrorOutcome;

use crate::operation::{Operation, Origin, Work};
use crate::place::{Span, ZEROES};
use crate::skip::Skip;
use crate::world::World;

impl World {
    /// Whether a resync could begin and its write be sent.
    pub(crate) fn may_resync(&self) -> bool {
        let dirty = self.source.machine.sweep().is_some_and(|sweep| sweep.dirty_bytes() > 0);
        let resyncs = self.source.operations.iter().filter(|of| of.origin == Origin::Resync);
        let open = self.source.lanes[0].is_open(self.source.epoch());
        dirty && open && self.source.is_migrating() && resyncs.count() < 2
    }

    /// A resync of a dirty extent begins. What is dirty only because it shares a unit of the log with
    /// an extent of the model is a hole on both sides, and equal again at once.
    pub(crate) fn begin_resync(&mut self) {
        while let Some((id, extent)) = self.source.machine.next_resync() {
            let Some(span) = Span::touching(extent) else {
                self.source.machine.step(id);
                self.source.machine.resync_done(id, extent, MirrorOutcome::Executed);
                continue;
            };
            let work = Work::Resync(span, Skip(extent), span.filled(ZEROES));
            self.source.operations.push(Operation::new(Some(id), Origin::Resync, work));
            return;
        }
    }
}
