//! Everything at one moment: both storage programs, controllers, clients, and what is under way.

use crate::client::Client;
use crate::controller::Controller;
use crate::destination::DestinationSide;
use crate::invariant::{Broken, Invariant};
use crate::mutant::Mutant;
use crate::place::{BLOCKS, Content, Span, Values};
use crate::request::Registers;
use crate::scope::{Faults, Scope, Start};
use crate::skip::Skip;
use crate::source::SourceSide;
use crate::wire::{Late, Stage, Wire};

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
    /// What does not hold any more.
    pub broken: Broken,
}

impl World {
    /// The world in which a run begins.
    pub fn new(scope: Scope) -> Self {
        let mut world = Self {
            scope: Skip(scope),
            source: SourceSide::new(scope.clients, scope.machine_faults()),
            destination: DestinationSide::new(scope.machine_faults()),
            controllers: (0..scope.controllers).map(Controller::new).collect(),
            clients: (0..scope.clients).map(|_| Client::default()).collect(),
            wire: Wire::default(),
            registers: Registers::new(),
            requests: 0,
            faults: scope.faults,
            copied: [0; BLOCKS],
            broken: Broken::default(),
        };
        if scope.start == Start::Attached {
            world.begin();
        }
        world
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

    /// The owner's disk has lost its power; only what it was not told to keep may be gone.
    pub(crate) fn registers_lost_power(&mut self, left: Content) {
        for block in 0..BLOCKS {
            let under_way = self.clients.iter().filter_map(|client| client.unanswered.as_ref());
            let values = under_way
                .filter(|of| of.request.is_update() && of.request.span.has(block))
                .fold(Values::default(), |all, of| all.or(Values::of(of.request.value)));
            self.registers.power_lost(block, left[block], values);
        }
    }

    /// Forgets calls that can never have an effect, and puts the others in order.
    pub(crate) fn tidy(&mut self) {
        let keeps_copies = self.breaks(Mutant::AddressOnly);
        let fences = self.destination.journal.fences;
        let (epoch, reserved) =
            (self.destination.machine.epoch(), self.destination.machine.reserved());
        self.wire.mirrors.retain(|call| {
            let over = call.epoch != epoch || call.generation < fences[usize::from(call.session)];
            call.live || call.stage != Stage::Sent || !over
        });
        self.wire.copies.retain(|call| {
            let over = call.epoch != epoch || call.span.extent().start() < reserved;
            call.live || call.stage != Stage::Sent || !over || keeps_copies
        });
        self.wire.late.retain(|call| !matches!(call, Late::Finish(of, _) if *of != epoch));
        self.destination.disk.forget_above(reserved, self.destination.journal.durable);
        self.wire.mirrors.sort_unstable();
        self.wire.copies.sort_unstable();
        self.wire.late.sort_unstable();
    }
}
