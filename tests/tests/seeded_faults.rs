//! A test of the tests: protocol faults that the programs commit on purpose are found, and the same
//! course of events without the fault leaves both volumes equal.

use blockferry_block::{Extent, MIB};
use blockferry_checker::LoadConfig;
use blockferry_control::api::VolumeStatus;
use blockferry_device::Failure;
use blockferry_nbd_session::{ConnectOptions, Link, NbdUri};
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, VOLUME, compare, connect, fill_random, load, moves_on, read,
    until, write,
};

const SIZE_MIB: u64 = 4;
const CHUNK: Extent = Extent::between(0, MIB);

async fn cluster(at_source: Option<&str>, at_destination: Option<&str>) -> Cluster {
    let mut spec = ClusterSpec::new();
    if let Some(fault) = at_source {
        spec = spec.source(|source| source.with("--seed-fault").with(fault));
    }
    if let Some(fault) = at_destination {
        spec = spec.destination(|destination| destination.with("--seed-fault").with(fault));
    }
    spec.random(SIZE_MIB).await
}

/// The two volumes, once nothing is left to be sent.
async fn compared(cluster: &Cluster) -> Result<(), String> {
    let clean = |status: &VolumeStatus| status.dirty_bytes == 0;
    cluster.source.until(VOLUME, "nothing dirty", clean).await;
    compare(&cluster.file(), &cluster.copy())
}

/// Begins a migration whose copier is the test; the URIs that it copies between.
async fn copied_by_hand(cluster: &Cluster) -> (NbdUri, NbdUri) {
    let uris = cluster.migrate(&["--copier", "external"]).await.last();
    let uri = |side: &str| uris[side].as_str().and_then(|uri| uri.parse::<NbdUri>().ok());
    (uri("source").expect("a URI"), uri("destination").expect("a URI"))
}

/// Begins a migration whose copier is the test.
async fn copy_connections(cluster: &Cluster) -> (Link, Link) {
    let (from, to) = copied_by_hand(cluster).await;
    (connect(&from).await, connect(&to).await)
}

/// Carries the first chunk, with one bit of it flipped on its way.
async fn carry_garbled((from, to): (&Link, &Link)) -> Result<(), Failure> {
    let mut chunk = read(from, CHUNK).await?.to_vec();
    chunk[4096] ^= 1;
    write(to, CHUNK.start(), chunk).await
}

/// A client writes to a chunk that the copier has read and not yet written: its mirror write comes
/// before `W` has passed it.
async fn write_between_read_and_write(cluster: &Cluster) {
    let client = connect(&cluster.uri()).await;
    let (from, to) = copy_connections(cluster).await;
    let chunk = read(&from, CHUNK).await.expect("a claim");
    write(&client, 4096, vec![0xEE; 4096]).await.expect("a write into the claimed chunk");
    write(&to, CHUNK.start(), chunk).await.expect("a write at W");
    from.disconnect().await;
    to.disconnect().await;
    cluster.controller("resume", &["--hold-at-ready"]).done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_between_the_read_of_its_chunk_and_its_copy_is_not_lost() {
    let cluster = cluster(None, None).await;
    write_between_read_and_write(&cluster).await;
    compared(&cluster).await.expect("equal volumes");
    let status = cluster.source.status(VOLUME).await.expect("an answer");
    let resynced = status.migration.expect("a migration").resynced_bytes;
    assert!(resynced >= 4096, "the write was refused and sent again: {resynced}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_mirrors_above_its_reserved_address_is_found() {
    let cluster = cluster(None, Some("mirror-above-reserved")).await;
    write_between_read_and_write(&cluster).await;
    let difference = compared(&cluster).await.expect_err("the fault has a consequence");
    assert!(difference.contains("differ at 4096"), "{difference}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_forgets_what_is_dirty_is_found() {
    let cluster = cluster(Some("forget-dirty"), None).await;
    write_between_read_and_write(&cluster).await;
    let difference = compared(&cluster).await.expect_err("the fault has a consequence");
    assert!(difference.contains("differ at 4096"), "{difference}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_on_its_way_sends_the_copy_back_to_its_last_checkpoint() {
    let mut cluster = cluster(None, None).await;
    let (from, to) = copy_connections(&cluster).await;
    carry_garbled((&from, &to)).await.expect("a write at W");
    cluster.source.process.logged("took of [0, 1048576) is not what the source sent").await;
    from.disconnect().await;
    to.disconnect().await;
    cluster.controller("resume", &["--hold-at-ready"]).done().await;
    compared(&cluster).await.expect("copied again");
}

#[tokio::test(flavor = "multi_thread")]
async fn bits_that_flip_at_every_checkpoint_pause_the_migration_with_a_line_that_says_so() {
    let cluster = cluster(None, None).await;
    let uris = copied_by_hand(&cluster).await;
    let because = until("a reason to pause", async || {
        let status = cluster.source.status(VOLUME).await.expect("an answer");
        let migration = status.migration.expect("a migration");
        if migration.paused_because.is_some() {
            assert!(migration.paused, "{migration:?}");
            return migration.paused_because;
        }
        assert!(migration.rewinds < 20, "copied again and again: {migration:?}");
        let open = |uri: &NbdUri| ConnectOptions::new(uri.address.clone(), uri.export.clone());
        let from = blockferry_nbd_session::connect(&open(&uris.0)).await.ok()?;
        let to = blockferry_nbd_session::connect(&open(&uris.1)).await.ok()?;
        // Refused once it was carried, until the source has attached again.
        let _ = carry_garbled((&from, &to)).await;
        None
    })
    .await;
    assert!(because.contains("[0, 1048576)"), "{because}");
    let shown = cluster.controller("status", &[]).done().await.out.concat();
    for words in ["[0, 1048576) is not what the source sent", "network", "resume", "abort"] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    cluster.controller("resume", &["--hold-at-ready"]).done().await;
    compared(&cluster).await.expect("copied again");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_a_fault_lost_and_has_it_sent_again() {
    let cluster = cluster(None, Some("mirror-above-reserved")).await;
    write_between_read_and_write(&cluster).await;
    compared(&cluster).await.expect_err("the fault has a consequence");
    let verified = cluster.controller("verify", &[]).done().await;
    let notes = verified.events("note");
    let told = |words: &str| notes.iter().any(|note| note.to_string().contains(words));
    assert!(told("differed") && told("no difference"), "{notes:?}");
    compared(&cluster).await.expect("sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_skips_the_mirror_is_found_by_the_load_that_goes_on() {
    let cluster = cluster(Some("skip-mirror"), None).await;
    let config = LoadConfig { fill: true, rate: Some(400), ..LoadConfig::default() };
    let load = load(&cluster.uri(), 2, config).await;
    moves_on(&load).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    moves_on(&load).await;
    moves_on(&load).await;
    cluster.controller("commit", &[]).done().await;
    cluster.until_moved().await;
    moves_on(&load).await;
    let report = load.stop().await;
    let link = connect(&cluster.destination.uri(VOLUME)).await;
    let at_rest = report.journal.verify(&link).await.expect("a volume that can be read");
    let found = report.violations.total + at_rest.total;
    assert!(found > 0, "lost writes were not found:\n{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_has_answered_requests_begun_again_is_found() {
    let spec = ClusterSpec::new().switch_with("--seed-fault").switch_with("replay-answered");
    let cluster = spec.random(SIZE_MIB).await;
    let load = load(&cluster.uri(), 2, LoadConfig::default()).await;
    moves_on(&load).await;
    assert_eq!(load.snapshot().errors, 0);
    cluster.switch.kill_worker().await;
    let found = async || {
        let snapshot = load.snapshot();
        (snapshot.errors + snapshot.violations > 0).then_some(())
    };
    until("the load finds a second answer, or an older write over a newer one", found).await;
    assert!(!load.stop().await.is_clean());
}

/// An update is under way for a while, and its chunk is claimed meanwhile.
async fn claimed_during_an_update(fault: Option<&str>) -> Result<(), String> {
    let spec = ClusterSpec::new();
    let file = spec.file();
    fill_random(&file, SIZE_MIB * MIB);
    let arguments = ["--filter=delay", "file", file.to_str().expect("UTF-8"), "delay-write=8"];
    let store = NbdKit::start(spec.scratch.join("slow"), &arguments).await;
    let backing = store.uri().to_string();
    let spec = spec.source(|source| {
        let source = source.volume(VOLUME, backing);
        fault.into_iter().fold(source, |source, fault| source.with("--seed-fault").with(fault))
    });
    let cluster = spec.start().await;
    let client = connect(&cluster.uri()).await;
    let update = tokio::spawn(async move {
        write(&client, 4096, vec![0xEE; 4096]).await.expect("a slow write");
    });
    cluster.source.until(VOLUME, "an update in flight", |s| s.in_flight_updates == 1).await;
    let controller = cluster.controller("migrate", &["--hold-at-ready"]);
    cluster.until_copied(CHUNK.end()).await;
    assert_eq!(update.is_finished(), fault.is_none(), "only a fault does not wait for the update");
    update.await.expect("the update ends");
    controller.done().await;
    compared(&cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_does_not_wait_for_an_update_is_found() {
    claimed_during_an_update(None).await.expect("equal volumes");
    let found = claimed_during_an_update(Some("claim-without-waiting")).await;
    let difference = found.expect_err("the fault has a consequence");
    assert!(difference.contains("differ at 4096"), "{difference}");
}
