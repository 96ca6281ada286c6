//! The mirror lanes of the source: one for each session, opened, fenced and opened again.

use blockferry_migration::source::{MirrorOutcome, PhaseName, SessionKey};

use crate::operation::Operation;
use crate::place::{Content, Span};
use crate::wire::{MirrorCall, OWN, OWN_KEY, PathGeneration, Session, Stage};
use crate::world::World;

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The machine's number of the session.
    pub key: SessionKey,
    /// The session.
    pub session: Session,
    /// The connection.
    pub link: Option<Link>,
    /// Whether what it sent on a lost connection may still be executed.
    pub unfenced: bool,
    /// The last generation that was used.
    pub generation: PathGeneration,
}

/// A mirror connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its generation.
    pub generation: PathGeneration,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the destination still has it.
    pub up: bool,
}

impl Lane {
    /// The source's own lane, in a run that begins with this generation.
    pub fn own(generation: PathGeneration) -> Self {
        Self { key: OWN_KEY, session: OWN, link: None, unfenced: false, generation }
    }

    /// The lane of a client's connection.
    pub fn of(session: Session, generation: PathGeneration) -> Self {
        let key = Self::key(session, generation);
        Self { key, session, link: None, unfenced: false, generation }
    }

    /// The machine's number of a client's connection.
    pub fn key(session: Session, generation: PathGeneration) -> SessionKey {
        SessionKey(u64::from(session) | u64::from(generation) << 8)
    }

    /// Whether it is open in the epoch.
    pub fn is_open(&self, epoch: Option<u64>) -> bool {
        self.link.is_some_and(|link| Some(link.epoch) == epoch)
    }
}

impl World {
    /// Sends a write of an operation over a lane.
    pub(super) fn send_mirror(
        &mut self,
        key: SessionKey,
        span: Span,
        content: Content,
        operation: &Operation,
    ) {
        let Some(lane) = self.source.lanes.iter().find(|lane| lane.key == key) else { return };
        let Some(Link { generation, epoch, up }) = lane.link else {
            return self.mirrored(operation, MirrorOutcome::Failed);
        };
        let stage = if up { Stage::Sent } else { Stage::Lost };
        let Some(id) = operation.id else { return };
        let request = operation.request();
        let (session, lane, operation, live) = (lane.session, key.0, id, true);
        self.wire.mirrors.push(MirrorCall {
            lane,
            session,
            generation,
            epoch,
            span,
            content,
            request,
            operation,
            stage,
            live,
        });
    }

    /// The answer to a mirror write arrives, if somebody waits for it.
    pub(crate) fn mirror_answered(&mut self, call: &MirrorCall, outcome: MirrorOutcome) {
        if !call.live {
            return;
        }
        let waits = |operation: &&Operation| operation.id.is_some_and(|id| *id == *call.operation);
        if let Some(operation) = self.source.operations.iter().find(waits).cloned() {
            self.mirrored(&operation, outcome);
        }
    }

    /// The lane's connection is lost: what it carried is unknown from now on.
    pub(crate) fn lane_lost(&mut self, index: usize) {
        let lane = &mut self.source.lanes[index];
        let key = lane.key;
        lane.link = None;
        lane.unfenced = true;
        self.source.machine.mirror_lost(key);
        let mut waiting = Vec::new();
        for call in self.wire.mirrors.iter_mut().filter(|call| call.live && call.lane == key.0) {
            waiting.push(call.clone());
            call.live = false;
        }
        waiting.iter().for_each(|call| self.mirror_answered(call, MirrorOutcome::Failed));
    }

    /// Every lane is closed: the migration is over.
    pub(super) fn close_lanes(&mut self) {
        for index in 0..self.source.lanes.len() {
            self.lane_lost(index);
            self.source.lanes[index].unfenced = false;
        }
    }

    /// The source notices every connection that the destination has left.
    pub(crate) fn lanes_gone(&mut self) {
        for index in 0..self.source.lanes.len() {
            if self.source.lanes[index].link.is_some_and(|link| !link.up) {
                self.lane_lost(index);
            }
        }
    }

    fn may_open(&self, lane: &Lane) -> bool {
        let attached = self.source.is_migrating() && self.source.epoch().is_some();
        attached && !lane.is_open(self.source.epoch()) && !lane.unfenced
    }

    /// Whether the destination could confirm a fence of what the lane sent.
    fn may_fence_lane(&self, lane: &Lane) -> bool {
        let executing = self.wire.mirrors.iter().any(|call| {
            let running = matches!(call.stage, Stage::Running(_));
            running && call.session == lane.session && call.generation <= lane.generation
        });
        lane.unfenced && self.source.machine.phase() != PhaseName::Owner && !executing
    }

    /// Whether a lane can be fenced or opened.
    pub(crate) fn may_tend_lanes(&self) -> bool {
        self.source.lanes.iter().any(|lane| self.may_open(lane) || self.may_fence_lane(lane))
    }

    /// Every lane that can be is fenced or opened.
    pub(crate) fn tend_lanes(&mut self) {
        for index in 0..self.source.lanes.len() {
            let lane = &self.source.lanes[index];
            match (self.may_fence_lane(lane), self.may_open(lane)) {
                (true, _) => self.fence_lane(index),
                (_, true) => self.open_lane(index),
                _ => {}
            }
        }
    }

    fn open_lane(&mut self, index: usize) {
        let Some(epoch) = self.source.epoch() else { return };
        let lane = &mut self.source.lanes[index];
        lane.generation += 1;
        lane.link = Some(Link { generation: lane.generation, epoch, up: true });
        let key = lane.key;
        self.source.machine.mirror_open(key);
        if self.wire.mirrors.iter().any(|call| call.live && call.lane == key.0) {
            // What the connection of an older epoch carried is cut off with it.
            self.lane_lost(index);
        }
    }

    /// The destination has fenced what the lane sent, durably.
    fn fence_lane(&mut self, index: usize) {
        let lane = &mut self.source.lanes[index];
        lane.generation += 1;
        lane.unfenced = false;
        let (key, session, generation) = (lane.key, lane.session, lane.generation);
        self.source.machine.mirror_fenced(key);
        self.destination_fences(session, generation);
    }
}
