//! What is sent again, and what becomes of requests whose switch has died.

use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::operation::Origin;
use crate::path::{Host, PathEnd};
use crate::request::Request;
use crate::wire::{FORWARD_STEP, LINK_STEP, PathGeneration, Sender, Session, link_of};
use crate::world::World;

impl World {
    /// Whether the switch has not died yet: a run has sessions for one more.
    pub(crate) fn may_lose_switch(&self) -> bool {
        let mut paths = self.clients.iter().filter_map(|client| client.path.as_ref());
        paths.all(|path| path.session <= self.scope.clients)
    }

    /// The switch dies, its keeper with it. What it has sent goes on, and nobody fences it: the next switch has sessions of
    /// its own.
    pub(crate) fn switch_dies(&mut self, owner: Host) {
        for client in 0..self.clients.len() {
            let Some(path) = self.clients[client].path.clone() else { continue };
            let end = (Sender::Switch, path.session, 0);
            for (link, host) in path.links() {
                self.link_ends(end, *link, *host);
            }
            self.abandoned.extend(self.clients[client].unanswered.take());
            let session = path.session + self.scope.clients;
            let path = PathEnd::new(session, 0, LINK_STEP, owner);
            if let (Host::Source, Some((link, _))) = (owner, path.front()) {
                self.connect_source(session, path.on_the_wire(link));
            }
            self.clients[client].path = Some(path);
        }
    }

    /// The switch's worker dies, and the next one goes on with its sessions under higher generations.
    /// What its keeper has not passed an answer on for arrives at the new paths, and leaves behind a
    /// fence.
    pub(crate) fn worker_dies(&mut self) {
        let repeats = self.breaks(Mutant::NumbersAgain);
        for client in 0..self.clients.len() {
            let Some(path) = self.clients[client].path.clone() else { continue };
            let end = (Sender::Switch, path.session, 0);
            for (link, host) in path.links() {
                self.link_ends(end, *link, *host);
            }
            let session = path.session;
            self.clients[client].path = Some(path.succeeded(repeats));
            if let Some(unanswered) = self.clients[client].unanswered {
                self.enter_path(session, unanswered.request);
            }
        }
    }

    /// Forgets abandoned requests that nothing can execute any more.
    pub(crate) fn tidy_abandoned(&mut self) {
        let (wire, operations) = (&self.wire, &self.source.operations);
        self.abandoned.retain(|of| {
            let same = |request: Option<Request>| {
                request.is_some_and(|request| request.serial == of.request.serial)
            };
            wire.calls.iter().any(|call| same(Some(call.request)))
                || wire.mirrors.iter().any(|call| same(call.request))
                || operations.iter().any(|operation| same(operation.request()))
        });
    }

    /// A request that is executed now may have been sent before: nothing older of it may be executed
    /// any more (I13).
    pub(crate) fn check_replay(
        &mut self,
        request: Request,
        session: Session,
        generation: PathGeneration,
    ) {
        if !request.is_update() {
            return;
        }
        let (here, there) = (self.source.journal.fences, self.destination.journal.fences);
        let at = usize::from(session);
        let older = |of: Session, link: PathGeneration| of == session && link < generation;
        let forwards = self.source.journal.committed;
        let calls = self.wire.calls.iter().any(|call| {
            let same = call.request.serial == request.serial;
            let allowed = match call.to {
                Host::Source if forwards => call.generation + 2 * FORWARD_STEP > there[at],
                Host::Source => call.generation >= here[at],
                Host::Destination => call.generation >= there[at],
            };
            same && older(call.session, link_of(call.generation)) && allowed
        });
        let operations = self.source.operations.iter().any(|of| match of.origin {
            Origin::Path(s, g, _) => {
                let same = of.request().is_some_and(|other| other.serial == request.serial);
                same && older(s, g) && g + 2 * FORWARD_STEP > there[at]
            }
            _ => false,
        });
        let mirrors = forwards
            && self.wire.mirrors.iter().any(|call| {
                let same = call.request.is_some_and(|other| other.serial == request.serial);
                same && older(call.session, link_of(call.generation))
                    && call.generation >= there[at]
            });
        self.broken.unless(!(calls || operations || mirrors), Invariant::I13);
    }
}
