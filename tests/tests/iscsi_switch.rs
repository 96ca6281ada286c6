//! Initiators behind the switch: their logins go to the owner of their volume.

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{Cluster, ClusterSpec, TARGET, VOLUME, disk, iscsi, sparse, until};

const SIZE: u64 = 64 * MIB;

async fn cluster(change: impl FnOnce(ClusterSpec) -> ClusterSpec) -> Cluster {
    let spec = change(ClusterSpec::new().with_disks().with_portal_at_switch());
    sparse(&spec.file(), SIZE, [(0, 1 << 20)]);
    spec.with_file().await
}

/// Whether an initiator can log in at a portal and is told what the disk is.
async fn finds_the_disk(portal: &str, account: &str) -> bool {
    iscsi("iscsi-inq", &[&disk(portal, account)]).await.success
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initiator_finds_its_target_at_the_switch_and_nobody_elses() {
    let cluster = cluster(|spec| spec).await;
    let portal = cluster.switch.portal().await;
    let found = iscsi("iscsi-ls", &["-s", &format!("iscsi://{portal}")]).await;
    assert!(found.success, "{}", found.err);
    assert!(found.out.contains(&format!("Target:{TARGET} Portal:{portal},1")), "{}", found.out);
    assert!(found.out.contains("Lun:0    Type:DIRECT_ACCESS"), "{}", found.out);
    let stranger = format!("iscsi://{portal}/iqn.2026-01.io.blockferry:other/0");
    let refused = iscsi("iscsi-inq", &[&stranger]).await;
    assert!(!refused.success && refused.err.contains("not found"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_to_where_the_volume_is_though_its_former_owner_is_dead() {
    let mut cluster = cluster(|spec| spec).await;
    let portal = cluster.switch.portal().await;
    assert!(finds_the_disk(&portal, "").await);
    cluster.migrate(&[]).await;
    cluster.until_moved().await;
    cluster.source.kill9();
    assert!(finds_the_disk(&portal, "").await);
    cluster.destination.logged_in(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_follows_a_move_that_nobody_has_told_the_switch() {
    let cluster = cluster(|spec| spec).await;
    let portal = cluster.switch.portal().await;
    cluster.without_switch("migrate", &[]).done().await;
    cluster.destination.until_role(VOLUME, VolumeRole::Owner).await;
    assert!(finds_the_disk(&portal, "").await);
    cluster.destination.logged_in(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_waits_for_an_owner_that_comes_back() {
    let mut cluster = cluster(|spec| spec).await;
    let portal = cluster.switch.portal().await;
    cluster.source.kill9();
    let owner_comes_back = async {
        until("the switch has an initiator that waits", async || {
            let log = cluster.switch.process.log();
            log.into_iter().find(|line| line.contains("the owner cannot be logged in to yet"))
        })
        .await;
        cluster.source.restart().await;
    };
    let (found, ()) = tokio::join!(finds_the_disk(&portal, ""), owner_comes_back);
    assert!(found);
}

#[tokio::test(flavor = "multi_thread")]
async fn initiators_log_in_again_at_the_same_portal_when_the_worker_has_died() {
    let cluster = cluster(|spec| spec).await;
    let portal = cluster.switch.portal().await;
    let former = cluster.switch.kill_worker().await;
    cluster.switch.worker_after(former).await;
    assert_eq!(cluster.switch.portal().await, portal);
    assert!(finds_the_disk(&portal, "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_an_initiator_is_the_owner_judges_behind_the_switch_too() {
    let accounts = "[[initiator]]\nname = \"user\"\nsecret = \"correct-horse-battery\"\n";
    let cluster = cluster(|spec| {
        let file = spec.scratch.join("accounts");
        std::fs::write(&file, accounts).expect("a file");
        spec.source(|source| source.with("--iscsi-accounts").with(file.display().to_string()))
    })
    .await;
    let portal = cluster.switch.portal().await;
    assert!(finds_the_disk(&portal, "user%correct-horse-battery@").await);
    assert!(!finds_the_disk(&portal, "user%wrong-horse-battery@").await);
    assert!(!finds_the_disk(&portal, "").await);
}
