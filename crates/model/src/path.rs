//! One end of a path to the volume's owner, around the real machine: a switch has one for each
//! client, and the source one for each session that it forwards.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use blockferry_block::Generation;
use blockferry_device::{Errno, Failure, Reply};
use blockferry_path::Generations;
use blockferry_path::machine::{DRAIN_MAX, Effect, Machine, Phase, Work};
use blockferry_path::{CallError, RequestId};
use bytes::Bytes;

use crate::request::{Request, Verb};
use crate::skip::Skip;
use crate::wire::{PathGeneration, Session};

/// No client of the model waits long enough to be told an error.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1 << 30);

/// Distance between the links of two processes that have a session one after another.
const INCARNATION: u64 = 1 << 20;

/// The same on the wire.
const LINKS_MAX: u64 = 16;

/// A storage program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathEnd {
    /// The session.
    pub session: Session,
    /// Generations on the wire: those of the machine, times the step, from the base on.
    pub base: PathGeneration,
    /// See `base`.
    pub step: PathGeneration,
    /// How many processes have had the session before.
    incarnation: u16,
    machine: Machine,
    /// Links that stand, and where they lead.
    links: Vec<(Generation, Host)>,
    /// Unanswered requests, and whether they were sent.
    requests: Vec<(RequestId, Request, bool)>,
}

/// A request that leaves over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Its number on the path.
    pub id: RequestId,
    /// The request.
    pub request: Request,
    /// The link.
    pub link: Generation,
    /// Whether it was sent before.
    pub again: bool,
}

/// One moment: nothing of the model takes time.
fn now() -> Instant {
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    *NOW
}

impl PathEnd {
    /// A path whose first link leads to the host.
    pub fn new(session: Session, base: PathGeneration, step: PathGeneration, host: Host) -> Self {
        let mut generations = Generations::ALL;
        let front = generations.take().expect("the first of many");
        let machine = Machine::new(front, generations, CLIENT_TIMEOUT);
        let links = vec![(front, host)];
        Self { session, base, step, incarnation: 0, machine, links, requests: Vec::new() }
    }

    /// The path of the next process that has the session; or one that gives its numbers again (a
    /// broken rule).
    #[must_use]
    pub fn succeeded(&self, repeats: bool) -> Self {
        let Self { session, base, step, incarnation, .. } = *self;
        let incarnation = if repeats { incarnation } else { incarnation + 1 };
        let generations = Generations::of_incarnation(incarnation);
        let machine = Machine::resumed(generations, CLIENT_TIMEOUT, now());
        let (links, requests) = (Vec::new(), Vec::new());
        Self { session, base, step, incarnation, machine, links, requests }
    }

    /// The generation of a link as servers know it: the machine's own, closer together.
    pub fn on_the_wire(&self, link: Generation) -> PathGeneration {
        let number = link.0 % INCARNATION;
        assert!(number < LINKS_MAX, "a process opens few links");
        let number = link.0 / INCARNATION * LINKS_MAX + number;
        self.base + self.step * PathGeneration::try_from(number).expect("few processes die")
    }

    /// What has to be worked on.
    pub fn work(&self) -> Work {
        self.machine.work()
    }

    /// Where new requests go.
    pub fn front(&self) -> Option<(Generation, Host)> {
        let front = self.machine.phase().front()?;
        self.links.iter().copied().find(|(link, _)| *link == front)
    }

    /// Links that stand.
    pub fn links(&self) -> &[(Generation, Host)] {
        &self.links
    }

    /// Whether a move waits for the answers of its old link.
    pub fn is_moving(&self) -> bool {
        matches!(self.machine.phase(), Phase::Moving { .. })
    }

    /// A request of the client; the link to send it over, unless it is held.
    pub fn arrive(&mut self, request: Request) -> (RequestId, Option<Generation>) {
        let (id, link) = self.machine.arrive(for_device(request), now());
        self.requests.push((id, request, link.is_some()));
        (id, link)
    }

    /// A link's answer; true if it is the client's.
    pub fn answered(&mut self, id: RequestId, link: Generation, ok: bool) -> bool {
        let outcome = match ok {
            true => Ok(Reply::Done),
            false => Err(CallError::Refused(Failure::new(Errno::Io, "the disk failed"))),
        };
        let is_clients = self.machine.answered(id, link, outcome, now()).is_some();
        if is_clients {
            self.requests.retain(|(other, ..)| *other != id);
        }
        is_clients
    }

    /// A server says that it is not the owner, or that it goes down; true if the client is told so.
    pub fn refused(&mut self, id: RequestId, link: Generation) -> bool {
        let failure = Failure::new(Errno::Shutdown, "not the owner");
        let outcome = Err(CallError::Refused(failure));
        self.machine.answered(id, link, outcome, now()).is_some()
    }

    /// A link is gone.
    pub fn lost(&mut self, link: Generation) {
        self.machine.lost(link);
    }

    /// The old link of a move answers too slowly.
    pub fn drain_too_slow(&mut self) {
        self.machine.tick(now() + DRAIN_MAX);
    }

    /// A generation for a link that is about to be opened.
    pub fn next_generation(&self) -> (Generation, PathGeneration) {
        let link = self.machine.clone().next_generation().expect("a run opens few links");
        (link, self.on_the_wire(link))
    }

    /// A link to the host is open.
    pub fn opened(&mut self, host: Host) {
        let link = self.machine.next_generation().expect("a run opens few links");
        self.links.push((link, host));
        self.machine.opened(link, now());
    }

    /// The server behind the link has confirmed the fence.
    pub fn fenced(&mut self, link: Generation) {
        self.machine.fenced(link);
    }

    /// What leaves now, and the links that are given up.
    pub fn effects(&mut self) -> (Vec<Departure>, Vec<Generation>) {
        let (mut departures, mut ended) = (Vec::new(), Vec::new());
        while let Some(effect) = self.machine.next_effect() {
            match effect {
                Effect::Send(id, link, _) => {
                    let known = self.requests.iter_mut().find(|(other, ..)| *other == id);
                    departures.extend(known.map(|(_, request, sent)| {
                        let again = std::mem::replace(sent, true);
                        Departure { id, request: *request, link, again }
                    }));
                }
                Effect::Disconnect(link) | Effect::Abort(link) => ended.push(link),
                Effect::Answer(id, _) | Effect::Forget(id) => {
                    self.requests.retain(|(other, ..)| *other != id);
                }
            }
        }
        self.links.retain(|(link, _)| !ended.contains(link));
        (departures, ended)
    }
}

/// The request as a machine sees it: it looks no closer than at whether it is a write.
fn for_device(request: Request) -> blockferry_device::Request {
    let extent = request.span.extent();
    match request.verb {
        Verb::Read => blockferry_device::Request::Read { extent, dont_fragment: false },
        Verb::Flush => blockferry_device::Request::Flush,
        Verb::Trim => blockferry_device::Request::Trim { extent, fua: false },
        Verb::Write | Verb::WriteFua => {
            let fua = request.verb == Verb::WriteFua;
            let data = Bytes::from_static(&[0]);
            blockferry_device::Request::Write { offset: extent.start(), data, fua }
        }
    }
}

/// A number of a path's request that is no part of a state.
pub type Number = Skip<RequestId>;
