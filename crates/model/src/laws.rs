//! The invariants as predicates over a state; those that are about a step are noted when it is taken.

use stateright::Property;

use crate::invariant::Invariant;
use crate::model::Migration;
use crate::place::{BLOCKS, Span, VOID};
use crate::world::World;

/// All invariants as properties, each with its number in the name.
pub fn properties() -> Vec<Property<Migration>> {
    macro_rules! properties {
        ($($id:ident),* $(,)?) => {
            vec![$(Property::always(Invariant::$id.name(), |_, world: &World| {
                world.holds(Invariant::$id)
            })),*]
        };
    }
    properties![I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12, I13, I14, I15, L1, Errors]
}

impl World {
    /// Whether the invariant holds in this state, and held on the way to it.
    pub fn holds(&self, invariant: Invariant) -> bool {
        !self.broken.has(invariant)
            && match invariant {
                Invariant::I2 => self.durable_below_w_durable(),
                Invariant::I4 => self.w_within_r(),
                Invariant::I7 => (0..BLOCKS).all(|block| self.replicas_agree(block)),
                Invariant::I8 => (0..BLOCKS).all(|block| self.keeps_promises(block)),
                Invariant::I9 => (0..BLOCKS).all(|block| self.is_logged_where_unequal(block)),
                _ => true,
            }
    }

    fn durable_below_w_durable(&self) -> bool {
        let durable = self.destination.journal.durable;
        let below = |block: &usize| Span::block(*block).extent().end() <= durable;
        let written = |block| !self.destination.disk.may_hold(block).has(VOID);
        (0..BLOCKS).filter(below).all(written)
    }

    fn w_within_r(&self) -> bool {
        let cursor = self.source.machine.sweep().map_or(0, |sweep| sweep.read_cursor());
        !self.is_common_epoch() || self.destination.machine.reserved() <= cursor
    }

    /// Below `W` both sides hold the same, but for what is dirty or being applied.
    fn replicas_agree(&self, block: usize) -> bool {
        let place = Span::block(block);
        let reserved = self.destination.machine.reserved();
        let before = !self.source.journal.committed;
        let compared = before && self.is_common_epoch() && place.extent().end() <= reserved;
        let excused = self.source.is_dirty(place) || self.source.is_changing(block);
        let equal = self.source.disk.now()[block] == self.destination.disk.now()[block];
        !compared || excused || equal
    }

    fn keeps_promises(&self, block: usize) -> bool {
        let owner = match self.source.journal.committed {
            false => &self.source.disk,
            true => &self.destination.disk,
        };
        owner.may_hold(block).within(self.registers.owed(block))
    }

    /// Where crashes of both sides could leave two contents below `W_durable`, the unit is in the
    /// activity log.
    fn is_logged_where_unequal(&self, block: usize) -> bool {
        let resumed = !self.source.journal.committed
            && Span::block(block).extent().end() <= self.destination.journal.durable;
        let (here, there) =
            (self.source.disk.may_hold(block), self.destination.disk.may_hold(block));
        let equal = here == there && here.iter().count() == 1;
        // The border between two units of the log lies between the extents.
        !resumed || equal || self.source.journal.log.contains(&(block as u32))
    }
}
