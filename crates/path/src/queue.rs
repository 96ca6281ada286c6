//! Which writes may be under way at the same time: those that share no block.

use std::collections::{BTreeMap, HashMap};

use blockferry_block::Extent;

/// A write's place in the queue, in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Writes under way (pairwise disjoint) and those that wait for them, each behind every earlier one
/// that it overlaps. Whoever uses it bounds how many there are.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    next: u64,
    entries: HashMap<Ticket, Entry>,
    /// Start of each write under way. They are disjoint, so their ends ascend too.
    running: BTreeMap<u64, Ticket>,
    waiting: BTreeMap<Ticket, Extent>,
}

#[derive(Debug)]
struct Entry {
    extent: Extent,
    /// Earlier writes that overlap and have not been released.
    blockers: usize,
    dependents: Vec<Ticket>,
}

impl Queue {
    /// Takes a non-empty extent in; tells whether its write may begin at once.
    pub(crate) fn admit(&mut self, extent: Extent) -> (Ticket, bool) {
        let ticket = Ticket(self.next);
        self.next += 1;
        let blockers = self.blockers(extent);
        for blocker in &blockers {
            if let Some(entry) = self.entries.get_mut(blocker) {
                entry.dependents.push(ticket);
            }
        }
        let granted = blockers.is_empty();
        let entry = Entry { extent, blockers: blockers.len(), dependents: Vec::new() };
        self.entries.insert(ticket, entry);
        if granted {
            self.running.insert(extent.start(), ticket);
        } else {
            self.waiting.insert(ticket, extent);
        }
        (ticket, granted)
    }

    /// Takes a write out, whether it ended or gave up waiting; gives those that may begin now.
    pub(crate) fn release(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let Some(entry) = self.entries.remove(&ticket) else { return Vec::new() };
        if self.waiting.remove(&ticket).is_none() {
            self.running.remove(&entry.extent.start());
        }
        entry.dependents.into_iter().filter(|dependent| self.unblock(*dependent)).collect()
    }

    /// Whether another waits for this one.
    pub(crate) fn is_waited_for(&self, ticket: Ticket) -> bool {
        let dependents = self.entries.get(&ticket).map(|entry| &entry.dependents);
        dependents.is_some_and(|tickets| tickets.iter().any(|t| self.entries.contains_key(t)))
    }

    fn unblock(&mut self, ticket: Ticket) -> bool {
        let Some(entry) = self.entries.get_mut(&ticket) else { return false };
        entry.blockers -= 1;
        if entry.blockers > 0 {
            return false;
        }
        self.waiting.remove(&ticket);
        self.running.insert(entry.extent.start(), ticket);
        true
    }

    fn blockers(&self, extent: Extent) -> Vec<Ticket> {
        let before_end = self.running.range(..extent.end()).rev();
        let running = before_end
            .map(|(_, ticket)| *ticket)
            .take_while(|ticket| self.entries[ticket].extent.end() > extent.start());
        let waiting =
            self.waiting.iter().filter(|(_, other)| other.overlaps(extent)).map(|(t, _)| *t);
        running.chain(waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, end: u64) -> Extent {
        Extent::between(start, end)
    }

    #[test]
    fn writes_that_share_no_block_do_not_wait() {
        let mut queue = Queue::default();
        assert!(queue.admit(extent(0, 10)).1);
        assert!(queue.admit(extent(10, 20)).1);
    }

    #[test]
    fn a_write_waits_for_every_earlier_one_that_it_overlaps() {
        let mut queue = Queue::default();
        let (low, _) = queue.admit(extent(0, 10));
        let (high, _) = queue.admit(extent(10, 20));
        let (both, granted) = queue.admit(extent(5, 15));
        assert!(!granted);
        assert_eq!(queue.release(high), []);
        assert_eq!(queue.release(low), [both]);
    }

    #[test]
    fn writes_to_one_block_go_in_order_of_arrival() {
        let mut queue = Queue::default();
        let (first, _) = queue.admit(extent(0, 1));
        let (second, _) = queue.admit(extent(0, 1));
        let (third, _) = queue.admit(extent(0, 1));
        assert_eq!(queue.release(first), [second]);
        assert_eq!(queue.release(second), [third]);
    }

    #[test]
    fn one_that_gives_up_waiting_lets_those_behind_it_go() {
        let mut queue = Queue::default();
        let (first, _) = queue.admit(extent(0, 10));
        let (wide, _) = queue.admit(extent(5, 30));
        let (behind, granted) = queue.admit(extent(20, 30));
        assert!(!granted);
        assert_eq!(queue.release(wide), [behind]);
        assert_eq!(queue.release(first), []);
    }

    #[test]
    fn no_two_writes_under_way_ever_overlap_and_none_is_forgotten() {
        for seed in 1..200 {
            run(seed);
        }
    }

    fn run(seed: u64) {
        let mut state = seed;
        let mut draw = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut queue = Queue::default();
        let mut under_way: Vec<(Ticket, Extent)> = Vec::new();
        let mut waiting: HashMap<Ticket, Extent> = HashMap::new();
        for step in 0..400 {
            if step < 300 && draw(2) == 0 {
                let start = draw(20);
                let new = extent(start, start + 1 + draw(6));
                let (ticket, granted) = queue.admit(new);
                if granted {
                    under_way.push((ticket, new))
                } else {
                    waiting.extend([(ticket, new)])
                }
            } else if !under_way.is_empty() {
                let index = usize::try_from(draw(under_way.len() as u64)).unwrap_or(0);
                let (ticket, _) = under_way.swap_remove(index);
                for granted in queue.release(ticket) {
                    under_way.push((granted, waiting.remove(&granted).expect("it waited")));
                }
            }
            for (index, (_, one)) in under_way.iter().enumerate() {
                let clash = under_way[..index].iter().any(|(_, other)| other.overlaps(*one));
                assert!(!clash, "seed {seed}");
            }
        }
        while let Some((ticket, _)) = under_way.pop() {
            for granted in queue.release(ticket) {
                under_way.push((granted, waiting.remove(&granted).expect("it waited")));
            }
        }
        assert!(waiting.is_empty() && queue.entries.is_empty(), "seed {seed}");
    }
}
