//! The copy that the destination carries itself, reading from the source: it promises what any copier
//! does, and ends with the controller that has asked for it.

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{Cluster, VOLUME, busy, moves_on, until};

const CARRIED: [&str; 2] = ["--copier", "destination"];

/// Slowly enough that a test meets the copy half way.
const SLOWLY: [&str; 6] = ["--copier", "destination", "--chunk", "1M", "--bandwidth", "12M"];

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_moves_in_one_pass_under_load_and_the_digests_agree() {
    let cluster = Cluster::random(48).await;
    let load = busy(&cluster.uri(), 200).await;
    let outcome = cluster.migrate(&SLOWLY).await;
    let done = outcome.last();
    assert_eq!((&done["passes"], &done["digest_match"]), (&1.into(), &true.into()), "{done}");
    let own_way = outcome.out.iter().any(|event| event.to_string().contains("cannot"));
    assert!(!own_way, "the controller has carried it: {outcome:?}");
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_and_zeroes_stay_thin_and_both_sides_are_equal() {
    let cluster = blockferry_tests::cast::ClusterSpec::new();
    let file = cluster.file();
    blockferry_tests::cast::fill_random(&file, 3 * MIB + 512);
    let sparse = std::fs::File::options().write(true).open(&file).expect("the volume");
    sparse.set_len(300 * MIB).expect("a longer file");
    let cluster = cluster.with_file().await;
    let done = cluster.migrate(&CARRIED).await.last();
    assert_eq!(done["digest_match"], true, "{done}");
    assert!(done["zero_bytes"].as_u64() > Some(290 * MIB), "{done}");
    cluster.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_ends_with_a_killed_controller_and_the_next_one_goes_on_from_the_address() {
    let (size, killed_at) = (48 * MIB, 24 * MIB);
    let cluster = Cluster::random(size / MIB).await;
    let load = busy(&cluster.uri(), 200).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(killed_at).await;
    let ended = || {
        let log = cluster.source.process.log();
        log.iter().filter(|line| line.contains("a client's connection ended")).count()
    };
    let before = ended();
    controller.process.kill9();
    let is_gone = async || (ended() > before).then_some(());
    until("the destination leaves the source", is_gone).await;
    let status = async || cluster.destination.status(VOLUME).await.expect("an answer");
    let address = status().await.reserved_address;
    moves_on(&load).await;
    assert_eq!(status().await.reserved_address, address, "somebody goes on");
    let done = cluster.controller("resume", &CARRIED).done().await.last();
    assert_eq!(done["passes"], 1, "nothing fell back: {done}");
    let copied = done["copied_bytes"].as_u64().expect("a number");
    assert!(copied < size + killed_at / 2, "it began anew: {done}");
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_program_that_is_killed_in_mid_copy_comes_back_to_it() {
    let mut cluster = Cluster::random(48).await;
    let load = busy(&cluster.uri(), 200).await;
    let controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(12 * MIB).await;
    cluster.source.kill9();
    cluster.source.restart().await;
    cluster.until_copied(24 * MIB).await;
    cluster.destination.kill9();
    cluster.destination.restart().await;
    let done = controller.done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_to_end_does_not_wait_for_the_copy_and_goes_on_after_its_restart() {
    let mut cluster = Cluster::random(32).await;
    let load = busy(&cluster.uri(), 100).await;
    let controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(12 * MIB).await;
    let process = &mut cluster.destination.process;
    assert!(process.terminate().await.success());
    let log = process.log();
    assert!(!log.iter().any(|line| line.contains("did not end in time")), "{log:?}");
    cluster.destination.restart().await;
    let done = controller.done().await.last();
    cluster.is_done_well(load, &done).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_ends_the_copy_and_leaves_nothing_at_the_destination() {
    let cluster = Cluster::random(24).await;
    let load = busy(&cluster.uri(), 200).await;
    let mut controller = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(8 * MIB).await;
    cluster.controller("abort", &[]).done().await;
    let ended = async || controller.process.ended().map(|status| status.code());
    assert_eq!(until("the controller gives up", ended).await, Some(1));
    let status = cluster.source.status(VOLUME).await.expect("an answer");
    assert_eq!((status.role, status.generation), (VolumeRole::Owner, 1));
    assert!(cluster.destination.status(VOLUME).await.is_none());
    let done = cluster.migrate(&CARRIED).await.last();
    cluster.is_done_well(load, &done).await;
}
