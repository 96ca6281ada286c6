//! What a seed stands for: the volume, the load, the weather, and what goes wrong.

use blockferry_migration::digest::LEAF;

use crate::client::Load;
use crate::content::BLOCK;
use crate::controller::Intent;
use crate::disk::{DiskError, Kind, Lie, Speed};
use crate::executor::{MILLIS, Micros, SECOND};
use crate::fault::{Fault, Moment, Planned, Which};
use crate::folder::FileCall;
use crate::network::{Host, Weather};
use crate::random::Random;

/// The plan of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Size of the volume in bytes, not always a multiple of a leaf.
    pub size: u64,
    /// One block in so many is a hole at first; 0 for none.
    pub hole_one_in: u64,
    /// Leaves that the controller copies at a time.
    pub chunk_leaves: u64,
    /// Chunks that it reads ahead.
    pub read_ahead: usize,
    /// The clients.
    pub load: Load,
    /// Initiators beside them; none unless a test says otherwise.
    pub initiators: u64,
    /// The network.
    pub weather: Weather,
    /// The source's disk.
    pub source_speed: Speed,
    /// The destination's disk.
    pub destination_speed: Speed,
    /// The files of both programs.
    pub journal_speed: Speed,
    /// Their journals are rewritten when they are longer, in bytes.
    pub compact_at: u64,
    /// Whether both sides are compared before the commit.
    pub verify: bool,
    /// What goes wrong.
    pub faults: Vec<Planned>,
}

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Connections break and stall.
    Network,
    /// Processes and power supplies too.
    All,
    /// All that, and a store of the destination that forgets while its program runs on.
    Store,
    /// Everything but that, and disks that fail to read, write or flush, or are full; records too.
    Disk,
    /// Processes, connections, and a disk of the destination that drops or misdirects writes.
    Lying,
    /// Processes, connections, and other controllers that take over, to go on or to give up.
    Control,
}

impl Trouble {
    /// As the command line names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "off",
            Self::Network => "network",
            Self::All => "on",
            Self::Store => "store",
            Self::Disk => "disk",
            Self::Lying => "lying",
            Self::Control => "control",
        }
    }

    fn kills(self) -> bool {
        !matches!(self, Self::None | Self::Network)
    }
}

const MOMENTS: [&str; 25] = [
    "update",
    "mirror",
    "copied",
    "claim",
    "attaching",
    "attach",
    "attached",
    "resync",
    "checkpoint",
    "finishing",
    "checkpointed",
    "settled",
    "promising",
    "ready",
    "committing",
    "committed",
    "owned",
    "move",
    "path",
    "fencing",
    "term",
    "superseded",
    "aborting",
    "aborted",
    "compared",
];

/// The moments among them that no run does without.
const SURE: [&str; 14] = [
    "update",
    "copied",
    "claim",
    "attaching",
    "attach",
    "attached",
    "checkpoint",
    "finishing",
    "checkpointed",
    "settled",
    "promising",
    "ready",
    "committing",
    "committed",
];

/// Requests of the clients that a run checks at least.
pub const OPERATIONS_MIN: u64 = 200;

/// Things that go wrong at least in a run where anything does.
pub const FAULTS_MIN: u64 = 3;

/// Faults are planned for the time before this.
pub const FAULTS_END: Micros = 20 * SECOND;

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, trouble: Trouble) -> Self {
        let mut random = Random::new(seed ^ 0xb10c_feed);
        let leaves = if random.one_in(8) { 80 } else { random.between(2, 14) };
        let size = leaves * LEAF + random.below(4) * BLOCK;
        let calm = trouble == Trouble::None;
        let (connections, depth) = (random.between(1, 4), random.between(1, 4));
        Self {
            size,
            hole_one_in: *random.pick(&[0, 2, 6]),
            chunk_leaves: random.between(1, 4),
            read_ahead: random.between(1, 3) as usize,
            load: Load {
                connections,
                depth,
                pause_max: *random.pick(&[100, 1_000, 4_000]),
                blocks_max: *random.pick(&[1, 3, 9]),
                requests: random.between(20, 60).max(OPERATIONS_MIN.div_ceil(connections * depth)),
                total_min: OPERATIONS_MIN,
                overlapping: random.one_in(2),
                hot_blocks: *random.pick(&[4, 12, 40]),
                fua_one_in: 8,
            },
            initiators: 0,
            weather: Weather {
                delay_max: *random.pick(&[60, 400, 2_000]),
                slow_one_in: if calm { 0 } else { *random.pick(&[0, 10, 100]) },
                late_max: *random.pick(&[MILLIS, 100 * MILLIS, 3 * SECOND]),
            },
            source_speed: speed(&mut random),
            destination_speed: speed(&mut random),
            journal_speed: speed(&mut random),
            compact_at: *random.pick(&[400, 1_000, 4_000, 20_000]),
            verify: trouble == Trouble::Lying,
            faults: faults(&mut random, trouble),
        }
    }
}

impl Plan {
    /// The same with so many initiators beside the other clients. None of them all overlaps what may have
    /// to be sent again.
    #[must_use]
    pub const fn with_initiators(mut self, count: u64) -> Self {
        self.initiators = count;
        self.load.overlapping = false;
        self
    }
}

fn speed(random: &mut Random) -> Speed {
    *random.pick(&[Speed(5, 20), Speed(20, 300), Speed(100, 2_000)])
}

/// Some faults come in pairs: what one leaves half done meets the other.
fn faults(random: &mut Random, trouble: Trouble) -> Vec<Planned> {
    let count = if trouble == Trouble::None { 0 } else { random.between(FAULTS_MIN, 7) };
    let mut faults = Vec::new();
    for number in 0..count {
        let moment = if number < FAULTS_MIN { sure_moment(random) } else { moment(random) };
        let first = fault(random, trouble);
        faults.push((moment, first));
        if random.one_in(3) {
            let later_max = *random.pick(&[MILLIS, 20 * MILLIS, 300 * MILLIS]);
            let later = moment.later(random.below(later_max));
            faults.push((later, second(random, first, trouble)));
        }
    }
    faults
}

/// What was held back or cut off meets its end, or something else.
fn second(random: &mut Random, first: Fault, trouble: Trouble) -> Fault {
    match first {
        Fault::Stall { a, b, .. } if random.one_in(2) => Fault::Break { a, b, percent: 100 },
        Fault::Break { a: Host::Source, b: Host::Destination, .. }
            if trouble.kills() && random.one_in(2) =>
        {
            let host = *random.pick(&[Host::Source, Host::Destination]);
            Fault::Crash { host, power: random.one_in(2), down: random.below(50 * MILLIS) }
        }
        _ => fault(random, trouble),
    }
}

/// A moment that every run comes by.
fn sure_moment(random: &mut Random) -> Moment {
    let delay_max = *random.pick(&[1, 100, 300]);
    Moment::After(random.pick::<&str>(&SURE), 1, random.below(delay_max))
}

fn moment(random: &mut Random) -> Moment {
    match random.below(4) {
        0 => Moment::At(random.below(60 * MILLIS)),
        1 => Moment::At(random.below(FAULTS_END / 4)),
        _ => {
            let what = *random.pick(&MOMENTS);
            let count = *random.pick(&[1, 1, 1, 2, 3, 10]);
            let delay_max = *random.pick(&[1, 300, 5_000]);
            Moment::After(what, count, random.below(delay_max))
        }
    }
}

fn fault(random: &mut Random, trouble: Trouble) -> Fault {
    if trouble == Trouble::Store && random.one_in(2) {
        return Fault::Forget;
    }
    if trouble == Trouble::Disk && random.one_in(2) {
        return disk_fault(random);
    }
    if trouble == Trouble::Lying && random.one_in(2) {
        let lie = *random.pick(&[Lie::Drop, Lie::Misdirect]);
        let length_max = *random.pick(&[1, 1, 2 * MILLIS, 100 * MILLIS]);
        return Fault::Lie { lie, length: random.below(length_max) };
    }
    if trouble == Trouble::Control && random.one_in(2) {
        let intent = *random.pick(&[Intent::Migrate, Intent::Migrate, Intent::Abort]);
        let held_max = *random.pick(&[1, 20 * MILLIS, SECOND]);
        return Fault::TakeOver { intent, held: random.below(held_max) };
    }
    let pairs = [
        (Host::Source, Host::Destination),
        (Host::Source, Host::Destination),
        (Host::Clients, Host::Source),
        (Host::Clients, Host::Destination),
        (Host::Controller, Host::Source),
        (Host::Controller, Host::Destination),
    ];
    let (a, b) = *random.pick(&pairs);
    let percent = *random.pick(&[20, 50, 100]);
    let crashes = trouble.kills() && random.one_in(2);
    if crashes {
        let hosts = [Host::Source, Host::Destination, Host::Controller, Host::Clients];
        let host = *random.pick(&hosts);
        let down_max = *random.pick(&[MILLIS, 50 * MILLIS, 2 * SECOND]);
        Fault::Crash { host, power: random.one_in(2), down: random.below(down_max) }
    } else if random.one_in(2) {
        Fault::Break { a, b, percent }
    } else {
        let length_max = *random.pick(&[20 * MILLIS, SECOND, 4 * SECOND]);
        Fault::Stall { a, b, percent, length: random.below(length_max) }
    }
}

fn disk_fault(random: &mut Random) -> Fault {
    let host = *random.pick(&[Host::Source, Host::Destination]);
    if random.one_in(3) {
        return file_fault(random);
    }
    let kind = *random.pick(&[Kind::Read, Kind::Write, Kind::Write, Kind::Flush]);
    let full = (host, kind) == (Host::Destination, Kind::Write) && random.one_in(2);
    let error = if full { DiskError::Full } else { DiskError::Io };
    let length_max = *random.pick(&[1, 1, 5 * MILLIS, 200 * MILLIS, 2 * SECOND]);
    Fault::Disk { host, kind, error, length: random.below(length_max) }
}

fn file_fault(random: &mut Random) -> Fault {
    let all = [Which::SourceRecords, Which::SourceLog, Which::DestinationRecords];
    let calls = [FileCall::Write, FileCall::Sync, FileCall::Name, FileCall::SyncNames];
    let length_max = *random.pick(&[1, 1, 5 * MILLIS, 200 * MILLIS]);
    Fault::File {
        which: *random.pick(&all),
        call: *random.pick(&calls),
        error: *random.pick(&[DiskError::Io, DiskError::Full]),
        length: random.below(length_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_has_200_requests_and_three_faults_where_anything_goes_wrong() {
        for seed in 0..10_000 {
            let troubles = [
                Trouble::Network,
                Trouble::All,
                Trouble::Store,
                Trouble::Disk,
                Trouble::Lying,
                Trouble::Control,
            ];
            for trouble in troubles {
                let plan = Plan::of(seed, trouble);
                assert!(plan.load.total_min >= 200 && plan.faults.len() >= 3, "seed {seed}");
            }
            let calm = Plan::of(seed, Trouble::None);
            assert!(calm.load.total_min >= 200 && calm.faults.is_empty(), "seed {seed}");
        }
    }
}
