//! Everything at one moment: both storage programs, controllers, clients, and what is under way.

use blockferry_block::BootId;

use crate::action::Action;
use crate::client::Client;
use crate::controller::Controller;
use crate::destination::{DestinationSide, EPOCHS};
use crate::invariant::{Broken, Invariant};
use crate::mutant::Mutant;
use crate::path::{Host, PathEnd};
use crate::place::{BLOCKS, Content, Span};
use crate::request::{Registers, Unanswered};
use crate::scope::{Faults, Scope, Start};
use crate::skip::Skip;
use crate::source::SourceSide;
use crate::wire::{Fences, LINK_STEP, Late, SESSIONS, Stage, Wire};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What may happen.
    pub scope: Skip<Scope>,
    /// The source.
    pub source: SourceSide,
    /// The destination.
    pub destination: DestinationSide,
    /// The controllers.
    pub controllers: Vec<Controller>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Requests of clients whose switch has died, as long as something may still execute them.
    pub abandoned: Vec<Unanswered>,
    /// What is under way.
    pub wire: Wire,
    /// What clients may see.
    pub registers: Registers,
    /// Requests that were sent.
    pub requests: u8,
    /// What may still go wrong.
    pub faults: Faults,
    /// How often each extent was copied, where nothing goes wrong.
    pub copied: [u8; BLOCKS],
    /// Number of the present migration.
    pub migration: u8,
    /// Fences that the destination has confirmed, whatever its journal says.
    pub confirmed: Fences,
    /// Terms that the source and the destination have confirmed, whatever their journals say.
    pub terms: [u8; 2],
    /// What does not hold any more.
    pub broken: Broken,
}

/// A sweep in which nothing happens beside it.
const SWEEP: [Action; 14] = [
    Action::Attach,
    Action::Attached,
    Action::TendLanes,
    Action::Claim { controller: 0 },
    Action::ReadClaimed { claim: 0 },
    Action::CopyArrives { call: 0 },
    Action::Copied { call: 0 },
    Action::Claim { controller: 0 },
    Action::ReadClaimed { claim: 0 },
    Action::CopyArrives { call: 0 },
    Action::Copied { call: 0 },
    Action::Checkpoint,
    Action::CheckpointFlushed { late: false },
    Action::CheckpointDone,
];

impl World {
    /// The world in which a run begins.
    pub fn new(scope: Scope) -> Self {
        let mut world = Self {
            scope: Skip(scope),
            source: SourceSide::new(scope),
            destination: DestinationSide::new(scope.machine_faults(), BootId(EPOCHS)),
            controllers: vec![Controller::default(); usize::from(scope.controllers)],
            clients: vec![Client::default(); usize::from(scope.clients)],
            abandoned: Vec::new(),
            wire: Wire::default(),
            registers: Registers::new(),
            requests: 0,
            faults: scope.faults,
            copied: [0; BLOCKS],
            migration: 0,
            confirmed: [0; SESSIONS],
            terms: [0; 2],
            broken: Broken::default(),
        };
        if scope.switch {
            (0..scope.clients).for_each(|client| world.enter_switch(client));
        }
        if scope.start != Start::Owner {
            world.begin_by(0);
        }
        if scope.start == Start::Swept {
            SWEEP.iter().for_each(|action| world.act(*action));
        }
        world
    }

    fn enter_switch(&mut self, client: u8) {
        let path = PathEnd::new(client + 1, 0, LINK_STEP, Host::Source);
        let generation = path.front().map_or(0, |(link, _)| path.on_the_wire(link));
        self.connect_source(path.session, generation);
        self.clients[usize::from(client)].path = Some(path);
    }

    /// Whether this rule is broken on purpose.
    pub fn breaks(&self, mutant: Mutant) -> bool {
        self.scope.breaks(mutant)
    }

    /// Whether both sides are attached to each other in the same epoch.
    pub fn is_common_epoch(&self) -> bool {
        let there = &self.destination.machine;
        !there.is_attaching() && self.source.epoch() == Some(there.epoch())
    }

    /// Notes a copied extent where that is watched.
    pub(crate) fn count_copied(&mut self, span: Span) {
        if self.scope.faults == Faults::default() {
            span.blocks().for_each(|block| self.copied[block] += 1);
            let once = self.copied.iter().all(|times| *times <= 1);
            self.broken.unless(once, Invariant::L1);
        }
    }

    /// The owner's disk has lost its power and holds this.
    pub(crate) fn registers_lost_power(&mut self, left: Content) {
        let unanswered = self.clients.iter_mut().filter_map(|client| client.unanswered.as_mut());
        self.registers.power_lost(left, unanswered.chain(&mut self.abandoned));
    }

    /// Forgets calls that can never have an effect, and puts the others in order.
    pub(crate) fn tidy(&mut self) {
        let keeps_copies = self.breaks(Mutant::AddressOnly);
        let (here, there) = (self.source.journal.fences, self.destination.journal.fences);
        let (epoch, reserved) =
            (self.destination.machine.epoch(), self.destination.machine.reserved());
        let owned = self.destination.journal.owned;
        let term = self.destination.journal.term;
        let keeps_mirrors = owned && self.breaks(Mutant::OwnedWithMirrors);
        self.wire.mirrors.retain(|call| {
            let fenced = call.generation < there[usize::from(call.session)];
            let over = fenced || !keeps_mirrors && (owned || call.epoch != epoch);
            call.live || call.stage != Stage::Sent || !over
        });
        self.wire.copies.retain(|call| {
            let old = call.epoch != epoch || call.voice.term < term;
            let over = old || call.span.extent().start() < reserved;
            call.live || call.stage != Stage::Sent || !over || keeps_copies
        });
        let mut late = std::mem::take(&mut self.wire.late);
        late.retain(|call| match call {
            Late::Finish(of, _) => *of == epoch && !owned,
            Late::Attach(_) => !owned,
            Late::Ready(voice, _, of) => {
                *of == epoch && !owned && self.destination_would_obey(*voice)
            }
            Late::Commit(voice, ..) | Late::Abort(voice) => self.source_would_obey(*voice),
        });
        self.wire.late = late;
        self.wire.calls.retain(|call| {
            let fences = if call.to == Host::Source { here } else { there };
            let fenced = call.generation < fences[usize::from(call.session)];
            call.way.live || call.request.is_update() && !fenced
        });
        self.tidy_connections();
        self.tidy_abandoned();
        self.wire.mirrors.sort_unstable();
        self.wire.copies.sort_unstable();
        self.wire.late.sort_unstable();
        self.wire.calls.sort_unstable();
        self.destination.disk.forget_above(reserved, self.destination.journal.durable);
    }
}
