//! A crash at every point: before and after each record and flush of either side, and as each message
//! leaves for a host or its answer leaves it.

use std::collections::BTreeMap;

use blockferry_migration::Faults;

use crate::controller::Intent;
use crate::disk::Points;
use crate::executor::{MILLIS, Sim};
use crate::fault::{Fault, Moment};
use crate::folder::Steps;
use crate::network::Host;
use crate::plan::{Plan, Trouble};
use crate::world::{Outcome, run_plan};

/// Flushes of the source's disk.
pub const SOURCE_FLUSH: Points = Points("source-flushes", "source-flushed");
/// Flushes of the destination's disk.
pub const DESTINATION_FLUSH: Points = Points("destination-flushes", "destination-flushed");
/// Records of the source.
pub const SOURCE_RECORD: Steps = Steps("source-records", "source-written", "source-recorded");
/// Batches of its activity log.
pub const SOURCE_LOG: Steps = Steps("source-logs", "source-log-written", "source-logged");
/// Records of the destination.
pub const DESTINATION_RECORD: Steps =
    Steps("destination-records", "destination-written", "destination-recorded");

/// Every point, and who dies there.
pub const POINTS: [(&str, Host); 20] = [
    (SOURCE_FLUSH.0, Host::Source),
    (SOURCE_FLUSH.1, Host::Source),
    (DESTINATION_FLUSH.0, Host::Destination),
    (DESTINATION_FLUSH.1, Host::Destination),
    (SOURCE_RECORD.0, Host::Source),
    (SOURCE_RECORD.1, Host::Source),
    (SOURCE_RECORD.2, Host::Source),
    (SOURCE_LOG.0, Host::Source),
    (SOURCE_LOG.1, Host::Source),
    (SOURCE_LOG.2, Host::Source),
    (DESTINATION_RECORD.0, Host::Destination),
    (DESTINATION_RECORD.1, Host::Destination),
    (DESTINATION_RECORD.2, Host::Destination),
    ("source-asked", Host::Source),
    ("source-answered", Host::Source),
    ("destination-asked", Host::Destination),
    ("destination-answered", Host::Destination),
    ("controller-asks", Host::Controller),
    ("worker-asks", Host::Clients),
    ("worker-answered", Host::Clients),
];

/// A message leaves.
pub fn pass_sent(sim: &Sim, from: Host, to: Host) {
    match to {
        Host::Source => sim.pass("source-asked"),
        Host::Destination => sim.pass("destination-asked"),
        Host::Controller | Host::Clients => {}
    }
    match from {
        Host::Controller => sim.pass("controller-asks"),
        Host::Clients => sim.pass("worker-asks"),
        Host::Source | Host::Destination => {}
    }
}

/// An answer leaves.
pub fn pass_answered(sim: &Sim, from: Host, to: Host) {
    if to == Host::Clients {
        sim.pass("worker-answered");
    }
    match from {
        Host::Source => sim.pass("source-answered"),
        Host::Destination => sim.pass("destination-answered"),
        Host::Controller | Host::Clients => {}
    }
}

/// One crash: as the point is passed for the n-th time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The point.
    pub point: &'static str,
    /// Counted from 1.
    pub number: u64,
    /// Who dies.
    pub host: Host,
}

impl Strike {
    /// A strike as it is written: `source-recorded:3`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').ok_or("expected POINT:NUMBER")?;
        let found = POINTS.iter().find(|(point, _)| *point == name);
        let (point, host) = *found.ok_or_else(|| {
            let names: Vec<_> = POINTS.iter().map(|(point, _)| *point).collect();
            format!("{name} is no point; there are {}", names.join(", "))
        })?;
        let number = number.parse().map_err(|_| format!("{number} is no number"))?;
        Ok(Self { point, number, host })
    }

    /// Runs the seed's small plan with this crash alone. Every other one takes the power along.
    pub fn run(self, seed: u64, traced: bool) -> Outcome {
        let mut plan = plan(seed);
        let power = self.number.is_multiple_of(2);
        let crash = Fault::Crash { host: self.host, power, down: 5 * MILLIS };
        let moment = Moment::After(self.point, self.number, 0);
        plan.faults.push((moment, crash));
        if seed % 4 == 3 {
            let goes_on = Fault::TakeOver { intent: Intent::Migrate, held: 0 };
            plan.faults.push((moment, goes_on));
        }
        run_plan(seed, plan, Trouble::All, Faults::default(), traced)
    }
}

impl std::fmt::Display for Strike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.point, self.number)
    }
}

/// A plan so small that each of its points can be struck. Nothing goes wrong in it; in the third and
/// fourth of four seeds the migration is given up, and in the fourth whoever comes after the crash
/// wants to bring it to its end all the same.
#[must_use]
pub fn plan(seed: u64) -> Plan {
    let mut plan = Plan::of(seed, Trouble::None);
    plan.size = (3 << 18) + (seed % 4) * crate::content::BLOCK;
    plan.load.connections = 2;
    plan.load.depth = 1 + seed % 2;
    plan.load.pause_max = 400;
    plan.load.requests = 30;
    plan.load.total_min = 40;
    if seed % 4 > 1 {
        let abort = Fault::TakeOver { intent: Intent::Abort, held: 5 * MILLIS };
        plan.faults.push((Moment::After("copied", 2, 0), abort));
    }
    plan
}

/// Every strike of the seed's small plan, in the order of [`POINTS`].
#[must_use]
pub fn strikes(seed: u64) -> Vec<Strike> {
    let plan = plan(seed);
    let trouble = if plan.faults.is_empty() { Trouble::None } else { Trouble::All };
    let outcome = run_plan(seed, plan, trouble, Faults::default(), false);
    assert_eq!(outcome.violation, None, "seed {seed} without a crash");
    let counts: &BTreeMap<_, _> = &outcome.counts;
    let all = POINTS.iter().flat_map(|(point, host)| {
        let count = counts.get(point).copied().unwrap_or_default();
        (1..=count).map(|number| Strike { point, number, host: *host })
    });
    all.collect()
}
