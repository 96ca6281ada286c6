//! The switch: a path for each client, which it keeps when the path's server dies or changes.

mod links;
mod replay;

use blockferry_block::Generation;
use blockferry_path::RequestId;

use crate::mutant::Mutant;
use crate::operation::{Origin, Stage, Way};
use crate::path::{Departure, Host, PathEnd};
use crate::place::Content;
use crate::request::{Request, Verb};
use crate::skip::Skip;
use crate::source::Connection;
use crate::wire::{Call, PathGeneration, Sender, Session, link_of};
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
}
