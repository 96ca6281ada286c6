//! The switch: a path for each client, which it keeps when the path's server dies or changes.

use blockferry_block::Generation;
use blockferry_path::RequestId;
use blockferry_path::machine::Work;

use crate::action::Action;
use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::operation::{Origin, Stage, Way};
use crate::path::{Departure, Host, PathEnd};
use crate::place::Content;
use crate::request::{Request, Verb};
use crate::skip::Skip;
use crate::source::Connection;
use crate::wire::{Call, FORWARD_STEP, PathGeneration, Sender, Session, link_of};
use crate::world::World;

/// Where a path begins: at the switch, or at a connection of the source.
type End = (Sender, Session, PathGeneration);

impl World {
    fn path(&self, end: End) -> Option<&PathEnd> {
        match end {
            (Sender::Switch, session, _) => {
                let mut paths = self.clients.iter().filter_map(|client| client.path.as_ref());
                paths.find(|path| path.session == session)
            }
            (Sender::Source, session, generation) => {
                let wanted = (session, link_of(generation));
                let is_it = |of: &&Connection| (of.session, of.generation) == wanted;
                self.source.connections.iter().find(is_it)?.forward.as_ref()
            }
        }
    }

    fn path_mut(&mut self, end: End) -> Option<&mut PathEnd> {
        match end {
            (Sender::Switch, session, _) => {
                let mut paths = self.clients.iter_mut().filter_map(|client| client.path.as_mut());
                paths.find(|path| path.session == session)
            }
            (Sender::Source, session, generation) => {
                let wanted = (session, link_of(generation));
                let is_it = |of: &&mut Connection| (of.session, of.generation) == wanted;
                self.source.connections.iter_mut().find(is_it)?.forward.as_mut()
            }
        }
    }

    /// Something happens to a path, and what follows is carried out.
    fn at_path<T>(&mut self, end: End, event: impl FnOnce(&mut PathEnd) -> T) -> Option<T> {
        let path = self.path_mut(end)?;
        let before = path.links().to_vec();
        let result = event(path);
        let (departures, ended) = path.effects();
        for link in ended {
            let host = before.iter().find(|(other, _)| *other == link).map(|(_, host)| *host);
            self.link_ends(end, link, host.unwrap_or(Host::Source));
        }
        for departure in departures {
            self.depart(end, departure);
        }
        Some(result)
    }

    /// Lets a request of an operation leave over the way on to the destination.
    pub(crate) fn forward_path<T>(
        &mut self,
        session: Session,
        generation: PathGeneration,
        event: impl FnOnce(&mut PathEnd) -> T,
    ) -> Option<T> {
        self.at_path((Sender::Source, session, generation), event)
    }

    /// A request of an operation leaves over a link of the way on.
    pub(crate) fn depart_forward(
        &mut self,
        session: Session,
        generation: PathGeneration,
        id: RequestId,
        link: Generation,
        request: Request,
    ) {
        let departure = Departure { id, request, link, again: false };
        self.depart((Sender::Source, session, generation), departure);
    }

    fn depart(&mut self, end: End, departure: Departure) {
        let Departure { id, mut request, link, again } = departure;
        if again && self.breaks(Mutant::FuaDropped) && request.verb == Verb::WriteFua {
            request.verb = Verb::Write;
        }
        let Some(path) = self.path(end) else { return };
        let Some((_, to)) = path.links().iter().copied().find(|(other, _)| *other == link) else {
            return;
        };
        let (by, session, generation) = (end.0, end.1, path.on_the_wire(link));
        let way = Way { link, id: Skip(id), live: true };
        self.wire.calls.push(Call { by, to, session, generation, request, way });
    }

    /// A link is given up: what it carried may still be executed, and its answers reach nobody.
    fn link_ends(&mut self, end: End, link: Generation, host: Host) {
        let Some(path) = self.path(end) else { return };
        let generation = path.on_the_wire(link);
        for call in &mut self.wire.calls {
            if (call.by, call.session, call.generation) == (end.0, end.1, generation) {
                call.way.live = false;
            }
        }
        if end.0 == Sender::Switch && host == Host::Source {
            self.source_left(end.1, generation);
        }
    }

    /// A client's request enters its path.
    pub(crate) fn enter_path(&mut self, session: Session, request: Request) {
        let end = (Sender::Switch, session, 0);
        let Some((id, link)) = self.at_path(end, |path| path.arrive(request)) else { return };
        if let Some(link) = link {
            self.depart(end, Departure { id, request, link, again: false });
        }
    }

    /// A request arrives at a server.
    pub(crate) fn call_arrives(&mut self, index: usize) {
        let call = self.wire.calls.remove(index);
        match call.to {
            Host::Source => self.arrives_at_source(&call),
            Host::Destination => {
                let end = (call.by, call.session, call.generation);
                let Way { link, id, live } = call.way;
                match self.arrives_at_destination(&call) {
                    Some(read) if live => self.path_answers(end, link, *id, true, read),
                    None if live => _ = self.at_path(end, |path| path.refused(*id, link)),
                    _ => {}
                }
            }
        }
    }

    /// A server answers on a link that still stands.
    fn path_answers(&mut self, end: End, link: Generation, id: RequestId, ok: bool, read: Content) {
        if self.at_path(end, |path| path.answered(id, link, ok)) != Some(true) {
            return;
        }
        match end {
            (Sender::Switch, session, _) => self.answer_session(session, ok, read),
            (Sender::Source, session, generation) => {
                let waits = |stage: Stage| matches!(stage, Stage::Forwarding(Some(n)) if *n == id);
                let mut all = self.source.operations.iter();
                let found = all.position(|of| {
                    let of_it = matches!(of.origin, Origin::Path(s, g, _)
                        if (s, g) == (session, link_of(generation)));
                    of_it && waits(of.stage)
                });
                if let Some(index) = found {
                    let origin = self.source.operations.remove(index).origin;
                    self.answer_origin(origin, ok, read);
                }
            }
        }
    }

    /// The source answers a request.
    pub(crate) fn answer_origin(&mut self, origin: Origin, ok: bool, read: Content) {
        match origin {
            Origin::Client(client) => self.answer_client(client, ok, read),
            Origin::Path(session, generation, Way { link, id, live: true }) => {
                self.path_answers((Sender::Switch, session, generation), link, *id, ok, read);
            }
            Origin::Path(..) | Origin::Resync => {}
        }
    }

    fn ends(&self) -> Vec<End> {
        let clients = self.clients.iter().filter_map(|client| client.path.as_ref());
        let switch = clients.map(|path| (Sender::Switch, path.session, 0));
        let forwards = self.source.connections.iter().filter(|of| of.forward.is_some());
        switch.chain(forwards.map(|of| (Sender::Source, of.session, of.generation))).collect()
    }

    /// A storage program goes down, and every link to it is lost. The last that it says is that it
    /// does, which is no answer to anything.
    pub(crate) fn host_lost(&mut self, host: Host) {
        let tells = self.breaks(Mutant::ShutdownForwarded);
        let calls = std::mem::take(&mut self.wire.calls);
        let (lost, kept) = calls.into_iter().partition(|call| call.to == host);
        self.wire.calls = kept;
        let lost: Vec<Call> = lost;
        for call in lost.iter().filter(|call| call.way.live) {
            let end = (call.by, call.session, call.generation);
            let Way { link, id, .. } = call.way;
            if tells {
                self.path_answers(end, link, *id, false, Content::default());
            } else {
                self.at_path(end, |path| path.refused(*id, link));
            }
        }
        for end in self.ends() {
            let links = self.path(end).map(|path| path.links().to_vec()).unwrap_or_default();
            for (link, _) in links.into_iter().filter(|(_, to)| *to == host) {
                self.at_path(end, |path| path.lost(link));
            }
        }
    }

    /// A path that does not have anything fenced goes on at once (a broken rule).
    pub(crate) fn step_paths(&mut self) -> bool {
        if !self.breaks(Mutant::ReplayWithoutFence) {
            return false;
        }
        for end in self.ends() {
            if let Some(Work::Fence(front)) = self.path(end).map(PathEnd::work) {
                self.at_path(end, |path| path.fenced(front));
                return true;
            }
        }
        false
    }

    /// What every path has to work on or may suffer.
    pub(crate) fn path_actions(&self, out: &mut Vec<Action>) {
        for (number, end) in self.ends().into_iter().enumerate() {
            let Some(of) = self.path(end) else { continue };
            let path = number as u8;
            let opens = |host| Action::OpenLink { path, host };
            let hosts = [Host::Source, Host::Destination];
            let open = hosts.into_iter().filter(|host| self.may_open_link(end, *host));
            match of.work() {
                Work::Reopen => out.extend(open.map(opens)),
                // A move: the controller or the destination has told where the owner is.
                Work::Free if of.front().is_some_and(|(_, host)| host == Host::Source) => {
                    out.extend(open.filter(|host| *host == Host::Destination).map(opens));
                }
                Work::Fence(_) if self.may_fence(end) => out.push(Action::FenceSession { path }),
                _ => {}
            }
            if of.is_moving() {
                out.push(Action::DrainTooSlow { path });
            }
            let links = 0..of.links().len() as u8;
            out.extend(links.map(|link| Action::BreakLink { path, link }));
        }
    }

    /// Whether a link can be opened to the host.
    fn may_open_link(&self, end: End, host: Host) -> bool {
        let Some(of) = self.path(end) else { return false };
        let ((_, generation), session) = (of.next_generation(), of.session);
        match (end.0, host) {
            (Sender::Switch, Host::Source) => self.source_accepts(session, generation),
            (Sender::Switch, Host::Destination) => {
                self.destination.journal.owned && self.destination_accepts(session, generation)
            }
            (Sender::Source, Host::Source) => false,
            (Sender::Source, Host::Destination) => self.destination_accepts(session, generation),
        }
    }

    /// A link is opened.
    pub(crate) fn open_link(&mut self, path: u8, host: Host) {
        let end = self.ends()[usize::from(path)];
        let Some(of) = self.path(end) else { return };
        let (_, generation) = of.next_generation();
        if end.0 == Sender::Switch && host == Host::Source {
            self.connect_source(end.1, generation);
        }
        let was_lost = of_is_lost(self.path(end));
        self.at_path(end, |path| path.opened(host));
        if was_lost && self.breaks(Mutant::ReplayAnswered) && end.0 == Sender::Switch {
            self.replay_answered(end, host);
        }
    }

    fn replay_answered(&mut self, end: End, to: Host) {
        let of =
            self.clients.iter().find(|of| of.path.as_ref().is_some_and(|p| p.session == end.1));
        let Some((request, path)) = of.and_then(|of| Some((of.last?, of.path.as_ref()?))) else {
            return;
        };
        let Some((link, _)) = path.front() else { return };
        let generation = path.on_the_wire(link);
        let spare = path.clone().arrive(request).0;
        let way = Way { link, id: Skip(spare), live: false };
        let (by, session) = (end.0, end.1);
        self.wire.calls.push(Call { by, to, session, generation, request, way });
    }

    /// Whether the server behind the path's front can confirm its fence.
    fn may_fence(&self, end: End) -> bool {
        let Some((session, generation, host)) = self.fence_of(end) else { return false };
        match host {
            Host::Source => self.source_can_fence(session, generation),
            Host::Destination => self.destination_can_fence(session, generation),
        }
    }

    fn fence_of(&self, end: End) -> Option<(Session, PathGeneration, Host)> {
        let path = self.path(end)?;
        let (front, host) = path.front()?;
        Some((path.session, path.on_the_wire(front), host))
    }

    /// The server confirms a fence, durably.
    pub(crate) fn fence(&mut self, path: u8) {
        let end = self.ends()[usize::from(path)];
        let Some((session, generation, host)) = self.fence_of(end) else { return };
        match host {
            Host::Source => self.source_fences(session, generation),
            Host::Destination => self.destination_fences(session, generation),
        }
        let front = self.path(end).and_then(PathEnd::front);
        if let Some((front, _)) = front {
            self.at_path(end, |path| path.fenced(front));
        }
    }

    /// A link breaks.
    pub(crate) fn break_link(&mut self, path: u8, link: u8) {
        let end = self.ends()[usize::from(path)];
        let links = self.path(end).map(|path| path.links().to_vec()).unwrap_or_default();
        if let Some((link, _)) = links.get(usize::from(link)) {
            self.at_path(end, |path| path.lost(*link));
        }
    }

    /// The old link of a move takes too long.
    pub(crate) fn drain_too_slow(&mut self, path: u8) {
        let end = self.ends()[usize::from(path)];
        self.at_path(end, PathEnd::drain_too_slow);
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

fn of_is_lost(path: Option<&PathEnd>) -> bool {
    path.is_some_and(|path| path.work() == Work::Reopen)
}
