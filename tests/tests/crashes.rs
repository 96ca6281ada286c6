//! Whatever dies comes back, the copy goes on from the reserved address, and no client sees more than
//! a delay (L2).

use std::time::Duration;

use blockferry_block::MIB;
use blockferry_checker::LoadHandle;
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{
    Cluster, Controller, Steps, Storage, StorageSpec, VOLUME, busy, connect, ends_clean, moves_on,
    until,
};
use serde_json::Value;

/// What is copied a second where a test wants to meet the copy half way.
const SLOWLY: [&str; 4] = ["--chunk", "1M", "--bandwidth", "12M"];

fn copied(done: &Value) -> u64 {
    let carried = |field: &str| done[field].as_u64().unwrap_or_else(|| panic!("{field}: {done}"));
    carried("copied_bytes") + carried("zero_bytes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_killed_in_mid_copy_goes_on_where_it_was_durable() {
    const AGAIN_MAX: u64 = 256 * MIB;
    let (size, killed_at) = (512 * MIB, 400 * MIB);
    let mut cluster = Cluster::random(size / MIB).await;
    let load = busy(&cluster.uri(), 100).await;
    let controller = cluster.controller("migrate", &["--bandwidth", "300M"]);
    cluster.until_copied(killed_at).await;
    cluster.destination.kill9();
    moves_on(&load).await;
    cluster.destination.restart().await;
    let done = controller.done().await.last();
    assert!(copied(&done) <= size + AGAIN_MAX, "{done}");
    assert!(done["passes"].as_u64() > Some(1), "it fell back to a checkpoint: {done}");
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_is_followed_by_another_from_the_reserved_address() {
    let (size, killed_at) = (48 * MIB, 24 * MIB);
    let cluster = Cluster::random(size / MIB).await;
    let load = busy(&cluster.uri(), 200).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(killed_at).await;
    controller.process.kill9();
    moves_on(&load).await;
    let done = cluster.controller("resume", &["--chunk", "1M"]).done().await.last();
    assert_eq!(done["passes"], 1, "nothing fell back: {done}");
    assert!(copied(&done) < size + killed_at / 2, "it began anew: {done}");
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_controller_exits_with_3_and_the_same_command_continues() {
    let cluster = Cluster::random(24).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    controller.process.interrupt();
    assert_eq!(controller.end().await.code, Some(3));
    let done = cluster.migrate(&["--chunk", "1M"]).await.last();
    assert_eq!((&done["passes"], &done["digest_match"]), (&1.into(), &true.into()), "{done}");
    cluster.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_killed_in_mid_copy_costs_its_clients_a_delay_and_no_error() {
    let mut cluster = Cluster::random(48).await;
    let load = busy(&cluster.uri(), 200).await;
    let controller = cluster.controller("migrate", &SLOWLY);
    for copied_mib in [12, 24] {
        cluster.until_copied(copied_mib * MIB).await;
        cluster.source.kill9();
        cluster.switch.until(VOLUME, "held clients", |route| route.held > 0).await;
        cluster.source.restart().await;
        moves_on(&load).await;
    }
    let done = controller.done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_storage_programs_killed_at_once_come_back_to_one_migration() {
    let mut cluster = Cluster::random(32).await;
    let load = busy(&cluster.uri(), 200).await;
    let controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(16 * MIB).await;
    cluster.source.kill9();
    cluster.destination.kill9();
    cluster.destination.restart().await;
    cluster.source.restart().await;
    let done = controller.done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_killed_after_the_migration_strands_no_client() {
    let mut cluster = Cluster::random(8).await;
    let load = busy(&cluster.uri(), 200).await;
    let done = cluster.migrate(&[]).await.last();
    cluster.source.kill9();
    cluster.is_done_well(load, &done).await;
    let newcomer = busy(&cluster.uri(), 200).await;
    ends_clean(newcomer).await;
}

/// Held at ready, with a load, and a controller by hand.
async fn held(mib: u64) -> (Cluster, LoadHandle, Steps) {
    let cluster = Cluster::random(mib).await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    let steps = Steps::take_over(&cluster).await;
    (cluster, load, steps)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_killed_after_the_commit_strands_no_client_of_a_switch_that_missed_it() {
    let (mut cluster, load, steps) = held(8).await;
    let settled = steps.settle().await;
    let ready = steps.ready(&settled).await;
    let worker = cluster.switch.stop().await;
    let committed = steps.commit(&settled, &ready).await.expect("a commit");
    steps.own(committed.generation).await.expect("an owner");
    cluster.source.kill9();
    cluster.switch.cont(worker);
    cluster.until_moved().await;
    moves_on(&load).await;
    cluster.source.restart().await;
    cluster.source.until_role(VOLUME, VolumeRole::Forwarding).await;
    let done = cluster.controller("resume", &[]).done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_commit_and_its_proof_clients_wait_for_the_source_without_an_error() {
    let (mut cluster, load, steps) = held(8).await;
    let settled = steps.settle().await;
    let ready = steps.ready(&settled).await;
    // What waits in the destination's sockets when it is killed never reaches it.
    cluster.destination.process.stop();
    steps.commit(&settled, &ready).await.expect("a commit needs the source alone");
    cluster.source.kill9();
    cluster.destination.kill9();
    cluster.destination.restart().await;
    let status = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!(status.role, VolumeRole::Ready, "it has no proof of the commit");
    cluster.switch.until(VOLUME, "held clients", |route| route.held == 2).await;
    let status = cluster.destination.status(VOLUME).await.expect("an answer");
    assert_eq!(status.role, VolumeRole::Ready, "nobody may be served here yet");
    assert_eq!(load.snapshot().errors, 0);

    cluster.source.restart().await;
    cluster.until_moved().await;
    let done = cluster.controller("resume", &[]).done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_killed_when_it_was_ready_voids_the_attempt_and_the_next_one_commits() {
    let (mut cluster, load, steps) = held(8).await;
    let settled = steps.settle().await;
    let ready = steps.ready(&settled).await;
    cluster.destination.kill9();
    cluster.destination.restart().await;
    let attached = |status: &blockferry_control::api::VolumeStatus| {
        status.migration.as_ref().is_some_and(|migration| migration.attached)
    };
    cluster.destination.until(VOLUME, "attached again", attached).await;
    let refusal = steps.commit(&settled, &ready).await.expect_err("another run of the destination");
    assert_eq!(refusal.status().map(u16::from), Some(409), "{refusal}");
    let done = cluster.controller("resume", &[]).done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_killed_after_the_commit_is_waited_for_and_becomes_the_owner() {
    let (mut cluster, load, steps) = held(8).await;
    let settled = steps.settle().await;
    let ready = steps.ready(&settled).await;
    cluster.destination.process.stop();
    steps.commit(&settled, &ready).await.expect("a commit");
    cluster.destination.kill9();
    cluster.destination.restart().await;
    cluster.destination.until_role(VOLUME, VolumeRole::Owner).await;
    let done = cluster.controller("resume", &[]).done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_hangs_costs_each_client_little_more_than_the_mirror_timeout() {
    let cluster = Cluster::random(24).await;
    let load = busy(&cluster.uri(), 200).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    let mut cluster = cluster;
    cluster.destination.process.stop();
    let dirty = |status: &blockferry_control::api::VolumeStatus| status.dirty_bytes > 0;
    cluster.source.until(VOLUME, "dirty extents", dirty).await;
    moves_on(&load).await;
    cluster.destination.process.cont();
    assert!(controller.process.ended().is_none(), "the controller waits");
    let done = controller.done().await.last();
    assert!(done["resynced_bytes"].as_u64() > Some(0), "{done}");
    let longest = Duration::from_secs_f64(load.snapshot().longest_ms / 1e3);
    assert!(longest < Duration::from_secs(6), "{longest:?} is far more than 1 s");
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_hung_through_the_cutover_heals_itself() {
    let (mut cluster, load, steps) = held(8).await;
    let settled = steps.settle().await;
    let ready = steps.ready(&settled).await;
    let worker = cluster.switch.stop().await;
    let committed = steps.commit(&settled, &ready).await.expect("a commit");
    steps.own(committed.generation).await.expect("an owner");
    cluster.switch.cont(worker);
    cluster.until_moved().await;
    let done = cluster.controller("resume", &[]).done().await.last();
    assert_eq!(done["already_complete"], true, "{done}");
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_leaves_the_source_as_the_owner_and_nothing_at_the_destination() {
    let cluster = Cluster::random(24).await;
    let load = busy(&cluster.uri(), 200).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    assert!(cluster.copy().exists());
    cluster.controller("abort", &[]).done().await;
    let running = async || controller.process.ended().map(|status| status.code());
    assert_eq!(until("the first controller gives up", running).await, Some(1));
    let status = cluster.source.status(VOLUME).await.expect("an answer");
    assert_eq!((status.role, status.generation), (VolumeRole::Owner, 1));
    assert!(cluster.destination.status(VOLUME).await.is_none());
    assert!(!cluster.copy().exists(), "what it created is deleted");
    moves_on(&load).await;
    let done = cluster.migrate(&["--chunk", "1M"]).await.last();
    cluster.is_done_well(load, &done).await;
    let refusal = cluster.controller("abort", &[]).end().await;
    assert_eq!(refusal.code, Some(1), "after the commit there is only forward");
    assert_eq!(refusal.err.len(), 1, "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_goes_to_the_destination_and_back_to_another_pool_under_one_load() {
    let cluster = Cluster::random(16).await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.migrate(&["--chunk", "1M"]).await;
    cluster.until_moved().await;
    let third = StorageSpec::new("target-src", &cluster.scratch.join("c"));
    let third = Storage::start(third).await;
    let switch = cluster.switch.control().to_string();
    let back: Controller = cluster.between(
        (&cluster.destination, &third),
        "migrate",
        &["--switch", &switch, "--chunk", "1M"],
    );
    let done = back.done().await.last();
    assert_eq!((&done["generation"], &done["passes"]), (&3.into(), &1.into()), "{done}");
    cluster.switch.until_at(VOLUME, &third.uri(VOLUME)).await;
    let report = ends_clean(load).await;
    let link = connect(&third.uri(VOLUME)).await;
    let violations = report.journal.verify(&link).await.expect("a volume that can be read");
    assert!(violations.is_empty(), "{violations:?}");
}
