//! The switch's worker dies, is upgraded and restarted, and no client sees more than a delay. The worker
//! has the sockets of clients over TCP itself; what those over unix sockets say, the keeper passes on.

use std::process::Command;
use std::time::Duration;

use blockferry_block::{Extent, MIB};
use blockferry_checker::{LoadConfig, LoadHandle};
use blockferry_control::api::RouteStatus;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, Process, RawClient, RawRequest, Replies, Switch, SwitchSpec,
    VOLUME, binary, compare, connect, fill_random, load, moves_on, read, run_tool, until,
    until_within, write,
};

/// How often a worker is killed in a row.
const KILLS: usize = 20;

/// Between two kills.
const PAUSE: Duration = Duration::from_millis(300);

/// Copied slowly enough to meet the copy half way.
const SLOWLY: [&str; 4] = ["--chunk", "1M", "--bandwidth", "12M"];

/// A request that takes longer has not just been delayed.
const DELAY_MAX: Duration = Duration::from_secs(20);

/// Requests that meet often, over so many connections, as fast as they are answered.
async fn crowd(cluster: &Cluster, connections: usize) -> LoadHandle {
    let config = LoadConfig { hot_per_mille: 600, ..LoadConfig::default() };
    let handle = load(&cluster.uri(), connections, config).await;
    moves_on(&handle).await;
    handle
}

/// Ends the load; not one error, and the volume holds what was written.
async fn ends_clean(cluster: &Cluster, load: LoadHandle) {
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.longest_request < DELAY_MAX, "{report}");
    let link = connect(&cluster.uri()).await;
    let violations = report.journal.verify(&link).await.expect("a volume that can be read");
    assert!(violations.is_empty(), "{violations:?}");
}

/// With clients over TCP.
async fn on_tcp(mib: u64) -> Cluster {
    ClusterSpec::new().on_tcp().random(mib).await
}

async fn killed_again_and_again(cluster: Cluster, connections: usize) {
    let load = crowd(&cluster, connections).await;
    for kill in 0..KILLS {
        cluster.switch.kill_worker().await;
        // Most of them have hardly taken over when they are killed, too.
        tokio::time::sleep(PAUSE).await;
        if kill % 4 == 0 {
            moves_on(&load).await;
        }
    }
    let status = cluster.switch.status().await;
    ends_clean(&cluster, load).await;
    assert!(status.is_none_or(|s| s["keeper"]["workers"].as_u64() > Some(KILLS as u64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_again_and_again_costs_a_client_no_error() {
    killed_again_and_again(on_tcp(16).await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_again_and_again_costs_four_connections_no_error() {
    killed_again_and_again(on_tcp(16).await, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_again_and_again_costs_four_connections_over_a_unix_socket_no_error() {
    killed_again_and_again(Cluster::random(16).await, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_before_while_and_after_a_volume_moves_costs_no_error() {
    let cluster = on_tcp(48).await;
    let load = crowd(&cluster, 4).await;
    cluster.switch.kill_worker().await;
    moves_on(&load).await;
    let migration = cluster.controller("migrate", &[&SLOWLY[..], &["--hold-at-ready"]].concat());
    for copied_mib in [8, 16, 24, 32] {
        cluster.until_copied(copied_mib * MIB).await;
        cluster.switch.kill_worker().await;
        moves_on(&load).await;
    }
    migration.done().await;
    cluster.switch.kill_worker().await;
    let commit = cluster.controller("commit", &[]);
    cluster.switch.kill_worker().await;
    if commit.end().await.code != Some(0) {
        // It does not wait for a control API that is away, and can be asked again.
        cluster.switch.worker().await;
        cluster.controller("commit", &[]).done().await;
    }
    cluster.switch.kill_worker().await;
    cluster.until_moved().await;
    cluster.switch.kill_worker().await;
    ends_clean(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_replaced_while_a_volume_moves_cost_no_error() {
    let mut cluster = on_tcp(32).await;
    let load = crowd(&cluster, 4).await;
    let migration = cluster.controller("migrate", &SLOWLY);
    for copied_mib in [4, 12, 20] {
        cluster.until_copied(copied_mib * MIB).await;
        let former = cluster.switch.worker().await;
        cluster.switch.process.hang_up();
        cluster.switch.worker_after(former).await;
        moves_on(&load).await;
    }
    let done = migration.done().await.last();
    assert_ne!(done["digest_match"], false, "{done}");
    cluster.until_moved().await;
    // A worker that is told to end by others than its keeper hands over, too.
    let former = cluster.switch.terminate_worker().await;
    cluster.switch.worker_after(former).await;
    let all = |route: &RouteStatus| route.sessions == 4;
    cluster.switch.until(VOLUME, "all clients", all).await;
    ends_clean(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_neither_torn_nor_shifted_when_the_worker_dies_in_the_middle_of_them() {
    killed_in_large_answers(on_tcp(256).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_are_they_over_a_unix_socket() {
    killed_in_large_answers(Cluster::random(256).await).await;
}

async fn killed_in_large_answers(cluster: Cluster) {
    let (uri, copy) = (cluster.uri().to_string(), cluster.scratch.join("copy"));
    for _ in 0..3 {
        let mut nbdcopy = Command::new("nbdcopy");
        nbdcopy.args(["--request-size=33554432", "--connections=1", "--requests=4"]);
        let mut copying = Process::start("nbdcopy", nbdcopy.arg(&uri).arg(&copy));
        for pause_ms in [0, 30, 60, 120, 240] {
            let large = |route: &RouteStatus| route.unanswered > 0;
            cluster.switch.until(VOLUME, "large requests are under way", large).await;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            cluster.switch.kill_worker().await;
        }
        let status = copying.end_within(Duration::from_secs(60)).await;
        assert!(status.success(), "nbdcopy: {}", copying.log().join("\n"));
        compare(&cluster.file(), &copy).expect("what is on the volume");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_none_of_its_answers_stops_nobody_and_gets_them_whole() {
    const READS: u64 = 32;
    let cluster = on_tcp(64).await;
    std::fs::copy(cluster.file(), cluster.scratch.join("original")).expect("room for it");
    let mut slow = RawClient::join(&cluster.uri(), Replies::Simple).await;
    for number in 0..READS {
        slow.put(&raw_read(number * MIB, 1 << 20)).await;
    }
    let span = Some(Extent::between(READS * MIB, 64 * MIB));
    let load = load(&cluster.uri(), 2, LoadConfig { span, ..LoadConfig::default() }).await;
    moves_on(&load).await;
    for _ in 0..3 {
        cluster.switch.kill_worker().await;
        moves_on(&load).await;
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let original = std::fs::read(cluster.scratch.join("original")).expect("it was kept");
    for _ in 0..READS {
        let (cookie, bytes) = slow.simple_answer(|_| 1 << 20).await.expect("an answer");
        let offset = usize::try_from((cookie - 1) * MIB).expect("a small volume");
        assert!(bytes == original[offset..offset + (1 << 20)], "the answer to {cookie}");
    }
}

fn raw_read(offset: u64, length: u32) -> RawRequest {
    RawRequest { flags: 0, command: 0, offset, length, payload: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_its_handshake_is_closed_and_one_that_comes_meanwhile_is_served() {
    let cluster = Cluster::random(4).await;
    let mut shaking = RawClient::greeted(&cluster.uri()).await;
    let killed = cluster.switch.kill_worker().await;
    let newcomer = connect(&cluster.uri()).await;
    read(&newcomer, Extent::between(0, 4096)).await.expect("a read");
    shaking.until_hung_up().await;
    assert_ne!(cluster.switch.worker().await, killed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_killed_leaves_no_worker_behind_though_that_be_stopped() {
    for stopped in [false, true] {
        let mut cluster = Cluster::random(4).await;
        let worker = match stopped {
            true => cluster.switch.stop_worker().await,
            false => cluster.switch.worker().await,
        };
        cluster.switch.process.kill9();
        let gone =
            async || (!std::path::Path::new(&format!("/proc/{worker}")).exists()).then_some(());
        until("the worker has ended", gone).await;
        cluster.switch.restart().await;
        connect(&cluster.uri()).await;
    }
}

/// On a store where a write takes its time.
async fn on_a_slow_store(seconds: u32) -> (Cluster, NbdKit) {
    let spec = ClusterSpec::new();
    let file = spec.file();
    fill_random(&file, 4 * MIB);
    let delay = format!("delay-write={seconds}");
    let arguments = ["--filter=delay", "file", file.to_str().expect("UTF-8"), &delay];
    let store = NbdKit::start(spec.scratch.join("slow"), &arguments).await;
    let backing = store.uri().to_string();
    let cluster = spec.source(|source| source.volume(VOLUME, backing)).start().await;
    (cluster, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_told_to_end_answers_what_is_under_way_and_ends_with_0() {
    let (mut cluster, _store) = on_a_slow_store(2).await;
    let client = connect(&cluster.uri()).await;
    let under_way = tokio::spawn(async move { write(&client, 0, vec![1; 4096]).await });
    cluster.source.until(VOLUME, "an update in flight", |s| s.in_flight_updates == 1).await;
    let status = cluster.switch.process.terminate().await;
    assert_eq!(status.code(), Some(0));
    under_way.await.expect("no panic").expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handover_waits_for_no_server_and_begins_what_is_unanswered_again() {
    let (mut cluster, _store) = on_a_slow_store(8).await;
    let client = connect(&cluster.uri()).await;
    let slow = client.clone();
    let under_way = tokio::spawn(async move { write(&slow, 0, vec![1; 4096]).await });
    cluster.source.until(VOLUME, "an update in flight", |s| s.in_flight_updates == 1).await;
    let former = cluster.switch.worker().await;
    cluster.switch.process.hang_up();
    cluster.switch.worker_after(former).await;
    assert!(!under_way.is_finished(), "the new worker did not wait for it");
    under_way.await.expect("no panic").expect("an answer");
    let written = read(&client, Extent::between(0, 4096)).await.expect("a read");
    assert_eq!(written, vec![1; 4096]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_it_will_ask_no_more_gets_its_answers_though_the_worker_dies() {
    let (cluster, _store) = on_a_slow_store(1).await;
    let mut client = RawClient::join(&cluster.uri(), Replies::Simple).await;
    let write = RawRequest { command: 1, payload: vec![7; 512], ..raw_read(0, 512) };
    client.put(&write).await;
    client.put(&raw_read(4096, 512)).await;
    client.half_close().await;
    cluster.source.until(VOLUME, "an update in flight", |s| s.in_flight_updates == 1).await;
    cluster.switch.kill_worker().await;
    let mut answered = Vec::new();
    for _ in 0..2 {
        let length = |cookie| if cookie == 1 { 0 } else { 512 };
        answered.push(client.simple_answer(length).await.expect("an answer").0);
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
    client.until_hung_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_fences_is_asked_again_too() {
    let scratch = ClusterSpec::new().scratch;
    let file = scratch.join("volume");
    fill_random(&file, 4 * MIB);
    let file = file.to_str().expect("UTF-8");
    let arguments = ["--filter=delay", "file", file, "delay-write=1"];
    let store = NbdKit::start(scratch.join("foreign"), &arguments).await;
    let socket = |name| format!("unix:{}", scratch.join(name).display());
    let routes = [(VOLUME, store.uri())];
    let spec = SwitchSpec::new(socket("nbd"), socket("control"), scratch.join("switch"), &routes);
    let switch = Switch::start(spec).await;
    let client = connect(&switch.uri(VOLUME)).await;
    let writer = client.clone();
    let under_way = tokio::spawn(async move { write(&writer, 0, vec![1; 4096]).await });
    switch.until(VOLUME, "a request under way", |route| route.unanswered == 1).await;
    switch.kill_worker().await;
    under_way.await.expect("no panic").expect("an answer");
    let written = read(&client, Extent::between(0, 4096)).await.expect("a read");
    assert_eq!(written, vec![1; 4096]);
}

/// A switch whose program can be replaced.
async fn replaceable(cluster: &Cluster) -> (Switch, std::path::PathBuf) {
    let program = cluster.scratch.join("switch-program");
    std::fs::copy(binary("switch-proxy"), &program).expect("room for it");
    let socket = |name| format!("unix:{}", cluster.scratch.join(name).display());
    let routes = [(VOLUME, cluster.source.uri(VOLUME))];
    let state = cluster.scratch.join("other");
    let spec = SwitchSpec::new(socket("other-nbd"), socket("other-control"), state, &routes);
    let spec = SwitchSpec { program: program.clone(), ..spec };
    (Switch::start(spec).await, program)
}

fn replace(program: &std::path::Path, with: &std::path::Path) {
    let new = program.with_extension("new");
    std::fs::copy(with, &new).expect("room for it");
    std::fs::rename(new, program).expect("a folder that can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_brings_in_the_program_on_disk_and_one_that_cannot_start_changes_nothing() {
    let cluster = Cluster::random(4).await;
    let (mut switch, program) = replaceable(&cluster).await;
    let config = LoadConfig { rate: Some(300), ..LoadConfig::default() };
    let load = load(&switch.uri(VOLUME), 2, config).await;
    moves_on(&load).await;
    let first = switch.worker().await;
    replace(&program, std::path::Path::new("/bin/false"));
    switch.process.hang_up();
    switch.process.logged("the new worker did not start").await;
    assert_eq!(switch.worker().await, first);
    moves_on(&load).await;
    // Where there has to be another, it is made from what the keeper itself runs.
    switch.kill_worker().await;
    let second = switch.worker_after(first).await;
    moves_on(&load).await;
    replace(&program, &binary("switch-proxy"));
    switch.process.hang_up();
    let third = switch.worker_after(second).await;
    let running = std::fs::read_link(format!("/proc/{third}/exe")).expect("it runs");
    assert_eq!(running, program);
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_without_a_keeper_is_one_process() {
    let mut cluster = ClusterSpec::new().switch_with("--no-keeper").random(4).await;
    let status = cluster.switch.status().await.expect("an answer");
    assert!(status.get("keeper").is_none(), "{status}");
    let load = crowd(&cluster, 2).await;
    ends_clean(&cluster, load).await;
    let pid = cluster.switch.process.pid().to_string();
    let children = run_tool(Command::new("pgrep").args(["--parent", &pid])).await;
    assert_eq!(children.out, "");
    assert_eq!(cluster.switch.process.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_is_replaced_before_a_kernel_would_act() {
    let cluster = on_tcp(8).await;
    let load = crowd(&cluster, 4).await;
    let hanging = cluster.switch.stop_worker().await;
    until_within(Duration::from_secs(25), "another worker serves", async || {
        let status = cluster.switch.status().await?;
        (status["keeper"]["worker_pid"] != hanging).then_some(())
    })
    .await;
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.longest_request < Duration::from_secs(30), "{report}");
}
