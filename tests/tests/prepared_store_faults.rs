//! Migrations into prepared stores that are aborted, lose a program on the way, or a part of what the
//! store had answered: nothing is lost to the client, and the store stays.

use std::path::{Path, PathBuf};

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;
use blockferry_device::{Device, Errno, Request};
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, QemuNbd, VOLUME, busy, connect, fill_random, moves_on, until,
    write,
};

const MIB_COUNT: u64 = 48;

/// What is copied a second where a test wants to meet the copy half way.
const SLOWLY: [&str; 4] = ["--chunk", "1M", "--bandwidth", "12M"];

/// A volume without holes, and the file that something else is in.
fn dense() -> (ClusterSpec, PathBuf) {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), MIB_COUNT * MIB);
    let garbage = spec.garbage();
    let file = spec.file();
    (spec.source(|source| source.volume(VOLUME, file)), garbage)
}

async fn aborted(cluster: &Cluster, garbage: &Path) {
    cluster.controller("abort", &[]).done().await;
    let status = cluster.source.status(VOLUME).await.expect("an answer");
    assert_eq!((status.role, status.generation), (VolumeRole::Owner, 1));
    assert!(cluster.destination.status(VOLUME).await.is_none());
    let size = std::fs::metadata(garbage).expect("the store is left").len();
    assert_eq!(size, MIB_COUNT * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_leaves_the_store_and_the_next_migration_works_at_once() {
    let (spec, garbage) = dense();
    let cluster = spec.received_in(&garbage).start().await;
    let load = busy(&cluster.uri(), 200).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    aborted(&cluster, &garbage).await;
    let running = async || controller.process.ended().map(|status| status.code());
    assert_eq!(until("the first controller gives up", running).await, Some(1));
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    cluster.moves_into(async || garbage.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_after_a_restart_of_the_destination_leaves_the_store_prepared_too() {
    let (spec, garbage) = dense();
    let mut cluster = spec.received_in(&garbage).start().await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    controller.process.kill9();
    cluster.destination.kill9();
    cluster.destination.restart().await;
    aborted(&cluster, &garbage).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    controller.process.kill9();
    cluster.destination.kill9();
    let flags = std::mem::take(&mut cluster.destination.spec.more);
    cluster.destination.restart().await;
    aborted(&cluster, &garbage).await;
    let refused = cluster.controller("migrate", &["--dry-run"]).end().await;
    assert!(refused.err.concat().contains("--receive"), "nothing is prepared: {refused:?}");
    cluster.destination.kill9();
    cluster.destination.spec.more = flags;
    cluster.destination.restart().await;
    cluster.moves_into(async || garbage.clone()).await;
}

/// Kills the destination half way, starts it again with or without its flag, and lets it end.
async fn goes_on_after_a_kill(named: bool) {
    let (spec, garbage) = dense();
    let mut cluster = spec.received_in(&garbage).start().await;
    let load = busy(&cluster.uri(), 200).await;
    let controller = cluster.controller("migrate", &[&SLOWLY[..], &["--hold-at-ready"]].concat());
    cluster.until_copied(24 * MIB).await;
    cluster.destination.kill9();
    moves_on(&load).await;
    if !named {
        cluster.destination.spec.more.clear();
    }
    cluster.destination.restart().await;
    let durable = cluster.destination.status(VOLUME).await.expect("an answer").durable_address;
    assert!(durable > 0, "it began anew");
    controller.done().await;
    cluster.ends_equal(load, async || garbage.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_killed_in_mid_copy_goes_on_in_its_prepared_store() {
    goes_on_after_a_kill(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_started_without_the_flag_goes_on_where_its_records_say() {
    goes_on_after_a_kill(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_does_not_take_the_place_of_the_one_that_is_half_full() {
    let (spec, garbage) = dense();
    let (other, mut cluster) =
        (spec.scratch.join("other"), spec.received_in(&garbage).start().await);
    fill_random(&other, MIB_COUNT * MIB);
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    controller.process.kill9();
    cluster.destination.kill9();
    let mut spec = cluster.destination.spec.clone();
    spec.more.clear();
    for exchanged in [spec.clone().receive(VOLUME, &other), spec.volume(VOLUME, &other)] {
        let (code, line) = exchanged.refused().await;
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains(garbage.to_str().expect("UTF-8")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_into_memory_is_gone_with_the_program_and_begins_anew() {
    let (spec, _) = dense();
    let mut cluster = spec.received_in(format!("mem:{MIB_COUNT}M")).start().await;
    let controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(16 * MIB).await;
    cluster.destination.kill9();
    cluster.destination.restart().await;
    cluster.destination.process.logged("gone with the program that had it").await;
    let lost = controller.end().await;
    assert_eq!(lost.code, Some(1), "{lost:?}");
    assert!(lost.err[0].contains("abort and begin again"), "{lost:?}");
    cluster.controller("abort", &[]).done().await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.migrate(&["--chunk", "1M"]).await;
    cluster.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_what_it_had_not_flushed_gets_it_again() {
    let (spec, garbage) = dense();
    let arguments = ["--filter=cache", "file", garbage.to_str().expect("UTF-8"), "cache=writeback"];
    let mut server = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    let mut cluster = spec.received_in(server.uri().to_string()).start().await;
    let load = busy(&cluster.uri(), 200).await;
    let controller = cluster.controller("migrate", &[&SLOWLY[..], &["--hold-at-ready"]].concat());
    for copied_mib in [16, 32] {
        cluster.until_copied(copied_mib * MIB).await;
        server.kill9();
        moves_on(&load).await;
        server.restart().await;
    }
    let done = controller.done().await.last();
    assert!(done["event"] == "held", "{done}");
    cluster.ends_equal(load, async || cluster.content_of(&server.uri()).await).await;
    cluster.destination.process.logged("the store may have lost what no checkpoint covers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qemu_nbd_killed_in_mid_copy_is_waited_for() {
    let (spec, garbage) = dense();
    let mut server = QemuNbd::start(spec.scratch.join("qemu-nbd"), &garbage).await;
    let cluster = spec.received_in(server.uri().to_string()).start().await;
    let load = busy(&cluster.uri(), 200).await;
    let controller = cluster.controller("migrate", &[&SLOWLY[..], &["--hold-at-ready"]].concat());
    cluster.until_copied(24 * MIB).await;
    server.kill9();
    moves_on(&load).await;
    server.restart().await;
    controller.done().await;
    cluster.ends_equal(load, async || garbage.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_the_copy_pauses_the_migration_and_resume_goes_on() {
    let (spec, garbage) = dense();
    let trigger = spec.scratch.join("broken");
    let error_file = format!("error-file={}", trigger.display());
    let file = garbage.to_str().expect("UTF-8");
    let fails = ["error-pwrite=EIO", "error-pwrite-rate=100%", &error_file];
    let arguments = [&["--filter=error", "file", file][..], &fails].concat();
    let server = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    let cluster = spec.received_in(server.uri().to_string()).start().await;
    let load = busy(&cluster.uri(), 200).await;
    let controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    std::fs::write(&trigger, "").expect("a file");
    let failed = controller.end().await;
    assert_eq!((failed.code, failed.err.len()), (Some(1), 1), "{failed:?}");
    assert!(failed.err[0].contains("resume"), "{failed:?}");
    moves_on(&load).await;
    std::fs::remove_file(&trigger).expect("it was there");
    let more = ["--chunk", "1M", "--hold-at-ready"];
    cluster.controller("resume", &more).done().await;
    cluster.ends_equal(load, async || garbage.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_server_forgot_writes_tells_it_to_the_client_that_flushes() {
    let (spec, garbage) = dense();
    let arguments = ["--filter=cache", "file", garbage.to_str().expect("UTF-8"), "cache=writeback"];
    let mut server = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    let cluster = spec.received_in(server.uri().to_string()).start().await;
    cluster.migrate(&[]).await;
    cluster.until_moved().await;
    let client = connect(&cluster.uri()).await;
    let flush = async || client.call(Request::Flush).await;
    write(&client, 0, "flushed").await.expect("a write");
    flush().await.expect("a flush");
    write(&client, 4096, "forgotten").await.expect("a write");
    server.kill9();
    server.restart().await;
    for _ in 0..2 {
        let failure = flush().await.expect_err("a write was lost");
        assert_eq!(failure.errno, Errno::Io, "{failure}");
    }
}
