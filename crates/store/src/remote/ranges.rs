//! Ranges that one request at a time may change.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use blockferry_block::Extent;
use tokio_util::sync::CancellationToken;

/// The ranges that are held or waited for, in the order in which they were asked for. Whoever asks
/// waits for those before it that overlap, so nobody starves and nobody waits in a circle.
#[derive(Debug, Default)]
pub(super) struct Ranges(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    extent: Extent,
    /// Cancelled when the range is let go.
    gone: CancellationToken,
}

/// A range that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    ranges: &'a Ranges,
    key: u64,
}

impl Ranges {
    /// Waits until nobody who asked before holds any byte of the extent, then holds it.
    pub(super) async fn hold(&self, extent: Extent) -> Held<'_> {
        let (held, before) = self.enter(extent);
        for gone in before {
            gone.cancelled().await;
        }
        held
    }

    fn enter(&self, extent: Extent) -> (Held<'_>, Vec<CancellationToken>) {
        let mut list = self.list();
        let overlapping = list.entries.values().filter(|entry| entry.extent.overlaps(extent));
        let before = overlapping.map(|entry| entry.gone.clone()).collect();
        let key = list.next;
        list.next += 1;
        list.entries.insert(key, Entry { extent, gone: CancellationToken::new() });
        (Held { ranges: self, key }, before)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // The list is whole after every step, whatever panicked elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let entry = self.ranges.list().entries.remove(&self.key);
        if let Some(entry) = entry {
            entry.gone.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_ready(future: std::pin::Pin<&mut impl Future>) -> bool {
        matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }

    #[test]
    fn overlapping_ranges_are_held_one_after_the_other_in_order() {
        let ranges = Ranges::default();
        let mut held = Vec::new();
        let (first, before) = ranges.enter(Extent::between(0, 10));
        assert!(before.is_empty());
        held.push(first);
        let mut elsewhere = pin!(ranges.hold(Extent::between(10, 20)));
        assert!(is_ready(elsewhere.as_mut()));
        let mut second = pin!(ranges.hold(Extent::between(5, 6)));
        assert!(!is_ready(second.as_mut()));
        let (third, before) = ranges.enter(Extent::between(0, 6));
        assert_eq!(before.len(), 2, "it waits for the holder and for who waits before it");
        drop(held.pop());
        assert!(is_ready(second.as_mut()));
        drop(third);
    }

    #[test]
    fn who_gives_up_waiting_is_waited_for_no_longer() {
        let ranges = Ranges::default();
        let (_first, _) = ranges.enter(Extent::between(0, 1));
        let (second, _) = ranges.enter(Extent::between(0, 10));
        let mut third = pin!(ranges.hold(Extent::between(5, 6)));
        assert!(!is_ready(third.as_mut()));
        drop(second);
        assert!(is_ready(third.as_mut()));
    }
}
