//! How large a model is: what may happen in one run, and how often.

use crate::mutant::Mutant;
use crate::request::Request;

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Before the migration.
    Owner,
    /// The migration has begun and nothing is attached yet.
    Begun,
    /// Everything is at the destination, durable and clean.
    Swept,
}

/// What the parties may do and what may befall them.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Where a run begins.
    pub start: Start,
    /// What a client may ask for.
    pub menu: &'static [Request],
    /// How many clients there are.
    pub clients: u8,
    /// How often clients ask for it, together.
    pub requests: u8,
    /// Whether clients come through a switch.
    pub switch: bool,
    /// How many controllers there are.
    pub controllers: u8,
    /// Whether a migration that was aborted is begun again.
    pub again: bool,
    /// What goes wrong at most.
    pub faults: Faults,
    /// The rule that is broken on purpose.
    pub mutant: Option<Mutant>,
}

impl Scope {
    /// Whether this rule is broken on purpose.
    pub fn breaks(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The faults that the machines commit on purpose.
    pub fn machine_faults(self) -> blockferry_migration::Faults {
        blockferry_migration::Faults {
            claim_without_waiting: self.breaks(Mutant::ReadTooEarly),
            mirror_above_reserved: self.breaks(Mutant::MirrorAbove),
            unordered_updates: self.breaks(Mutant::Unordered),
            ..blockferry_migration::Faults::default()
        }
    }
}

/// How often things go wrong in one run, or people change their minds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A storage program dies, with or without its disk's cache.
    pub crashes: u8,
    /// The switch dies, its keeper with it or not.
    pub switches: u8,
    /// A connection is lost, an answer takes too long, or a controller dies.
    pub breaks: u8,
    /// A disk fails to do as it is told.
    pub errors: u8,
    /// A controller takes the migration over from another.
    pub takeovers: u8,
    /// A controller ends the migration.
    pub aborts: u8,
}

impl Faults {
    /// Whether so much may still go wrong.
    pub const fn covers(self, cost: Self) -> bool {
        self.crashes >= cost.crashes
            && self.switches >= cost.switches
            && self.breaks >= cost.breaks
            && self.errors >= cost.errors
            && self.takeovers >= cost.takeovers
            && self.aborts >= cost.aborts
    }

    /// Takes what has gone wrong.
    pub const fn spend(&mut self, cost: Self) {
        self.crashes -= cost.crashes;
        self.switches -= cost.switches;
        self.breaks -= cost.breaks;
        self.errors -= cost.errors;
        self.takeovers -= cost.takeovers;
        self.aborts -= cost.aborts;
    }
}
