//! The initiators of a route that are joined to an owner, and their end when the volume has another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blockferry_iscsi::PortalAddress;
use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_number: HashMap<u64, (PortalAddress, CancellationToken)>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    number: u64,
    moved: CancellationToken,
}

impl Guests {
    /// An initiator is joined to the owner at this portal.
    pub(crate) fn enter(self: &Arc<Self>, owner: PortalAddress) -> Guest {
        let moved = CancellationToken::new();
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        table.by_number.insert(number, (owner, moved.clone()));
        drop(table);
        Guest { guests: Arc::clone(self), number, moved }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.lock().by_number.len() as u64
    }

    /// The volume's owner is at this portal now.
    pub(crate) fn moved_to(&self, owner: &PortalAddress) {
        for (at, moved) in self.lock().by_number.values() {
            if at != owner {
                moved.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Returns when the volume has another owner than the one that it is joined to.
    pub(crate) async fn moved(&self) {
        self.moved.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_are_told_of_a_move_who_are_elsewhere() {
        let guests = Arc::new(Guests::default());
        let (old, new): (PortalAddress, PortalAddress) =
            ("192.0.2.1:3260".parse().unwrap(), "192.0.2.2:3260".parse().unwrap());
        let (first, second) = (guests.enter(old.clone()), guests.enter(new.clone()));
        guests.moved_to(&new);
        assert!(first.moved.is_cancelled());
        assert!(!second.moved.is_cancelled());
        drop(first);
        assert_eq!(guests.count(), 1);
    }
}
