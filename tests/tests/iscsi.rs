//! Volumes as disks of iSCSI initiators: of somebody else's, and by somebody else's judgement.

use std::process::Command;

use blockferry_block::{Extent, GIB};
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Process, VOLUME, connect, disk, iscsi, read, sparse, until, write,
};

/// Size of the disk.
const SIZE: u64 = 2 * GIB;

/// Source and destination serve iSCSI, too.
async fn with_disks(change: impl FnOnce(ClusterSpec) -> ClusterSpec) -> Cluster {
    let spec = change(ClusterSpec::new().with_disks());
    sparse(&spec.file(), SIZE, [(0, 1 << 20)]);
    spec.with_file().await
}

/// A program that runs beside the test.
fn beside(program: &str, arguments: &[&str]) -> Process {
    Process::start(program, Command::new(program).args(arguments))
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
async fn what_a_restart_has_taken_from_a_disk_does_not_come_back_with_a_move() {
    let mut cluster = with_disks(|spec| spec).await;
    let set = iscsi("iscsi-swp", &["--swp=on", &disk(cluster.source.portal(), "")]).await;
    assert!(set.success, "{}", set.err);
    cluster.source.kill9();
    cluster.source.restart().await;
    let client = connect(&cluster.uri()).await;
    write(&client, 0, vec![1; 512])
        .await
        .expect("protection that was not saved ends with the program");
    cluster.migrate(&[]).await;
    let client = connect(&cluster.destination.uri(VOLUME)).await;
    write(&client, 0, vec![2; 512]).await.expect("a write where it was allowed before the move");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_retires_a_source_is_told_that_it_has_sent_initiators_on() {
    let cluster = with_disks(|spec| spec).await;
    cluster.migrate(&[]).await;
    let at_the_source = [&*disk(cluster.source.portal(), "")];
    // It follows a temporary move only, which it is told of when it comes back.
    iscsi("iscsi-inq", &at_the_source).await;
    let sent_on = iscsi("iscsi-inq", &at_the_source).await;
    assert!(sent_on.success, "{}", sent_on.err);
    let told = cluster.controller("retire", &[]).done().await;
    let told = told.out.join(" ");
    assert!(told.contains("logins of iSCSI initiators") && told.contains("node records"), "{told}");
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
    cluster.source.logged_in(1).await;
    let refused = cluster.controller("migrate", &[]).end().await;
    let said = format!("{refused:?}");
    assert!(said.contains("nothing was touched") && said.contains("--iscsi"), "{said}");
    assert!(reading.ended().is_none(), "{:?} {:?}", reading.out(), reading.log());
    reading.kill9();
    until("the session has ended", async || {
        let log = cluster.source.process.log();
        log.into_iter().find(|line| line.contains("an initiator's session ended"))
    })
    .await;
    cluster.migrate(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_volume_goes_where_its_initiators_could_not_log_in() {
    let accounts =
        |secret| format!("[[initiator]]\nname = \"user\"\nsecret = \"{secret}-horse-battery\"\n");
    let spec = ClusterSpec::new().with_disks();
    let (here, there) = (spec.scratch.join("here"), spec.scratch.join("there"));
    std::fs::write(&here, accounts("correct")).expect("a file");
    std::fs::write(&there, accounts("another")).expect("a file");
    sparse(&spec.file(), SIZE, [(0, 1 << 20)]);
    let with = |file: &std::path::Path| file.display().to_string();
    let (ours, theirs) = (with(&here), with(&there));
    let spec = spec
        .source(|source| source.with("--iscsi-accounts").with(ours))
        .destination(|destination| destination.with("--iscsi-accounts").with(theirs));
    let mut cluster = spec.with_file().await;
    let refused = format!("{:?}", cluster.controller("migrate", &["--dry-run"]).end().await);
    assert!(refused.contains("initiator \\\"user\\\" could not log in"), "{refused}");
    assert!(refused.contains("nothing was touched"), "{refused}");
    std::fs::write(&there, accounts("correct")).expect("a file");
    cluster.destination.kill9();
    cluster.destination.restart().await;
    cluster.migrate(&[]).await;
}
