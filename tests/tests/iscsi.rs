//! Volumes as disks of iSCSI initiators: of somebody else's, and by somebody else's judgement.

use std::process::Command;
use std::time::Duration;

use blockferry_block::{Extent, GIB};
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Process, Script, VOLUME, connect, read, run_tool, sparse, until, write,
};

/// Size of the disk; the suite skips much on smaller ones.
const SIZE: u64 = 2 * GIB;

/// The suite waits for three seconds after each reset, and takes a minute with that.
const SUITE_MAX: Duration = Duration::from_secs(170);

/// Source and destination serve iSCSI, too.
async fn with_disks(change: impl FnOnce(ClusterSpec) -> ClusterSpec) -> Cluster {
    let spec = ClusterSpec::new()
        .source(|source| source.on_iscsi("127.0.0.1"))
        .destination(|destination| destination.on_iscsi("127.0.0.1"));
    let spec = change(spec);
    sparse(&spec.file(), SIZE, [(0, 1 << 20)]);
    spec.with_file().await
}

/// The volume's disk at a portal, for `account`, which is empty or `NAME%SECRET@`.
fn disk(portal: &str, account: &str) -> String {
    format!("iscsi://{account}{portal}/iqn.2026-01.io.blockferry:{VOLUME}/0")
}

async fn iscsi(program: &str, arguments: &[&str]) -> Script {
    run_tool(Command::new(program).args(arguments)).await
}

/// A program that runs beside the test.
fn beside(program: &str, arguments: &[&str]) -> Process {
    Process::start(program, Command::new(program).args(arguments))
}

async fn passes_the_suite(portal: &str) {
    let arguments = ["--dataloss", "--fail", "--normal", &disk(portal, "")];
    let mut suite = beside("iscsi-test-cu", &arguments);
    let ended = suite.end_within(SUITE_MAX).await;
    assert!(ended.success(), "{ended}:\n{}\n{}", suite.out().join("\n"), suite.log().join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_suite_of_libiscsi_finds_no_failure_in_a_volume() {
    let cluster = with_disks(|spec| spec).await;
    passes_the_suite(cluster.source.portal()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_suite_of_libiscsi_finds_no_failure_in_a_volume_that_has_moved() {
    let cluster = with_disks(|spec| spec).await;
    cluster.migrate(&[]).await;
    passes_the_suite(cluster.destination.portal()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initiator_goes_on_where_its_volume_has_gone() {
    let cluster = with_disks(|spec| spec).await;
    let from = cluster.source.portal();
    let mut reading = beside("iscsi-perf", &["-m", "16", "-b", "8", "-r", &disk(from, "")]);
    until("the initiator reads", async || {
        cluster
            .source
            .process
            .log()
            .into_iter()
            .find(|line| line.contains("an initiator logged in"))
    })
    .await;
    cluster.migrate(&[]).await;
    cluster.destination.until_role(VOLUME, VolumeRole::Owner).await;
    until("the initiator has followed", async || {
        let log = cluster.destination.process.log();
        log.into_iter().find(|line| line.contains("an initiator logged in"))
    })
    .await;
    // Its own count of requests is wrong after any reconnect, so that it never ends by itself.
    assert!(reading.ended().is_none(), "{:?} {:?}", reading.out(), reading.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_stays_the_same_disk_wherever_its_volume_goes() {
    let cluster = with_disks(|spec| spec).await;
    let (from, to) = (cluster.source.portal(), cluster.destination.portal());
    let pages = async |portal: &str| {
        let mut pages = Vec::new();
        for page in ["128", "131"] {
            let told = iscsi("iscsi-inq", &["-e", "1", "-c", page, &disk(portal, "")]).await;
            assert!(told.success, "{}", told.err);
            pages.push(told.out);
        }
        pages
    };
    let before = pages(from).await;
    cluster.migrate(&[]).await;
    assert_eq!(pages(to).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn write_protection_that_an_initiator_sets_binds_nbd_clients_and_moves_with_the_volume() {
    let cluster = with_disks(|spec| spec).await;
    let (from, to) = (cluster.source.portal(), cluster.destination.portal());
    let client = connect(&cluster.uri()).await;
    write(&client, 0, vec![1; 512]).await.expect("a write");
    let protected = iscsi("iscsi-swp", &["--swp=on", &disk(from, "")]).await;
    assert!(protected.success, "{}", protected.err);
    write(&client, 0, vec![2; 512]).await.expect_err("a write to a protected volume");
    cluster.migrate(&[]).await;
    let client = connect(&cluster.destination.uri(VOLUME)).await;
    write(&client, 0, vec![3; 512]).await.expect_err("a write to a protected volume");
    let found = read(&client, Extent::between(0, 512)).await.expect("a read");
    assert_eq!(found, vec![1; 512]);
    let allowed = iscsi("iscsi-swp", &["--swp=off", &disk(to, "")]).await;
    assert!(allowed.success, "{}", allowed.err);
    write(&client, 0, vec![4; 512]).await.expect("a write");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initiator_without_the_secret_is_not_let_in() {
    let accounts = "[[initiator]]\nname = \"user\"\nsecret = \"correct-horse-battery\"\n";
    let cluster = with_disks(|spec| {
        let file = spec.scratch.join("accounts");
        std::fs::write(&file, accounts).expect("a file");
        spec.source(|source| source.with("--iscsi-accounts").with(file.display().to_string()))
    })
    .await;
    let portal = cluster.source.portal();
    let inquire = async |account: &str| iscsi("iscsi-inq", &[&disk(portal, account)]).await.success;
    assert!(inquire("user%correct-horse-battery@").await);
    assert!(!inquire("user%wrong-horse-battery@").await);
    assert!(!inquire("other%correct-horse-battery@").await);
    assert!(!inquire("").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_volume_leaves_its_initiators_for_where_nobody_serves_them() {
    let spec = ClusterSpec::new().source(|source| source.on_iscsi("127.0.0.1"));
    sparse(&spec.file(), SIZE, [(0, 1 << 20)]);
    let cluster = spec.with_file().await;
    let from = cluster.source.portal();
    let mut reading = beside("iscsi-perf", &["-m", "16", "-b", "8", "-r", &disk(from, "")]);
    until("the initiator reads", async || {
        let log = cluster.source.process.log();
        log.into_iter().find(|line| line.contains("an initiator logged in"))
    })
    .await;
    let refused = cluster.controller("migrate", &[]).end().await;
    let said = format!("{refused:?}");
    assert!(said.contains("1 iSCSI initiators are logged in"), "{said}");
    assert!(reading.ended().is_none(), "{:?} {:?}", reading.out(), reading.log());
    reading.kill9();
    until("the session has ended", async || {
        let log = cluster.source.process.log();
        log.into_iter().find(|line| line.contains("an initiator's session ended"))
    })
    .await;
    cluster.migrate(&[]).await;
}
