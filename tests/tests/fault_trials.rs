//! Whatever is killed, stopped or cut off, and whenever: nothing is lost, no client sees an error, and
//! there is one owner in the end. These are a few trials of each kind; `blockferry-trials` has them
//! all, and repeats one that failed here.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use blockferry_label::LABELS;
use blockferry_tests::tree;
use blockferry_tests::trials::{Bounds, Setting, Trial, run_all};

/// Trials at the same time: they wait more than they work.
const JOBS: usize = 3;

/// Migrations that come to every label: in peace, by NBD clients and by initiators with and without the
/// switch, by a switch that nobody told, after an abort, after a source died, and after a destination did
/// not answer.
const COURSES: [&str; 7] = [
    "x4",
    "x4 iscsi",
    "x4 iscsi switched",
    "x4 untold",
    "x1 aborted",
    "source/source.client.answering/9/kill x1",
    "destination/destination.mirror.begun/4/stop x1",
];

fn setting() -> Setting {
    let logs = tree::root().join("target/trials");
    Setting { logs, seed_fault: None, counted: None }
}

/// Runs the trials; every blow has to fall, and none may do harm. Gives how often each label was
/// passed.
fn run(lines: &[&str]) -> BTreeMap<String, u64> {
    let trials: Vec<Trial> = lines.iter().map(|line| line.parse().expect("a trial")).collect();
    let bounds = Bounds { jobs: JOBS, time: Duration::MAX };
    let (mut passed, mut wrong) = (BTreeMap::new(), Vec::new());
    run_all(&trials, &setting(), bounds, |verdict| match &verdict.result {
        Ok(shown) => {
            for (label, count) in &shown.passed {
                *passed.entry(label.clone()).or_default() += count;
            }
            if !shown.struck {
                wrong.push(format!("{}: its point was not reached", verdict.trial));
            }
        }
        Err(why) => wrong.push(format!("{}: {why}\nlogs: {:?}", verdict.trial, verdict.logs)),
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    passed
}

#[test]
fn every_label_in_the_code_is_in_the_table_and_stands_in_one_place() -> Result<()> {
    let files = tree::rust_files()?;
    let code = |path: &str| !path.starts_with("tests/") && !path.starts_with("crates/label/");
    let code: Vec<_> = files.iter().filter(|file| code(&file.path)).collect();
    for label in LABELS {
        let quoted = format!("\"{label}\"");
        let places: usize = code.iter().map(|file| file.text.matches(&quoted).count()).sum();
        assert_eq!(places, 1, "{label} stands in {places} places");
    }
    for file in code {
        for call in file.text.split("blockferry_label::reached(\"").skip(1) {
            let label = call.split('"').next().unwrap_or_default();
            assert!(LABELS.contains(&label), "{}: {label} is not in the table", file.path);
        }
    }
    Ok(())
}

#[test]
fn every_label_is_reached() {
    let passed = run(&COURSES);
    let missing: Vec<_> = LABELS.iter().filter(|label| !passed.contains_key(**label)).collect();
    assert!(missing.is_empty(), "no migration comes to {missing:?}");
}

#[test]
fn kills_at_labels_lose_nothing() {
    run(&[
        "source/source.send.recorded/1/kill x1",
        "source/source.mirror.applied/3/kill x4 seed=1",
        "source/source.client.answering/40/kill x4 seed=2",
        "source/source.checkpoint.finished/1/kill x1 seed=3",
        "source/source.commit.begun/1/kill x4 seed=4",
        "source/source.commit.recorded/1/kill x4 seed=5",
        "source/source.mirror.applied/3/kill source/storage.fence.drained/1/kill x1 seed=6",
        "source/source.forward.sending/1/kill x1 seed=7 untold",
        "destination/destination.receive.recorded/1/kill x1 seed=8",
        "destination/destination.copy.written/7/kill x4 seed=9",
        "destination/destination.ready.recorded/1/kill x1 seed=10",
        "destination/destination.own.begun/1/kill x4 seed=11",
        "destination/destination.abort.recorded/1/kill x1 aborted",
        "controller/controller.receive.answered/1/kill x1 seed=12",
        "controller/controller.commit.answered/1/kill x4 seed=13",
        "switch/switch.relocate.recorded/1/kill x4 seed=14",
        "switch/path.move.opened/1/kill x1 seed=15",
    ]);
}

#[test]
fn stops_at_labels_cost_a_delay_and_nothing_else() {
    run(&[
        "source/source.commit.begun/1/stop x4",
        "destination/destination.mirror.begun/3/stop x1 seed=1",
        "destination/destination.own.recorded/1/stop x4 seed=2",
        "controller/controller.ready.answered/1/stop x1 seed=3",
        "switch/switch.relocate.recorded/1/stop x4 seed=4",
        "switch/path.move.opened/1/stop x1 seed=5",
    ]);
}

#[test]
fn cuts_at_labels_cost_a_delay_and_nothing_else() {
    run(&[
        "source/source.send.term-recorded/1/reset x1",
        "source/source.retire.asked/1/reset x4 seed=1",
        "source/source.commit.recorded/1/silence x4 seed=2",
        "source/source.mirror.sending/4/torn x1 seed=3",
        "destination/destination.ready.flushed/1/mute x1 seed=4",
        "destination/destination.mirror.executed/4/mute x4 seed=5",
        "controller/copier.writing/5/deaf x1 seed=6",
        "switch/switch.relocate.decided/1/silence x4 seed=7",
    ]);
}

#[test]
fn a_copy_that_the_destination_carries_survives_the_same() {
    run(&[
        "source/source.copy.read/4/kill x4 carried",
        "source/source.claim.granted/5/reset x1 seed=1 carried",
        "destination/destination.copy.moved/4/kill x1 seed=2 carried",
        "destination/destination.copy.begun/6/stop x4 seed=3 carried",
        "destination/destination.copy.written/4/silence x4 seed=4 carried",
        "destination/copier.read/7/kill x4 seed=5 carried",
    ]);
}

/// These need a network namespace around them, so that another process runs them.
#[test]
fn broken_wires_and_vanished_hosts_cost_a_delay_and_nothing_else() {
    let mut trials = Command::new(env!("CARGO_BIN_EXE_blockferry-trials"));
    trials.args(["--jobs", &JOBS.to_string()]);
    for trial in [
        "x4 net",
        "source/source.commit.recorded/1/silence x4 seed=1 net",
        "source/source.mirror.applied/4/vanish x4 seed=2 net",
        "destination/destination.mirror.executed/4/mute x4 seed=3 net",
        "destination/destination.own.begun/1/vanish x1 seed=4 net",
        "controller/copier.writing/5/deaf x1 seed=5 net",
    ] {
        trials.args(["--only", trial]);
    }
    let output = trials.output().expect("the trials start");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("6 trials, 0 failed"), "{output:?}");
    assert!(!said.contains("not reached:"), "{said}");
}

#[test]
fn kills_at_system_calls_lose_nothing() {
    run(&[
        "source/fdatasync/2/kill x1",
        "source/pwrite64/20/kill x4 seed=1",
        "source/writev/60/kill x1 seed=2",
        "destination/fsync/2/kill x1 seed=3",
        "destination/pwrite64/30/kill x4 seed=4",
        "destination/writev/40/kill x1 seed=5",
        "controller/writev/50/kill x1 seed=6",
        "controller/sendto/6/kill x4 seed=7",
        "switch/recvfrom/90/kill x4 seed=8",
        "switch/writev/70/kill x1 seed=9",
    ]);
}

/// They log in again, and send again what was not answered.
#[test]
fn initiators_lose_nothing_whatever_is_killed_stopped_or_cut_off() {
    run(&[
        "source/source.disk.identified/1/kill x1 iscsi",
        "source/storage.disk.recorded/3/kill x4 seed=1 iscsi",
        "source/source.disk.hushed/1/kill x4 seed=2 iscsi",
        "source/source.commit.recorded/1/kill x4 seed=3 iscsi",
        "source/source.disk.leaving/1/stop x4 seed=4 iscsi",
        "source/source.mirror.applied/3/kill x4 seed=5 iscsi",
        "source/source.disk.redirecting/1/reset x4 seed=6 iscsi",
        "source/source.commit.begun/1/silence x4 seed=7 iscsi",
        "destination/destination.disk.recorded/1/kill x4 seed=8 iscsi",
        "destination/destination.disk.taken-over/1/kill x4 seed=9 iscsi",
        "destination/storage.disk.recorded/2/kill x4 seed=10 iscsi",
        "destination/destination.disk.asked/1/torn x4 seed=11 iscsi",
        "destination/storage.disk.opened/1/silence x4 seed=12 iscsi",
        "controller/controller.commit.answered/1/kill x4 seed=13 iscsi",
        "source/writev/80/kill x4 seed=14 iscsi",
        "destination/fdatasync/4/kill x4 seed=15 iscsi",
    ]);
}

/// The switch passes their logins on to whoever owns the volume.
#[test]
fn initiators_behind_the_switch_lose_nothing_whatever_is_killed_stopped_or_cut_off() {
    run(&[
        "switch/switch.disk.asked/2/kill x4 iscsi switched",
        "switch/switch.disk.answered/5/kill x4 seed=1 iscsi switched",
        "switch/switch.disk.joined/3/stop x4 seed=2 iscsi switched",
        "switch/switch.arrangement.asked/1/kill x4 seed=3 iscsi switched",
        "switch/switch.relocate.recorded/1/silence x4 seed=4 iscsi switched",
        "source/source.commit.recorded/1/kill x4 seed=5 iscsi switched",
        "source/source.disk.leaving/1/stop x4 seed=6 iscsi switched",
        "destination/destination.disk.taken-over/1/kill x4 seed=7 iscsi switched",
        "controller/controller.commit.answered/1/kill x4 seed=8 untold iscsi switched",
        "switch/recvfrom/60/kill x4 seed=9 iscsi switched",
    ]);
}

/// What a trial says that finds this fault of the storage programs.
fn found(trial: &str, fault: &str) -> String {
    let trial: Trial = trial.parse().expect("a trial");
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().to_owned();
    let setting = Setting { logs, seed_fault: Some(fault.to_owned()), ..setting() };
    let bounds = Bounds { jobs: 1, time: Duration::MAX };
    let mut found = None;
    run_all(&[trial], &setting, bounds, |verdict| found = verdict.result.clone().err());
    found.unwrap_or_else(|| panic!("{fault} was not found"))
}

#[test]
fn a_trial_finds_a_source_that_skips_the_mirror() {
    for trial in ["x4", "x4 iscsi"] {
        let found = found(trial, "skip-mirror");
        let by_reads = found.contains("the load") || found.contains("cell");
        assert!(by_reads, "found, but not by what is read: {found}");
    }
}

#[test]
fn a_trial_finds_a_destination_that_is_not_told_of_the_disk() {
    let found = found("x4 iscsi", "forget-disk");
    let by_state = found.contains("initiator") || found.contains("reservation");
    assert!(by_state, "found, but not by what initiators have set: {found}");
}
