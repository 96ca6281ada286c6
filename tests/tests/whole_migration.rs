//! A whole migration under a checked load, from its start to its certificate.

use blockferry_block::{Extent, MIB};
use blockferry_checker::{LoadConfig, LoadHandle, Report};
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, StorageSpec, VOLUME, connect, load, nbdsh, read, until, write,
};
use serde_json::Value;

const SIZE_MIB: u64 = 64;

/// Requests a second of each load: enough to meet every chunk, and not the whole machine.
const RATE: u32 = 400;

fn on_span(start_mib: u64, end_mib: u64, seed: u64) -> LoadConfig {
    LoadConfig {
        seed,
        span: Some(Extent::between(start_mib * MIB, end_mib * MIB)),
        rate: Some(RATE),
        ..LoadConfig::default()
    }
}

/// Two clients that share the volume: one with two connections and one with four.
async fn two_loads(cluster: &Cluster) -> [LoadHandle; 2] {
    let half = SIZE_MIB / 2;
    let small = load(&cluster.uri(), 2, on_span(0, half, 1)).await;
    let large = load(&cluster.uri(), 4, on_span(half, SIZE_MIB, 2)).await;
    for load in [&small, &large] {
        until("the load runs", async || (load.snapshot().operations.total() > 50).then_some(()))
            .await;
    }
    [small, large]
}

async fn stop(loads: [LoadHandle; 2]) -> [Report; 2] {
    let [small, large] = loads;
    let reports = [small.stop().await, large.stop().await];
    for report in &reports {
        assert!(report.is_clean(), "{report}");
    }
    reports
}

async fn assert_journals_hold(reports: &[Report; 2], at: &blockferry_nbd_session::NbdUri) {
    let link = connect(at).await;
    for report in reports {
        assert!(report.journal.bytes() > 0);
        let violations = report.journal.verify(&link).await.expect("the volume can be read");
        assert!(violations.is_empty(), "at {at}: {violations:?}");
    }
}

fn assert_report_is_complete(done: &Value) {
    assert_eq!(done["event"], "done", "{done}");
    assert_eq!(done["volume"], VOLUME);
    assert_eq!(done["size"], SIZE_MIB * MIB);
    assert_eq!(done["passes"], 1, "one sweep, whatever the client writes: {done}");
    assert_eq!(done["digest_match"], true, "{done}");
    assert_eq!(done["generation"], 2, "{done}");
    let carried = |field: &str| done[field].as_u64().unwrap_or_else(|| panic!("{field}: {done}"));
    assert!(carried("copied_bytes") + carried("zero_bytes") >= SIZE_MIB * MIB, "{done}");
    for field in ["seconds", "flush_seconds", "cutover_start", "cutover_end", "cutover_ms"] {
        assert!(done[field].as_f64().is_some_and(|value| value >= 0.0), "{field}: {done}");
    }
    assert!(done["longest_request_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{done}");
    assert!(done["digest"].as_str().is_some_and(|digest| !digest.is_empty()), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c_5_a_volume_moves_under_load_in_one_pass_and_no_client_notices() {
    let cluster = ClusterSpec::new().on_tcp().random(SIZE_MIB).await;
    let loads = two_loads(&cluster).await;
    let done = cluster.migrate(&["--chunk", "1M"]).await.last();
    assert_report_is_complete(&done);
    let certificate = done["certificate"].as_str().expect("a certificate");
    let certificate = cluster.scratch.join(certificate);
    let certificate: Value =
        serde_json::from_slice(&std::fs::read(certificate).expect("a file")).expect("JSON");
    assert_eq!(certificate["digest"], done["digest"]);
    cluster.until_moved().await;
    let before: Vec<_> = loads.iter().map(|load| load.snapshot().operations.total()).collect();
    for (load, before) in loads.iter().zip(before) {
        let grown = || load.snapshot().operations.total() > before + 50;
        until("the load goes on at the destination", async || grown().then_some(())).await;
    }
    let reports = stop(loads).await;
    assert_journals_hold(&reports, &cluster.destination.uri(VOLUME)).await;

    let again = cluster.migrate(&[]).await.last();
    assert_eq!(again["already_complete"], true, "{again}");
    assert_eq!(again["generation"], 2, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_client_stopped_at_the_hold_both_volumes_are_equal_and_commit_ends_it() {
    let cluster = Cluster::random(SIZE_MIB).await;
    let loads = two_loads(&cluster).await;
    let held = cluster.migrate(&["--hold-at-ready", "--chunk", "1M"]).await;
    assert_eq!(held.events("held").len(), 1, "{held:?}");
    let reports = stop(loads).await;
    let settled = |status: &blockferry_control::api::VolumeStatus| {
        status.dirty_bytes == 0 && status.in_flight_updates == 0
    };
    let status = cluster.source.until(VOLUME, "nothing dirty", settled).await;
    assert_eq!(status.role, VolumeRole::Migrating, "the source owns it until the commit");
    cluster.assert_equal();

    let done = cluster.controller("commit", &[]).done().await.last();
    assert_eq!((&done["passes"], &done["digest_match"]), (&1.into(), &true.into()), "{done}");
    cluster.until_moved().await;
    assert_journals_hold(&reports, &cluster.destination.uri(VOLUME)).await;
    cluster.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_verify_both_sides_are_read_back_and_compared_before_the_commit() {
    let cluster = Cluster::random(16).await;
    let load = load(&cluster.uri(), 2, on_span(0, 16, 3)).await;
    let done = cluster.migrate(&["--verify", "--chunk", "1M"]).await.last();
    assert_eq!(done["verified"]["bytes"], 16 * MIB, "{done}");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_the_plan_and_changes_nothing() {
    let cluster = Cluster::random(1).await;
    let plan = cluster.migrate(&["--dry-run"]).await.last();
    assert_eq!(plan["event"], "plan", "{plan}");
    assert!(plan["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{plan}");
    let status = cluster.source.status(VOLUME).await.expect("an answer");
    assert_eq!(status.role, VolumeRole::Owner);
    assert!(cluster.destination.status(VOLUME).await.is_none());
    assert!(!cluster.copy().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn c_1_a_pair_of_targets_and_a_controller_move_a_volume() {
    let cluster = Cluster::random(8).await;
    cluster.without_switch("migrate", &[]).done().await;
    cluster.assert_equal();
    let client = connect(&cluster.destination.uri(VOLUME)).await;
    write(&client, 5, vec![7; 9]).await.expect("the destination owns the volume");
    assert_eq!(read(&client, Extent::between(5, 14)).await.expect("a read"), vec![7; 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn c_4_two_nbd_servers_are_the_devices_and_a_tcp_proxy_is_the_switch() {
    let cluster = ClusterSpec::new().on_tcp().random(2).await;
    let script = format!(
        "h.connect_uri('{}')\nh.pwrite(b'x' * 512, 4096)\nassert h.get_size() == {}",
        cluster.uri(),
        2 * MIB
    );
    nbdsh(&script).await;
    cluster.migrate(&[]).await;
    for uri in [cluster.uri(), cluster.destination.uri(VOLUME), cluster.source.uri(VOLUME)] {
        assert!(uri.to_string().starts_with("nbd://127.0.0.1:"), "{uri}");
        nbdsh(&format!("h.connect_uri('{uri}')\nassert h.pread(512, 4096) == b'x' * 512")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_volumes_move_at_once_and_one_comes_back_to_another_pool() {
    let spec = ClusterSpec::new();
    let other = spec.scratch.join("other");
    blockferry_tests::cast::fill_random(&other, 8 * MIB);
    let content = std::fs::read(&other).expect("a file");
    let cluster = spec.source(|source| source.volume("other", &other)).random(24).await;
    let load = load(&cluster.uri(), 2, on_span(0, 24, 4)).await;
    let arguments = |volume: &str, from: &str, to: &str| {
        ["migrate", volume, "--from", from, "--to", to, "--chunk", "1M", "--json"]
            .map(str::to_owned)
    };
    let (a, b) = (cluster.source.control().to_string(), cluster.destination.control().to_string());
    let first = cluster.controller("migrate", &["--chunk", "1M"]);
    let second = blockferry_tests::cast::Controller::start(
        cluster.scratch.path(),
        &arguments("other", &a, &b),
    );
    let (first, second) = (first.done().await.last(), second.done().await.last());
    assert_eq!((&first["passes"], &second["passes"]), (&1.into(), &1.into()), "{first} {second}");
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(std::fs::read(cluster.destination.pooled("other")).expect("a file"), content);

    let third = StorageSpec::new("target-dst", &cluster.scratch.join("c"));
    let third = blockferry_tests::cast::Storage::start(third).await;
    let back = arguments("other", &b, &third.control().to_string());
    let back = blockferry_tests::cast::Controller::start(cluster.scratch.path(), &back);
    assert_eq!(back.done().await.last()["generation"], 3);
    assert_eq!(std::fs::read(third.pooled("other")).expect("a file"), content);
}
