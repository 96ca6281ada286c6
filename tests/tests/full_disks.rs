//! Disks that take no more, under real programs: that of the records, which then begin no step, and
//! that of the destination's volume, whose migration waits for room (rows C1 and C14 of
//! `docs/failures.md`).

use std::process::Command;

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, SmallDisk, VOLUME, busy, connect, fill_random, moves_on, until,
    write,
};

const SIZE_MIB: u64 = 16;

/// A cluster whose source or destination has its records on a small disk.
async fn with_small_records(at_source: bool) -> Option<(Cluster, SmallDisk)> {
    let mut spec = ClusterSpec::new();
    let side = if at_source { &mut spec.source } else { &mut spec.destination };
    let disk = SmallDisk::over(&side.state, "256k").await?;
    side.under = disk.under();
    Some((spec.random(SIZE_MIB).await, disk))
}

/// The step that cannot be recorded is refused, no client hears of it, and it is taken once there is
/// room.
async fn waits_for_room(cluster: &Cluster, disk: &SmallDisk) {
    disk.fill();
    let load = busy(&cluster.uri(), 100).await;
    let refused = cluster.controller("migrate", &[]).end().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let line = refused.err.last().expect("a line");
    assert!(line.contains("No space left"), "{line}");
    moves_on(&load).await;
    assert_eq!(cluster.source.status(VOLUME).await.expect("an answer").reserved_address, 0);
    disk.empty();
    cluster.migrate(&["--chunk", "1M"]).await;
    cluster.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_without_room_for_its_records_begins_no_migration() {
    let Some((cluster, disk)) = with_small_records(false).await else { return };
    waits_for_room(&cluster, &disk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_room_for_its_records_begins_no_migration() {
    let Some((cluster, disk)) = with_small_records(true).await else { return };
    waits_for_room(&cluster, &disk).await;
}

/// A cluster whose source may have no file grow, once [`no_file_grows`] says so; its volume is elsewhere.
async fn with_limited_source(more: &[&str]) -> (Cluster, NbdKit) {
    let mut spec = ClusterSpec::new();
    fill_random(&spec.file(), SIZE_MIB * MIB);
    let file = spec.file();
    let arguments = ["file", file.to_str().expect("UTF-8")];
    let store = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    spec.source.under = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"].map(str::to_owned).into();
    let backing = store.uri().to_string();
    let spec = spec.source(|source| {
        more.iter().fold(source.volume(VOLUME, backing), |source, word| source.with(*word))
    });
    (spec.start().await, store)
}

/// From now on the source can write to no file beyond the present size of this one.
fn no_file_grows(cluster: &Cluster, records: &str) {
    let records = cluster.source.spec.state.join(format!("{VOLUME}.{records}"));
    let size = std::fs::metadata(records).expect("a file").len();
    let (pid, limit) = (cluster.source.process.pid(), format!("--fsize={size}:{size}"));
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(status.expect("prlimit is of util-linux").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_room_for_its_activity_log_costs_no_client_a_write_and_forgets_nothing() {
    let (mut cluster, _store) = with_limited_source(&[]).await;
    cluster.migrate(&["--chunk", "1M", "--hold-at-ready"]).await;
    no_file_grows(&cluster, "activity");
    let client = connect(&cluster.uri()).await;
    write(&client, 0, vec![7; 4096]).await.expect("a write");
    cluster.source.process.logged("the activity log cannot be written and is removed").await;
    write(&client, 8 * MIB, vec![7; 4096]).await.expect("another");
    cluster.source.kill9();
    cluster.source.restart().await;
    cluster.source.process.logged("the activity log is lost").await;
    cluster.controller("resume", &["--hold-at-ready"]).done().await;
    let migration = cluster.source.status(VOLUME).await.expect("an answer").migration;
    let resynced = migration.expect("a migration").resynced_bytes;
    assert!(resynced >= SIZE_MIB * MIB, "only {resynced} bytes were sent again");
    cluster.assert_equal();
    cluster.controller("commit", &[]).done().await;
    cluster.until_moved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_room_for_its_commit_record_has_not_committed() {
    let (mut cluster, _store) = with_limited_source(&["--stop-at", "source.commit.begun"]).await;
    let client = connect(&cluster.uri()).await;
    let controller = cluster.controller("migrate", &["--chunk", "1M"]);
    let stopped = async || cluster.source.process.is_stopped().then_some(());
    until("the source is about to write its commit record", stopped).await;
    no_file_grows(&cluster, "journal");
    cluster.source.process.cont();
    cluster.source.process.logged("the commit record could not be written").await;
    let ended = async || cluster.source.process.ended();
    assert_eq!(until("the source stops", ended).await.code(), Some(1));
    let destination = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!(destination.role, VolumeRole::Ready, "nobody has committed to it");
    cluster.source.spec.more.clear();
    cluster.source.restart().await;
    controller.done().await;
    cluster.until_moved().await;
    write(&client, 0, vec![7; 4096]).await.expect("the client is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_runs_out_of_room_waits_for_it_and_no_client_with_it() {
    let mut spec = ClusterSpec::new();
    let pool = spec.destination.pool.clone().expect("a pool");
    let Some(disk) = SmallDisk::over(&pool, "24m").await else { return };
    spec.destination.under = disk.under();
    fill_random(&spec.file(), SIZE_MIB * MIB);
    let cluster = spec.with_file().await;
    let client = connect(&cluster.uri()).await;
    let controller = cluster.controller("migrate", &["--chunk", "1M", "--bandwidth", "4M"]);
    cluster.until_copied(MIB).await;
    disk.fill();
    let full = controller.end().await;
    assert_eq!(full.code, Some(1), "{full:?}");
    let line = full.err.last().expect("a line");
    assert!(line.contains("ENOSPC") && line.contains("paused"), "{line}");
    write(&client, 0, vec![7; 4096]).await.expect("a write");
    disk.empty();
    cluster.controller("resume", &["--chunk", "1M", "--hold-at-ready"]).done().await;
    cluster.source.until(VOLUME, "nothing dirty", |status| status.dirty_bytes == 0).await;
    blockferry_tests::cast::compare(&cluster.file(), &disk.inside(VOLUME)).expect("equal");
    cluster.controller("commit", &[]).done().await;
    cluster.until_moved().await;
}
