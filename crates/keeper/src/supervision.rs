//! Which worker serves, and when another is started: without processes, sockets and clocks.
//!
//! ```text
//!             hello             nobody has it     ready             hand over, shut down
//!   Starting ───────▶ Standing ───────▶ Beginning ───────▶ Serving ───────▶ Leaving
//!       └─────────────────┴───────────────────┴───────────────┴────────────────┴──▶ ended
//! ```
//!
//! A worker that serves says so again and again. One that has fallen silent hangs, and is killed like one
//! that takes too long for anything else.
//!
//! Two workers never have the journal and the clients at once: one begins when its predecessor has
//! ended and everything that it had sent is taken. A worker for an upgrade is started beside the one
//! that serves, which goes on if the new one cannot begin. Where a worker is needed and the program on
//! disk makes none, the keeper's own program is tried in turn with it.

mod effect;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use effect::Program;
pub(crate) use effect::{Effect, Ending, Run};

/// How long a worker may take to understand its settings.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long a worker may take to open what it needs.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long a worker may take to leave: it answers what is under way, and bounds that itself.
const LEAVE_MAX: Duration = Duration::from_secs(15);
/// How long a worker that serves may be silent: several times what lies between two of its words. A
/// kernel begins to act when it has waited for an answer for half a minute.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long it is listened for then: a keeper that was stopped itself has its words before it.
const DOUBT_MAX: Duration = Duration::from_secs(2);
/// A worker that served for so long was none that cannot live.
const LIVED_MIN: Duration = Duration::from_secs(2);
/// Workers in a row that did not live, of which the next is started at once.
const AT_ONCE_MAX: u32 = 8;
/// First and longest pause before the ones after them.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// See the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Starting { until: Instant },
    Standing,
    Beginning { until: Instant },
    Serving { since: Instant, until: Instant, doubted: bool },
    Leaving { until: Instant },
    Killed { had_served: bool },
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    run: Run,
    stand: Stand,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Supervision {
    runs: Run,
    /// The one that serves or is to serve.
    worker: Option<Worker>,
    /// The one that is to take its place.
    next: Option<Worker>,
    /// One has been ready.
    proven: bool,
    /// Workers in a row that did not live.
    short_lived: u32,
    not_before: Instant,
    /// What the next worker is started from.
    program: Program,
    reload: bool,
    ending: Option<Ending>,
    over: bool,
    effects: VecDeque<Effect>,
}

impl Supervision {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            runs: 0,
            worker: None,
            next: None,
            proven: false,
            short_lived: 0,
            not_before: now,
            program: Program::OnDisk,
            reload: false,
            ending: None,
            over: false,
            effects: VecDeque::new(),
        }
    }

    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The worker that takes new clients.
    pub(crate) fn serving(&self) -> Option<Run> {
        let serves = |worker: &Worker| matches!(worker.stand, Stand::Serving { .. });
        self.worker.filter(serves).map(|worker| worker.run)
    }

    /// Whether any worker has served.
    pub(crate) const fn has_served(&self) -> bool {
        self.proven
    }

    pub(crate) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the clients' connections are to end.
    pub(crate) fn is_ending_for_good(&self) -> bool {
        self.ending == Some(Ending::ForGood)
    }

    /// Workers have served this keeper's clients before it was there: it never gives up.
    pub(crate) fn that_inherits(self) -> Self {
        Self { proven: true, ..self }
    }

    /// A worker has said hello in words that can be understood.
    pub(crate) fn hello(&mut self, run: Run) {
        if let Some(worker) = self.find(run)
            && matches!(worker.stand, Stand::Starting { .. })
        {
            worker.stand = Stand::Standing;
        }
    }

    /// A worker is one that this keeper cannot talk to.
    pub(crate) fn reject(&mut self, run: Run) {
        if let Some(worker) = self.find(run) {
            worker.stand = worker.stand.killed();
            self.effects.push_back(Effect::Kill(run));
        }
    }

    /// A worker can take clients.
    pub(crate) fn ready(&mut self, run: Run, now: Instant) {
        if let Some(worker) = self.find(run)
            && matches!(worker.stand, Stand::Beginning { .. })
        {
            worker.stand = Stand::Serving { since: now, until: now + SILENCE_MAX, doubted: false };
            self.proven = true;
            self.effects.push_back(Effect::Serve(run));
        }
    }

    /// A worker says that it lives.
    pub(crate) fn alive(&mut self, run: Run, now: Instant) {
        if let Some(worker) = self.find(run)
            && let Stand::Serving { until, doubted, .. } = &mut worker.stand
        {
            (*until, *doubted) = (now + SILENCE_MAX, false);
        }
    }

    /// A worker has ended, and so has everything that it had sent.
    pub(crate) fn exited(&mut self, run: Run, now: Instant) {
        if self.next.is_some_and(|next| next.run == run) {
            self.next = None;
            if self.worker.is_some() {
                self.effects.push_back(Effect::Refused(run));
            }
            return;
        }
        let Some(worker) = self.worker.take_if(|worker| worker.run == run) else { return };
        let lived = worker.stand.has_lived(now);
        if !worker.stand.has_served() {
            self.program = self.program.other();
        }
        self.short_lived = if lived { 0 } else { self.short_lived.saturating_add(1) };
        self.not_before = now + self.pause();
        self.worker = self.next.take();
        if !self.proven && self.ending.is_none() {
            self.over = true;
            self.effects.push_back(Effect::GiveUp);
        }
    }

    fn pause(&self) -> Duration {
        match self.short_lived.checked_sub(AT_ONCE_MAX + 1) {
            None => Duration::ZERO,
            Some(more) => PAUSE_MIN.saturating_mul(1 << more.min(16)).min(PAUSE_MAX),
        }
    }

    /// Another worker is wanted, from the program that there is now.
    pub(crate) const fn reload(&mut self) {
        self.reload = true;
        self.program = Program::OnDisk;
    }

    /// All is to end. Who was to leave its clients to another can still be told to end for good.
    pub(crate) fn end(&mut self, ending: Ending, now: Instant) {
        if self.ending.is_some_and(|known| known == ending || known == Ending::ForGood) {
            return;
        }
        self.ending = Some(ending);
        for worker in [&mut self.worker, &mut self.next].into_iter().flatten() {
            let leave = match ending {
                Ending::ForGood => Effect::ShutDown(worker.run),
                Ending::ToAnother => Effect::HandOver(worker.run),
            };
            match worker.stand {
                Stand::Serving { .. } => {
                    worker.stand = Stand::Leaving { until: now + LEAVE_MAX };
                    self.effects.push_back(leave);
                }
                // One that hands over already may have to end its clients' connections now.
                Stand::Leaving { .. } => self.effects.push_back(leave),
                Stand::Killed { .. } => {}
                _ => {
                    worker.stand = worker.stand.killed();
                    self.effects.push_back(Effect::Kill(worker.run));
                }
            }
        }
    }

    /// Goes on, `attached` being the clients whose former worker is not done with.
    pub(crate) fn advance(&mut self, now: Instant, attached: usize) {
        if self.over {
            return;
        }
        self.kill_the_late(now);
        if let Some(ending) = self.ending {
            let settled = ending == Ending::ForGood || attached == 0;
            if settled && self.worker.is_none() && self.next.is_none() {
                self.over = true;
                self.effects.push_back(Effect::Finish);
            }
            return;
        }
        match &mut self.worker {
            None if self.not_before <= now => self.worker = Some(self.start(now)),
            Some(Worker { run, stand: stand @ Stand::Standing }) if attached == 0 => {
                *stand = Stand::Beginning { until: now + READY_MAX };
                self.effects.push_back(Effect::Begin(*run));
            }
            Some(Worker { run, stand: stand @ Stand::Serving { .. } }) => {
                if self.next.is_some_and(|next| next.stand == Stand::Standing) {
                    *stand = Stand::Leaving { until: now + LEAVE_MAX };
                    self.effects.push_back(Effect::HandOver(*run));
                } else if self.reload && self.next.is_none() {
                    self.reload = false;
                    self.next = Some(self.start(now));
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, now: Instant) -> Worker {
        self.runs += 1;
        self.effects.push_back(Effect::Start(self.runs, self.program));
        Worker { run: self.runs, stand: Stand::Starting { until: now + HELLO_MAX } }
    }

    fn kill_the_late(&mut self, now: Instant) {
        for worker in [&mut self.worker, &mut self.next].into_iter().flatten() {
            if worker.stand.until().is_none_or(|until| until > now) {
                continue;
            }
            if let Stand::Serving { until, doubted: doubted @ false, .. } = &mut worker.stand {
                (*until, *doubted) = (now + DOUBT_MAX, true);
                continue;
            }
            worker.stand = worker.stand.killed();
            self.effects.push_back(Effect::Kill(worker.run));
        }
    }

    /// When [`Self::advance`] has something to do next, if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let start = self.worker.is_none().then_some(self.not_before);
        let late = [self.worker, self.next].into_iter().flatten().filter_map(|w| w.stand.until());
        late.chain(start).min()
    }

    fn find(&mut self, run: Run) -> Option<&mut Worker> {
        let workers = [&mut self.worker, &mut self.next].into_iter().flatten();
        workers.into_iter().find(|worker| worker.run == run)
    }
}

impl Stand {
    /// Whether it has had clients, or could have.
    const fn has_served(self) -> bool {
        match self {
            Self::Serving { .. } | Self::Leaving { .. } => true,
            Self::Killed { had_served } => had_served,
            Self::Starting { .. } | Self::Standing | Self::Beginning { .. } => false,
        }
    }

    /// Whether it ends after a life, not because it cannot live.
    fn has_lived(self, now: Instant) -> bool {
        match self {
            Self::Serving { since, .. } => now.saturating_duration_since(since) >= LIVED_MIN,
            other => other.has_served(),
        }
    }

    const fn killed(self) -> Self {
        Self::Killed { had_served: self.has_served() }
    }

    const fn until(self) -> Option<Instant> {
        match self {
            Self::Starting { until }
            | Self::Beginning { until }
            | Self::Serving { until, .. }
            | Self::Leaving { until } => Some(until),
            Self::Standing | Self::Killed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
