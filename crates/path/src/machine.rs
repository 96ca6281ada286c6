//! The rules of a path, without clock, sockets and tasks: which link a request goes to, and when it
//! may be sent again.
//!
//! ```text
//!              a move's link is open         the old link has answered all
//!    Direct ────────────────────────▶ Moving ─────────────────────────────▶ Direct
//!    ▲  │                             │    │ the old link is lost, or too slow
//!    │  │ link lost        front lost │    ▼
//!    │  ▼                             │  Fencing ── front lost ──┐
//!    │ Lost ◀─────────────────────────┴────│──────────────────── ┘
//!    │  │ a link is open                   │ fence confirmed
//!    │  ├──▶ Fencing ──────────────────────┤
//!    │  ▼ (no write stranded)              ▼
//!    └──┴──────────────────────────────────┘
//! ```
//!
//! In every phase but `Lost` new requests leave at once: a move holds none. In `Fencing` only the
//! stranded writes wait, those that went out on a link which is gone (I13). Nothing newer can touch
//! their blocks meanwhile, because [`WriteOrder`](crate::WriteOrder) lets no write leave before an
//! earlier one that it overlaps is answered.
//!
//! Each link has a generation of its own, which is what the server fences by (I12). The session may
//! have had another process before this one, which died: then the path begins `Lost`, and nothing at
//! all leaves before a fence has ended what that process has sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use blockferry_block::Generation;
use blockferry_device::{Errno, Failure, Reply, Request};

use crate::fabric::CallError;
use crate::generations::Generations;
use crate::table::{Entry, Place, RequestId, Table};

/// How long an answer may take on the old link of a move before the request is fenced and sent
/// again: a former owner that hangs must not hold a client longer than the 5 s of a bounded hold.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What a server that is not the owner begins its refusal with.
pub const NOT_THE_OWNER: &str = "not the owner";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    phase: Phase,
    table: Table,
    effects: VecDeque<Effect>,
    generations: Generations,
    /// Since when another process's requests may still execute: no fence has ended them.
    unfenced: Option<Instant>,
    /// The present front has answered something: it works.
    proven: bool,
    /// The session is over; what no server has is dropped, the rest only ends in order.
    closed: bool,
    client_timeout: Duration,
    /// Requests sent a second time.
    replayed: u64,
    longest: Duration,
}

/// See the drawing. `front` takes new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Everything goes over one link.
    Direct {
        /// It.
        front: Generation,
    },
    /// What was sent before the move ends on the old link.
    Moving {
        /// The new link.
        front: Generation,
        /// The old one.
        old: Generation,
        /// When the old one is given up.
        until: Instant,
    },
    /// Stranded writes wait for a fence.
    Fencing {
        /// The link that they will go over.
        front: Generation,
    },
    /// There is no link.
    Lost,
}

/// What the shell has to do once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send the request on the link.
    Send(RequestId, Generation, Request),
    /// Answer the client.
    Answer(RequestId, Result<Reply, Failure>),
    /// The older copies of a request that was answered before can no longer execute.
    Forget(RequestId),
    /// End the link in order: it has nothing to answer.
    Disconnect(Generation),
    /// Cut the link off; what it has not answered is treated as lost.
    Abort(Generation),
}

/// What the shell has to work on, until an event changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Nothing.
    Rest,
    /// Nothing but a move, if one is wanted.
    Free,
    /// Open a link to wherever the owner is.
    Reopen,
    /// Have everything older than this link fenced at the server behind it.
    Fence(Generation),
    /// The session is over and everything has ended.
    Finish,
}

impl Phase {
    /// The link that new requests go over.
    pub const fn front(self) -> Option<Generation> {
        match self {
            Self::Direct { front } | Self::Moving { front, .. } | Self::Fencing { front } => {
                Some(front)
            }
            Self::Lost => None,
        }
    }

    /// The link that a move leaves.
    pub const fn old(self) -> Option<Generation> {
        match self {
            Self::Moving { old, .. } => Some(old),
            _ => None,
        }
    }
}

impl Machine {
    /// A path whose first link is open, with the generations that are left.
    pub fn new(front: Generation, generations: Generations, client_timeout: Duration) -> Self {
        Self::begin(Phase::Direct { front }, generations, client_timeout)
    }

    /// The path of a session that another process had before, under lower generations.
    pub fn resumed(generations: Generations, client_timeout: Duration, now: Instant) -> Self {
        let path = Self::begin(Phase::Lost, generations, client_timeout);
        // The first try needs no pause.
        Self { unfenced: Some(now), proven: true, ..path }
    }

    fn begin(phase: Phase, generations: Generations, client_timeout: Duration) -> Self {
        Self {
            phase,
            table: Table::default(),
            effects: VecDeque::new(),
            generations,
            unfenced: None,
            proven: false,
            closed: false,
            client_timeout,
            replayed: 0,
            longest: Duration::ZERO,
        }
    }

    /// A generation for a link that is about to be opened; `None` when all are used up.
    pub fn next_generation(&mut self) -> Option<Generation> {
        self.generations.take()
    }

    /// No link was opened under this one.
    pub fn give_back(&mut self, generation: Generation) {
        self.generations.give_back(generation);
    }

    /// A client's request: the link to send it on, or `None` while it is held.
    pub fn arrive(&mut self, request: Request, now: Instant) -> (RequestId, Option<Generation>) {
        let front = self.phase.front().filter(|_| !self.closed && self.unfenced.is_none());
        let id = self.table.add(request, front.map_or(Place::Held, Place::Sent), now);
        if self.closed {
            self.fail(id, session_is_over());
        }
        (id, front)
    }

    /// A link's answer, or that there will be none. Gives it back if it is the client's.
    pub fn answered(
        &mut self,
        id: RequestId,
        link: Generation,
        outcome: Result<Reply, CallError>,
        now: Instant,
    ) -> Option<Result<Reply, Failure>> {
        if self.table.place(id) != Some(Place::Sent(link)) {
            return None; // from a link that was given up: the request has gone elsewhere
        }
        let answer = match outcome {
            Ok(reply) => Ok(reply),
            Err(CallError::Refused(failure)) if !is_transient(&failure) => Err(failure),
            // A server that shuts down or is not the owner says nothing of what else it has begun.
            Err(CallError::Refused(_) | CallError::Lost) => {
                self.lost(link);
                return None;
            }
        };
        let entry = self.table.remove(id)?;
        self.longest = self.longest.max(now.saturating_duration_since(entry.arrived));
        self.proven |= self.phase.front() == Some(link);
        self.finish_move();
        Some(answer)
    }

    /// The link is gone, or is treated so.
    pub fn lost(&mut self, link: Generation) {
        match self.phase {
            Phase::Moving { front, old, .. } if old == link => {
                self.strand(old);
                self.phase = Phase::Direct { front };
                self.go_on(front);
            }
            phase if phase.front() == Some(link) => {
                // The old link of a move ends too: the fence that comes now would end it anyway.
                self.strand(link);
                phase.old().into_iter().for_each(|old| self.strand(old));
                self.phase = Phase::Lost;
                self.drop_what_nobody_wants();
            }
            _ => {}
        }
    }

    /// A link is open: the answer to [`Work::Reopen`], or to a move while [`Work::Free`].
    pub fn opened(&mut self, link: Generation, now: Instant) {
        match self.phase {
            Phase::Direct { front } if front < link => {
                self.phase = Phase::Moving { front: link, old: front, until: now + DRAIN_MAX };
                self.proven = false;
                self.finish_move();
            }
            Phase::Lost => {
                self.proven = false;
                self.go_on(link);
            }
            _ => self.effects.push_back(Effect::Disconnect(link)),
        }
    }

    /// The server behind the link has confirmed that nothing of an older generation can execute
    /// there any more; or it cannot fence, and what is sent again is safe by the write order alone.
    pub fn fenced(&mut self, link: Generation) {
        if self.phase != (Phase::Fencing { front: link }) {
            return;
        }
        self.phase = Phase::Direct { front: link };
        self.unfenced = None;
        self.forget(Entry::is_ghost);
        self.send_waiting(link, Entry::is_waiting);
    }

    /// Time passes: answers what a client has waited for too long, and ends a move that hangs.
    pub fn tick(&mut self, now: Instant) {
        if let Phase::Moving { old, until, .. } = self.phase
            && until <= now
        {
            self.lost(old);
        }
        let timeout = self.client_timeout;
        let late = |entry: &Entry| now.saturating_duration_since(entry.arrived) >= timeout;
        for id in self.table.find(|entry| entry.is_waiting() && late(entry)) {
            self.fail(id, no_upstream(timeout));
        }
        if self.closed {
            // The server has been away for so long that it will not be waited for any longer.
            self.forget(|entry| entry.is_ghost() && late(entry));
            self.unfenced.take_if(|since| now.saturating_duration_since(*since) >= timeout);
        }
    }

    /// When [`Self::tick`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        let drain = match self.phase {
            Phase::Moving { until, .. } => Some(until),
            _ => None,
        };
        let closed = self.closed;
        let oldest = self.table.oldest(|e| e.is_waiting() || (closed && e.is_ghost()));
        let unfenced = self.unfenced.filter(|_| closed);
        let oldest = oldest.into_iter().chain(unfenced).min();
        let timeout = oldest.map(|arrived| arrived + self.client_timeout);
        drain.into_iter().chain(timeout).min()
    }

    /// The client is gone: nothing is sent any more. What a server has or may have still ends, by
    /// its answer or a fence, so that no write of this client lands after a newer one of its next
    /// connection.
    pub fn close(&mut self) {
        self.closed = true;
        self.drop_what_nobody_wants();
    }

    /// A newer connection of the client has had everything older fenced: nothing of this path can
    /// execute any more, and whoever waits for an answer waits for it there.
    pub fn superseded(&mut self) {
        self.closed = true;
        let links = [self.phase.front(), self.phase.old()];
        links.into_iter().flatten().for_each(|link| self.strand(link));
        self.phase = Phase::Lost;
        self.unfenced = None;
        self.forget(Entry::is_ghost);
        for id in self.table.find(Entry::is_waiting) {
            self.table.remove(id);
            self.effects.push_back(Effect::Answer(id, Err(session_is_over())));
        }
    }

    /// What there is to work on.
    pub fn work(&self) -> Work {
        match self.phase {
            _ if self.closed && self.table.is_empty() && self.unfenced.is_none() => Work::Finish,
            Phase::Lost => Work::Reopen,
            Phase::Fencing { front } => Work::Fence(front),
            Phase::Direct { .. } if !self.closed => Work::Free,
            Phase::Direct { .. } | Phase::Moving { .. } => Work::Rest,
        }
    }

    /// The next thing to do once.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the last front answered anything; true once a front.
    pub const fn take_proof(&mut self) -> bool {
        std::mem::replace(&mut self.proven, false)
    }

    /// Requests that were sent a second time.
    pub const fn replayed(&self) -> u64 {
        self.replayed
    }

    /// The longest time that a request has taken, answered or not.
    pub fn longest(&self, now: Instant) -> Duration {
        let oldest = self.table.oldest(|entry| !entry.is_ghost());
        let oldest = oldest.map(|arrived| now.saturating_duration_since(arrived));
        self.longest.max(oldest.unwrap_or_default())
    }

    /// Begins a new measurement of [`Self::longest`].
    pub const fn restart_longest(&mut self) {
        self.longest = Duration::ZERO;
    }

    /// Requests whose client waits.
    pub fn unanswered(&self) -> usize {
        self.table.count(|entry| !entry.is_ghost())
    }

    /// Requests among them that no server works on.
    pub fn waiting(&self) -> usize {
        self.table.count(Entry::is_waiting)
    }

    /// Whether the request was answered while an older copy of it may still execute.
    pub fn is_ghost(&self, id: RequestId) -> bool {
        self.table.place(id) == Some(Place::Ghost)
    }

    /// Goes on with a front that works, over a fence where a stranded write needs one.
    fn go_on(&mut self, front: Generation) {
        self.drop_what_nobody_wants();
        let all_wait = self.unfenced.is_some();
        self.send_waiting(front, |e| e.is_waiting() && !e.needs_fence() && !all_wait);
        let fence = all_wait || self.table.any(Entry::needs_fence);
        self.phase = if fence { Phase::Fencing { front } } else { Phase::Direct { front } };
    }

    fn finish_move(&mut self) {
        if let Phase::Moving { front, old, .. } = self.phase
            && !self.table.any(|entry| entry.place == Place::Sent(old))
        {
            self.phase = Phase::Direct { front };
            self.effects.push_back(Effect::Disconnect(old));
        }
    }

    fn strand(&mut self, link: Generation) {
        self.effects.push_back(Effect::Abort(link));
        for id in self.table.find(|entry| entry.place == Place::Sent(link)) {
            if let Some(entry) = self.table.get_mut(id) {
                entry.place = Place::Stranded;
            }
        }
    }

    fn send_waiting(&mut self, link: Generation, wanted: impl Fn(&Entry) -> bool) {
        for id in self.table.find(wanted) {
            if let Some(entry) = self.table.get_mut(id) {
                self.replayed += u64::from(entry.place == Place::Stranded);
                entry.place = Place::Sent(link);
                self.effects.push_back(Effect::Send(id, link, entry.request.clone()));
            }
        }
    }

    fn drop_what_nobody_wants(&mut self) {
        if self.closed {
            for id in self.table.find(Entry::is_waiting) {
                self.fail(id, session_is_over());
            }
        }
    }

    fn forget(&mut self, wanted: impl Fn(&Entry) -> bool) {
        for id in self.table.find(wanted) {
            self.table.remove(id);
            self.effects.push_back(Effect::Forget(id));
        }
    }

    /// Answers a waiting request with an error; it stays as a ghost where a fence must end it.
    fn fail(&mut self, id: RequestId, failure: Failure) {
        match self.table.get_mut(id) {
            Some(entry) if entry.needs_fence() => entry.place = Place::Ghost,
            _ => _ = self.table.remove(id),
        }
        self.effects.push_back(Effect::Answer(id, Err(failure)));
    }
}

/// Errors that tell of the server, not of the request: a client must never see them.
fn is_transient(failure: &Failure) -> bool {
    failure.errno == Errno::Shutdown || failure.message.starts_with(NOT_THE_OWNER)
}

fn no_upstream(timeout: Duration) -> Failure {
    let seconds = timeout.as_secs();
    Failure::new(Errno::Io, format!("no server of this volume could be reached for {seconds} s"))
}

fn session_is_over() -> Failure {
    Failure::new(Errno::Shutdown, "this session is over: its client has gone, or connected anew")
}
