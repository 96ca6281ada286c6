//! One register: what it may hold, given everything that was written to it and read from it.
//!
//! ```text
//!   write A   |------|                      A had ended before C began: A is before C
//!   write B      |------------|
//!   write C            |------|
//!   reads                       |C|  |B|    C had ended before this read of B began: C is before B,
//!                                           so that no later read may return C again
//! ```
//!
//! A write and the reads that returned its value are one *candidate*. Two moments of a candidate
//! count: when the first of its operations ended (`first_end`; the value had been there by then) and
//! when the last of them began (`last_begin`; it had not gone for good before). A is proved to be
//! before B when `A.first_end < B.last_begin`. Where no two writes have the same value, a history
//! is one of a register exactly when no two candidates are each before the other (Gibbons and
//! Korach, "Testing Shared Memories", 1997). So a read is judged by a comparison per candidate, and
//! nothing is searched.
//!
//! A read of a value that several writes have (two trims; a single byte) stays unresolved until
//! what is proved later leaves one of them. What is unresolved proves nothing: a legal history is
//! never flagged, and an illegal one always is where values differ.

use blockferry_block::Extent;

use crate::event::{Content, Fault, Outcome, Tick, WriteId};

/// Unresolved reads kept for one register. The oldest is forgotten first, which can hide a fault
/// but not invent one.
const UNRESOLVED_MAX: usize = 16;

#[derive(Clone, Debug)]
struct Candidate<V> {
    id: WriteId,
    value: V,
    /// When the write began.
    began: Tick,
    acknowledged: Tick,
    /// When the write was given up: it may have been executed, or be executed later.
    given_up: Tick,
    first_end: Tick,
    last_begin: Tick,
    seen: bool,
}

impl<V> Candidate<V> {
    /// Whether the write was given up, never seen, and another one that began later was acknowledged
    /// before `moment`: then it is not waited for any longer.
    fn superseded(&self, other: &Self, moment: Tick) -> bool {
        !self.seen && self.given_up < other.began && other.acknowledged < moment
    }
}

/// A read that has ended, and what it may have returned.
#[derive(Clone, Debug)]
struct Unresolved {
    begin: Tick,
    end: Tick,
    ids: Vec<WriteId>,
}

/// What a register may hold, and which of its reads are under way.
#[derive(Clone, Debug)]
pub(crate) struct Register<V> {
    candidates: Vec<Candidate<V>>,
    readers: Vec<Tick>,
    unresolved: Vec<Unresolved>,
}

impl<V: Copy + PartialEq> Register<V> {
    /// A register that has held `initial` since before every event.
    pub(crate) fn new(initial: V) -> Self {
        let initial = Candidate {
            id: WriteId::INITIAL,
            value: initial,
            began: Tick::START,
            acknowledged: Tick::START,
            given_up: Tick::NEVER,
            first_end: Tick::START,
            last_begin: Tick::START,
            seen: false,
        };
        Self { candidates: vec![initial], readers: Vec::new(), unresolved: Vec::new() }
    }

    /// A write is about to be sent.
    pub(crate) fn begin_write(&mut self, at: Tick, id: WriteId, value: V) {
        self.candidates.push(Candidate {
            id,
            value,
            began: at,
            acknowledged: Tick::NEVER,
            given_up: Tick::NEVER,
            first_end: Tick::NEVER,
            last_begin: at,
            seen: false,
        });
    }

    /// The write has been answered or given up. `false` when it was refused, yet a read had returned
    /// its value.
    #[must_use]
    pub(crate) fn end_write(&mut self, at: Tick, id: WriteId, outcome: Outcome) -> bool {
        // A write that was seen and overwritten while it was under way is a candidate no more.
        let Some(index) = self.candidates.iter().position(|c| c.id == id) else { return true };
        let candidate = &mut self.candidates[index];
        match outcome {
            Outcome::Acknowledged => {
                candidate.acknowledged = at;
                candidate.first_end = candidate.first_end.min(at);
            }
            Outcome::Unknown => candidate.given_up = at,
            Outcome::Refused if candidate.seen => return false,
            Outcome::Refused => {
                self.candidates.remove(index);
            }
        }
        self.forget_the_dead(at);
        true
    }

    /// A read is about to be sent.
    pub(crate) fn begin_read(&mut self, at: Tick) {
        self.readers.push(at);
    }

    /// The read that began at `begin` has ended and tells nothing more.
    pub(crate) fn drop_read(&mut self, at: Tick, begin: Tick) {
        if let Some(index) = self.readers.iter().position(|reader| *reader == begin) {
            self.readers.swap_remove(index);
        }
        self.forget_the_dead(at);
    }

    /// Judges the read that began at `begin` and has returned `content`, of which this register is
    /// the given piece. A faulty read changes nothing.
    pub(crate) fn end_read(
        &mut self,
        at: Tick,
        begin: Tick,
        piece: Extent,
        content: &impl Content<V>,
    ) -> Result<(), Fault> {
        let legal = self.judge(at, begin, piece, content)?;
        if let [id] = *legal {
            self.returned(id, begin, at);
            self.learn(piece, content);
        } else if !legal.is_empty() {
            self.leave_open(Unresolved { begin, end: at, ids: legal });
        }
        self.resolve()
    }

    /// The candidates that the read may have returned; none for what may be a mixture, which proves
    /// nothing.
    fn judge(
        &self,
        at: Tick,
        begin: Tick,
        piece: Extent,
        content: &impl Content<V>,
    ) -> Result<Vec<WriteId>, Fault> {
        let equal = || self.candidates.iter().filter(|c| content.is(piece, &c.value));
        let legal: Vec<_> = equal().filter(|c| self.may(c, begin, at)).collect();
        let sure = legal.iter().all(|c| content.is_sure(piece, &c.value));
        if legal.is_empty() && !self.is_mixture(at, begin, piece, content) {
            let known = equal().next().is_some();
            return Err(if known { self.why_not(begin) } else { Fault::NoCandidate });
        }
        match sure || !self.raced(at, begin) {
            true => Ok(legal.into_iter().map(|c| c.id).collect()),
            false => Ok(Vec::new()),
        }
    }

    /// Whether a read over `[begin, end]` may have returned the candidate (I15).
    fn may(&self, candidate: &Candidate<V>, begin: Tick, end: Tick) -> bool {
        let first_end = candidate.first_end.min(end);
        let last_begin = candidate.last_begin.max(begin);
        self.candidates.iter().filter(|other| other.id != candidate.id).all(|other| {
            let before = first_end < other.last_begin;
            let after = other.first_end < last_begin;
            !(before && after || candidate.superseded(other, begin))
        })
    }

    /// Whether a write was under way during the read.
    fn raced(&self, at: Tick, begin: Tick) -> bool {
        let mut legal = self.candidates.iter().filter(|c| self.may(c, begin, at));
        legal.any(|c| c.acknowledged > begin && c.given_up > begin)
    }

    /// Whether the content is what a read gets that runs into a write: some bytes old, some new.
    fn is_mixture(&self, at: Tick, begin: Tick, piece: Extent, content: &impl Content<V>) -> bool {
        let legal = self.candidates.iter().filter(|c| self.may(c, begin, at));
        let values: Vec<_> = legal.map(|c| c.value).collect();
        self.raced(at, begin) && content.is_mixture(piece, &values)
    }

    fn why_not(&self, begin: Tick) -> Fault {
        if self.newer_was_seen(begin) { Fault::WentBack } else { Fault::Overwritten }
    }

    /// Whether the newest of what had certainly been there before `begin` was returned by some read.
    /// If not, an acknowledged write may be lost.
    pub(crate) fn newer_was_seen(&self, begin: Tick) -> bool {
        let there = || self.candidates.iter().filter(|c| c.first_end < begin);
        let newest = there().filter(|c| there().all(|other| c.first_end >= other.last_begin));
        newest.clone().next().is_some() && newest.into_iter().all(|c| c.seen)
    }

    fn returned(&mut self, id: WriteId, begin: Tick, end: Tick) {
        if let Some(candidate) = self.candidates.iter_mut().find(|c| c.id == id) {
            candidate.first_end = candidate.first_end.min(end);
            candidate.last_begin = candidate.last_begin.max(begin);
            candidate.seen = true;
        }
    }

    /// Beside a write the content may have been a mixture that only looks like an unknown value.
    fn learn(&mut self, piece: Extent, content: &impl Content<V>) {
        if let [only] = &mut *self.candidates {
            only.value = content.learn(piece, only.value);
        }
    }

    fn leave_open(&mut self, read: Unresolved) {
        if self.unresolved.len() == UNRESOLVED_MAX {
            self.unresolved.remove(0);
        }
        self.unresolved.push(read);
    }

    /// Narrows what was left open by what has been proved since, until nothing more follows.
    fn resolve(&mut self) -> Result<(), Fault> {
        let mut open = std::mem::take(&mut self.unresolved);
        loop {
            let before = open.len();
            let mut still_open = Vec::new();
            for mut read in open {
                read.ids.retain(|id| self.may_id(*id, read.begin, read.end));
                match *read.ids {
                    [] => return Err(Fault::WentBack),
                    [id] => self.returned(id, read.begin, read.end),
                    _ => still_open.push(read),
                }
            }
            open = still_open;
            if open.len() == before {
                self.unresolved = open;
                return Ok(());
            }
        }
    }

    fn may_id(&self, id: WriteId, begin: Tick, end: Tick) -> bool {
        self.candidates.iter().find(|c| c.id == id).is_some_and(|c| self.may(c, begin, end))
    }

    /// Drops every candidate that no read under way or to come may return: another one was there
    /// before the oldest of those reads began, and is proved to be the later of the two.
    fn forget_the_dead(&mut self, now: Tick) {
        if self.candidates.len() == 1 {
            return;
        }
        let horizon = self.readers.iter().copied().min().unwrap_or(now.next());
        let living = self.life_test(horizon);
        if self.candidates.iter().all(&living) {
            return;
        }
        self.candidates.retain(living);
        self.candidates.shrink_to_fit();
        // A past read may have returned what is dead by now; there is nothing to learn from it any more.
        let candidates = &self.candidates;
        let lives = |id: &WriteId| candidates.iter().any(|c| c.id == *id);
        self.unresolved.retain(|read| read.ids.iter().all(lives));
    }

    /// Tells the candidates that a read which begins at `horizon` or later may return, by what all
    /// the others prove together: a register may gather thousands while one read hangs.
    fn life_test(&self, horizon: Tick) -> impl Fn(&Candidate<V>) -> bool + use<V> {
        let there = || self.candidates.iter().filter(|c| c.first_end < horizon);
        let latest = there().map(|c| (c.last_begin, c.id)).max();
        let second = there().filter(|c| Some(c.id) != latest.map(|(_, id)| id));
        let second = second.map(|c| c.last_begin).max();
        let acknowledged = self.candidates.iter().filter(|c| c.acknowledged < horizon);
        let last_began = acknowledged.map(|c| c.began).max();
        move |c| {
            let newer = latest.filter(|(_, id)| *id != c.id).map(|(begin, _)| begin).or(second);
            let replaced = newer.is_some_and(|newer| c.first_end < newer);
            let superseded = !c.seen && last_began.is_some_and(|began| c.given_up < began);
            !replaced && !superseded
        }
    }

    /// What a read that begins now may return.
    pub(crate) fn legal(&self) -> impl Iterator<Item = V> + '_ {
        self.candidates.iter().map(|c| c.value)
    }

    /// Whether nothing tells it from the other: the same writes and reads, and the same is proved of
    /// them. At rest, with one value left, what is proved need not be the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.candidates, &other.candidates);
        let alone = ours.len() == 1;
        ours.len() == theirs.len()
            && self.readers == other.readers
            && self.unresolved.is_empty()
            && other.unresolved.is_empty()
            && ours.iter().zip(theirs).all(|(a, b)| {
                let proved = |c: &Candidate<V>| (c.first_end, c.last_begin, c.seen);
                a.id == b.id && a.value == b.value && (alone || proved(a) == proved(b))
            })
    }

    /// Becomes the register of both pieces. Where what is proved of them differs, one value is left, and
    /// whatever happens from now on comes after it.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (a, b) in self.candidates.iter_mut().zip(&other.candidates) {
            a.seen &= b.seen;
        }
    }
}
