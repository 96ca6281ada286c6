//! The mutants of the failure catalogue: what each breaks, in which worlds it is looked for, or why it
//! cannot occur here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use blockferry_migration::Faults;
use blockferry_migration::digest::LEAF;

use crate::content::BLOCK;
use crate::controller::Intent;
use crate::disk::{DiskError, Speed};
use crate::executor::{MILLIS, SECOND};
use crate::fault::{Fault, Moment, Which};
use crate::folder::FileCall;
use crate::mutation::{Mutation, Mutations};
use crate::network::Host;
use crate::plan::{Plan, Trouble};
use crate::world::run_plan;

/// Seeds that are tried before a mutant counts as unseen.
pub const SEEDS_MAX: u64 = 1_000;

/// A mutant.
pub struct Mutant {
    /// Its number in the catalogue; J are those that only the files of the records show.
    pub name: &'static str,
    /// What it breaks.
    pub breaks: &'static str,
    /// How it is looked for.
    pub hunt: Hunt,
}

/// How a mutant is looked for.
pub enum Hunt {
    /// In worlds of this trouble.
    In(Trouble, Mutations),
    /// In worlds with this plan beside.
    With(Mutations, fn(u64, &mut Plan)),
    /// Not here, and why.
    Elsewhere(&'static str),
}

impl Mutant {
    /// The first seed that finds it, and what was seen.
    #[must_use]
    pub fn found(&self) -> Option<(u64, String)> {
        (0..SEEDS_MAX).find_map(|seed| Some((seed, self.seen_in(seed)?)))
    }

    /// What a seed shows of it.
    #[must_use]
    pub fn seen_in(&self, seed: u64) -> Option<String> {
        let (trouble, mutations) = match self.hunt {
            Hunt::In(trouble, mutations) => (trouble, mutations),
            Hunt::With(mutations, _) => (Trouble::All, mutations),
            Hunt::Elsewhere(_) => return None,
        };
        let mut plan = Plan::of(seed, trouble);
        if let Hunt::With(_, tune) = self.hunt {
            plan.load.overlapping = false;
            plan.weather.late_max = SECOND;
            tune(seed, &mut plan);
        }
        let run = || run_plan(seed, plan, trouble, mutations, false).violation;
        catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Some("a machine panicked".to_owned()))
    }
}

fn machine(faults: Faults) -> Mutations {
    Mutations::from(faults)
}

fn program(rule: Mutation) -> Mutations {
    Mutations::from(rule)
}

fn power(host: Host) -> Fault {
    Fault::Crash { host, power: true, down: 10 * MILLIS }
}

/// The log is cleared at a checkpoint; what the source lost of what the log held is the same as ever.
fn source_loses_power_behind_a_checkpoint(seed: u64, plan: &mut Plan) {
    plan.load.hot_blocks = 4;
    plan.load.pause_max = 1_000;
    plan.load.fua_one_in = 1_000;
    plan.weather.delay_max = 60;
    plan.journal_speed = Speed(5, 20);
    let moment = Moment::After("checkpointed", 2 + seed % 6, MILLIS);
    plan.faults = vec![(moment, power(Host::Source))];
}

fn source_loses_power(seed: u64, plan: &mut Plan) {
    let moment = Moment::After("checkpointed", 1 + seed % 4, 2 * MILLIS);
    plan.faults = vec![(moment, power(Host::Source))];
}

fn source_loses_power_at_any_time(seed: u64, plan: &mut Plan) {
    plan.faults = vec![(Moment::After("update", 5 + seed % 60, 0), power(Host::Source))];
}

fn destination_loses_power_after_the_commit(_: u64, plan: &mut Plan) {
    plan.load.pause_max = 100;
    plan.load.fua_one_in = 2;
    plan.weather.delay_max = 60;
    plan.source_speed = Speed(5, 20);
    plan.destination_speed = Speed(MILLIS, 4 * MILLIS);
    plan.faults = vec![(Moment::After("committed", 1, 0), power(Host::Destination))];
}

fn destination_is_killed_when_it_is_ready(seed: u64, plan: &mut Plan) {
    let crash = Fault::Crash { host: Host::Destination, power: false, down: MILLIS };
    plan.faults = vec![(Moment::After("ready", 1, seed % 50), crash)];
}

fn clients_are_cut_off_and_the_owner_loses_power(seed: u64, plan: &mut Plan) {
    plan.load.fua_one_in = 1;
    let (a, b) = (Host::Clients, Host::Source);
    let stall = Fault::Stall { a, b, percent: 100, length: 300 * MILLIS };
    let cut = Fault::Break { a, b, percent: 100 };
    let moment = Moment::After("update", 5 + seed % 40, 0);
    let (number, delay) = (1 + seed % 4, 500 * (seed % 40));
    plan.faults = vec![
        (moment, stall),
        (moment.later(2 * MILLIS), cut),
        (Moment::After("fenced-source", number, delay), power(Host::Source)),
        (Moment::After("fenced-destination", number, delay), power(Host::Destination)),
    ];
}

fn an_old_copy_write_is_late(seed: u64, plan: &mut Plan) {
    plan.chunk_leaves = 1;
    let moment = Moment::After("copied", 1 + seed % 3, 0);
    let (a, b) = (Host::Controller, Host::Destination);
    let stall = Fault::Stall { a, b, percent: 100, length: 300 * MILLIS };
    let cut = Fault::Break { a: Host::Source, b, percent: 100 };
    plan.faults = vec![(moment, stall), (moment.later(40 * MILLIS), cut)];
}

fn clients_are_stalled_and_cut_off(seed: u64, plan: &mut Plan) {
    plan.weather.late_max = 5 * SECOND;
    let (a, b) = (Host::Clients, Host::Source);
    let moment = Moment::After("update", 5 + seed % 20, 0);
    let stall = Fault::Stall { a, b, percent: 100, length: 300 * MILLIS };
    let cut = Fault::Break { a, b, percent: 100 };
    plan.faults = vec![(moment, stall), (moment.later(5 * MILLIS), cut)];
}

fn slow_updates_meet_the_beginning(_: u64, plan: &mut Plan) {
    plan.load.connections = 4;
    plan.load.depth = 4;
    plan.load.pause_max = 100;
    plan.weather.delay_max = 60;
    plan.source_speed = Speed(2 * MILLIS, 8 * MILLIS);
    plan.destination_speed = Speed(5, 20);
    plan.journal_speed = Speed(5, 20);
    plan.faults.clear();
}

fn take_over(intent: Intent) -> Fault {
    Fault::TakeOver { intent, held: 100 * MILLIS }
}

fn another_takes_over_and_a_side_restarts(seed: u64, plan: &mut Plan) {
    let host = if seed.is_multiple_of(2) { Host::Source } else { Host::Destination };
    let crash = Fault::Crash { host, power: false, down: MILLIS };
    let moment = Moment::After("copied", 1 + seed % 3, 0);
    let later = moment.later(5 * MILLIS + 500 * (seed % 20));
    plan.faults = vec![(moment, take_over(Intent::Migrate)), (later, crash)];
}

/// Another controller goes on, so that what was not given up is brought to its end.
fn given_up_as_the_source_dies(seed: u64, plan: &mut Plan) {
    plan.journal_speed = Speed(MILLIS, 4 * MILLIS);
    let crash = Fault::Crash { host: Host::Source, power: false, down: MILLIS };
    plan.faults = vec![
        (Moment::After("copied", 1 + seed % 3, 0), take_over(Intent::Abort)),
        (Moment::After("aborting", 1, 100 * (seed % 20)), crash),
        (Moment::After("aborting", 1, 100 * (seed % 20)), take_over(Intent::Migrate)),
    ];
}

fn the_worker_dies_with_answers_on_their_way(seed: u64, plan: &mut Plan) {
    plan.weather.late_max = 5 * SECOND;
    let (a, b) = (Host::Clients, Host::Source);
    let moment = Moment::After("update", 5 + seed % 20, 0);
    let stall = Fault::Stall { a, b, percent: 100, length: 300 * MILLIS };
    let worker = Fault::Crash { host: Host::Clients, power: false, down: MILLIS };
    plan.faults = vec![(moment, stall), (moment.later(5 * MILLIS), worker)];
}

/// The digest state of a volume that ends within a leaf reaches over many sectors.
fn the_power_fails_in_a_record(seed: u64, plan: &mut Plan) {
    plan.size = LEAF + 3 * BLOCK;
    plan.compact_at = 1 << 20;
    plan.journal_speed = Speed(MILLIS, 2 * MILLIS);
    let delay = 1_500 + 100 * (seed % 16);
    plan.faults = vec![(Moment::After("finishing", 1, delay), power(Host::Destination))];
}

/// The cache shows a commit record that never reaches the medium.
fn the_commits_sync_fails_and_the_power_later(seed: u64, plan: &mut Plan) {
    let (which, call) = (Which::SourceRecords, FileCall::Sync);
    let sync = Fault::File { which, call, error: DiskError::Io, length: 0 };
    plan.faults = vec![
        (Moment::After("committing", 1, 0), sync),
        (Moment::After("owned", 1, 200 * (seed % 20)), power(Host::Source)),
    ];
}

fn a_side_loses_power(seed: u64, plan: &mut Plan) {
    plan.compact_at = 400;
    let (host, what) = match seed % 6 {
        0 => (Host::Source, "checkpointed"),
        1 => (Host::Destination, "checkpointed"),
        2 => (Host::Source, "settled"),
        3 => (Host::Destination, "ready"),
        4 => (Host::Source, "committed"),
        _ => (Host::Destination, "owned"),
    };
    plan.faults = vec![(Moment::After(what, 1, 200 * (seed % 9)), power(host))];
}

const NONE: Faults = Faults {
    claim_without_waiting: false,
    skip_mirror: false,
    mirror_above_reserved: false,
    forget_dirty: false,
    unordered_updates: false,
    begin_unseen: false,
    skip_flush: false,
    forget_disk: false,
};

/// All of them, in the catalogue's order.
#[must_use]
pub fn all() -> Vec<Mutant> {
    use Hunt::{Elsewhere, In, With};
    use Mutation as M;
    use Trouble::{All, Control, Disk, Lying, Network, None};
    let unwaited = Faults { claim_without_waiting: true, ..NONE };
    let unordered = Faults { unordered_updates: true, ..NONE };
    let above = Faults { mirror_above_reserved: true, ..NONE };
    let unseen = Faults { begin_unseen: true, ..NONE };
    let of = |name, breaks, hunt| Mutant { name, breaks, hunt };
    vec![
        of("m1", "the copier reads beside updates", In(None, machine(unwaited))),
        of("m2", "W passes a write before it is done", In(None, program(M::AddressBeforeWrite))),
        of("m3", "mirrored after the answer", In(None, program(M::AnswerBeforeMirror))),
        of(
            "m4",
            "what is dirty is forgotten by a restart",
            With(program(M::LogForgotten), source_loses_power),
        ),
        of(
            "m5",
            "the log is cleared without a flush",
            With(program(M::LogWithoutFlush), source_loses_power_behind_a_checkpoint),
        ),
        of("m6", "clean when sent", In(All, program(M::CleanAtSend))),
        of(
            "m7",
            "copy writes known by address alone",
            With(program(M::EpochIgnored), an_old_copy_write_is_late),
        ),
        of(
            "m8",
            "sent again without a fence",
            With(program(M::ReplayWithoutFence), clients_are_stalled_and_cut_off),
        ),
        of("m9", "answered requests sent again", In(Network, program(M::AnsweredSentAgain))),
        of(
            "m10",
            "FUA lost on the way",
            With(program(M::FuaDropped), clients_are_cut_off_and_the_owner_loses_power),
        ),
        of(
            "m11",
            "commit before the destination's flush",
            With(program(M::FlushBeforeWriteThrough), destination_loses_power_after_the_commit),
        ),
        of("m12", "forwarding before the commit", In(None, program(M::ForwardBeforeRecord))),
        of(
            "m14",
            "owner without a proof",
            With(program(M::OwnerWithoutProof), destination_is_killed_when_it_is_ready),
        ),
        of("m17", "overlapping updates unordered", In(None, machine(unordered))),
        of(
            "m18",
            "flushes answered by the switch",
            With(program(M::FlushInSwitch), source_loses_power_at_any_time),
        ),
        of(
            "m19",
            "a refusal reaches the client",
            Elsewhere(
                "no server refuses a living path here; `a_client_never_hears_that_a_server_shuts_down_or_is_not_the_owner` stops real ones",
            ),
        ),
        of("m20", "a read error is zeroes", In(Disk, program(M::ReadErrorIgnored))),
        of("m21", "mirrored above W", In(None, machine(above))),
        of(
            "m22",
            "terms are not durable",
            With(program(M::TermNotDurable), another_takes_over_and_a_side_restarts),
        ),
        of(
            "m23",
            "records without a checksum",
            With(program(M::ChecksumsIgnored), the_power_fails_in_a_record),
        ),
        of(
            "m24",
            "R compared outside the lock",
            Elsewhere("the comparison and the record are one call of the machine; it shows as m1"),
        ),
        of("m25", "trims are not mirrored", In(None, program(M::TrimNotMirrored))),
        of("m26", "the last short leaf is left out", In(None, program(M::LastLeafSkipped))),
        of(
            "m27",
            "updates from before the migration are missed",
            With(machine(unseen), slow_updates_meet_the_beginning),
        ),
        of(
            "A12",
            "a new worker of the switch sends again without a fence",
            With(program(M::SuccessorWithoutFence), the_worker_dies_with_answers_on_their_way),
        ),
        of("C4", "a mirror error reaches the client", In(Disk, program(M::MirrorErrorToClient))),
        of("C10", "nothing is compared", In(Lying, program(M::NotCompared))),
        of("C14", "a failed record counts", In(Disk, program(M::FailedRecordUnnoticed))),
        of(
            "E12",
            "given up before that is durable",
            With(program(M::AbortBeforeRecord), given_up_as_the_source_dies),
        ),
        of("E18", "two take over with one term", In(Control, program(M::TermsTakenTogether))),
        of(
            "J1",
            "the last record is not written again by a restart",
            With(program(M::NotSettled), the_commits_sync_fails_and_the_power_later),
        ),
        of(
            "J2",
            "names are not made durable",
            With(program(M::NamesNotSynced), a_side_loses_power),
        ),
        of(
            "J3",
            "records are not made durable",
            With(program(M::AppendNotSynced), a_side_loses_power),
        ),
        of(
            "J4",
            "a journal is replaced by what is not durable",
            With(program(M::ContentNotSynced), a_side_loses_power),
        ),
    ]
}
