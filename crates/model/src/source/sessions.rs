//! The connections of clients at the source, their fences, and the way on to the destination.

use blockferry_migration::source::PhaseName;

use super::Lane;
use crate::mutant::Mutant;
use crate::operation::{Origin, Stage};
use crate::path::{Host, PathEnd};
use crate::skip::Skip;
use crate::wire::{Call, FORWARD_STEP, PathGeneration, Session};
use crate::world::World;

/// A connection of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Its session.
    pub session: Session,
    /// Its generation.
    pub generation: PathGeneration,
    /// Whether the client's end still stands.
    pub open: bool,
    /// The way on to the destination, once it was needed.
    pub forward: Option<PathEnd>,
}

impl World {
    /// A connection is opened at the source.
    pub(crate) fn connect_source(&mut self, session: Session, generation: PathGeneration) {
        let (open, forward) = (true, None);
        self.source.connections.push(Connection { session, generation, open, forward });
        if self.source.machine.phase() != PhaseName::Forwarding {
            self.source.lanes.push(Lane::of(session, generation));
        }
    }

    /// Whether a connection of this generation can be opened at the source.
    pub(crate) fn source_accepts(&self, session: Session, generation: PathGeneration) -> bool {
        generation >= self.source.journal.fences[usize::from(session)]
    }

    /// The client's end of a connection is gone; what arrived before goes on.
    pub(crate) fn source_left(&mut self, session: Session, generation: PathGeneration) {
        let is_it = |of: &&mut Connection| of.session == session && of.generation == generation;
        self.source.connections.iter_mut().filter(is_it).for_each(|of| of.open = false);
        for operation in &mut self.source.operations {
            if let Origin::Path(of, at, way) = &mut operation.origin
                && (*of, *at) == (session, generation)
            {
                way.live = false;
            }
        }
    }

    /// A request arrives at the source.
    pub(crate) fn arrives_at_source(&mut self, call: &Call) {
        let origin = Origin::Path(call.session, call.generation, call.way);
        self.begin_request(origin, call.request);
    }

    /// Whether nothing older of the session executes at the source any more.
    pub(crate) fn source_can_fence(&self, session: Session, generation: PathGeneration) -> bool {
        let drained = self.source.operations.iter().all(|of| match of.origin {
            Origin::Path(other, older, _) => other != session || older >= generation,
            _ => true,
        });
        drained
            && (!self.fence_reaches_through() || self.destination_can_fence(session, generation))
    }

    /// The source has fenced the session, durably: neither here nor, on its behalf, at the
    /// destination does anything older execute.
    pub(crate) fn source_fences(&mut self, session: Session, generation: PathGeneration) {
        let fence = &mut self.source.journal.fences[usize::from(session)];
        *fence = (*fence).max(generation);
        let older = |of: &Connection| of.session == session && of.generation < generation;
        self.source.connections.retain(|of| !older(of));
        if self.fence_reaches_through() {
            self.destination_fences(session, generation);
        }
    }

    /// Forgets connections of which both ends are gone, and the lanes that belonged to them.
    pub(crate) fn tidy_connections(&mut self) {
        let (operations, calls) = (&self.source.operations, &self.wire.calls);
        self.source.connections.retain(|of| {
            let used = operations.iter().any(|operation| match operation.origin {
                Origin::Path(session, generation, _) => {
                    (session, generation) == (of.session, of.generation)
                }
                _ => false,
            });
            let coming = calls.iter().any(|call| {
                let it = (call.session, call.generation) == (of.session, of.generation);
                it && call.to == Host::Source
            });
            of.open || used || coming
        });
        let is_there = |lane: &Lane| {
            self.source
                .connections
                .iter()
                .any(|of| Lane::key(of.session, of.generation) == lane.key)
        };
        if self.scope.switch {
            let gone: Vec<_> = (1..self.source.lanes.len())
                .filter(|at| !is_there(&self.source.lanes[*at]) && !self.source.lanes[*at].unfenced)
                .collect();
            for at in gone.into_iter().rev() {
                let lane = self.source.lanes.remove(at);
                self.source.machine.mirror_closed(lane.key);
            }
        }
    }

    fn fence_reaches_through(&self) -> bool {
        self.source.machine.phase() == PhaseName::Forwarding && !self.breaks(Mutant::FenceStaysHere)
    }

    /// An operation that the destination has fenced ends, since its client has: it sends the request
    /// again on a younger path.
    fn drop_fenced(&mut self) -> bool {
        let ended = self.source.operations.iter().position(|of| match (of.origin, of.stage) {
            (Origin::Path(session, generation, way), Stage::Forwarding(_)) => {
                !way.live && !self.destination_accepts(session, generation + 2 * FORWARD_STEP - 1)
            }
            _ => false,
        });
        ended.map(|index| self.source.operations.remove(index)).is_some()
    }

    /// One operation that the destination executes is sent there, once nothing that was mirrored for
    /// it can execute any more.
    pub(super) fn step_forward(&mut self) -> bool {
        if self.drop_fenced() {
            return true;
        }
        for index in 0..self.source.operations.len() {
            let operation = &self.source.operations[index];
            let (Origin::Path(session, generation, _), Stage::Forwarding(None)) =
                (operation.origin, operation.stage)
            else {
                continue;
            };
            let Some(request) = operation.request() else { continue };
            let key = Lane::key(session, generation);
            let unfenced = self.source.lanes.iter().any(|lane| lane.key == key && lane.unfenced);
            if unfenced || !self.open_forward(session, generation) {
                continue;
            }
            let Some(number) = self.forward_path(session, generation, |path| path.arrive(request))
            else {
                continue;
            };
            let (id, link) = number;
            self.source.operations[index].stage = Stage::Forwarding(Some(Skip(id)));
            if let Some(link) = link {
                self.depart_forward(session, generation, id, link, request);
            }
            return true;
        }
        false
    }

    /// Opens the way on to the destination, where it is not fenced there.
    fn open_forward(&mut self, session: Session, generation: PathGeneration) -> bool {
        let base = generation + FORWARD_STEP;
        let accepted = self.destination_accepts(session, base + 1);
        let is_it = |of: &&mut Connection| (of.session, of.generation) == (session, generation);
        let Some(of) = self.source.connections.iter_mut().find(is_it) else { return false };
        if of.forward.is_none() && accepted {
            of.forward = Some(PathEnd::new(session, base, 1, Host::Destination));
        }
        of.forward.is_some()
    }
}
