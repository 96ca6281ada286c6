//! A source that is gone for good: an operator who knows that makes the destination the owner, and
//! nobody else can.

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{Cluster, VOLUME, busy, moves_on, until};

const LOST: [&str; 1] = ["--source-is-lost"];

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_destination_serves_the_clients_of_a_source_that_is_lost() {
    let mut cluster = Cluster::random(8).await;
    let load = busy(&cluster.uri(), 100).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    cluster.source.until(VOLUME, "nothing dirty", |status| status.dirty_bytes == 0).await;
    cluster.source.kill9();
    let said = cluster.controller("promote", &LOST).done().await;
    assert!(said.out.concat().contains("generation 2"), "{said:?}");
    cluster.until_moved().await;
    let again = cluster.controller("promote", &LOST).done().await;
    assert!(again.out.concat().contains("generation 2"), "{again:?}");
    cluster.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_source_that_comes_back_after_a_promotion_steps_down_and_forwards() {
    let mut cluster = Cluster::random(8).await;
    let load = busy(&cluster.uri(), 100).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    cluster.source.until(VOLUME, "nothing dirty", |status| status.dirty_bytes == 0).await;
    cluster.source.kill9();
    cluster.without_switch("promote", &LOST).done().await;
    cluster.until_moved().await;
    moves_on(&load).await;
    cluster.source.restart().await;
    let status = cluster.source.until_role(VOLUME, VolumeRole::Forwarding).await;
    assert_eq!(status.generation, 2);
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let late = busy(&cluster.source.uri(VOLUME), 50).await;
    cluster.ends_well(late).await;
    let gone = async || {
        let retired = cluster.controller("retire", &[]).end().await;
        (retired.code == Some(0)).then_some(())
    };
    until("the source may go", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_refused_while_the_source_answers_or_a_part_is_missing() {
    let mut cluster = Cluster::random(24).await;
    let load = busy(&cluster.uri(), 100).await;
    let unsure = cluster.controller("promote", &[]).end().await;
    assert_eq!(unsure.code, Some(2), "nobody said that the source is lost: {unsure:?}");
    let mut controller = cluster.controller("migrate", &["--chunk", "1M", "--bandwidth", "8M"]);
    cluster.until_copied(4 * MIB).await;
    let alive = cluster.controller("promote", &LOST).end().await;
    assert_eq!(alive.code, Some(1));
    assert!(alive.err.concat().contains("answers"), "{alive:?}");
    controller.process.kill9();
    cluster.source.kill9();
    let half = cluster.controller("promote", &LOST).end().await;
    assert_eq!(half.code, Some(1));
    assert!(half.err.concat().contains("without the rest"), "{half:?}");
    cluster.source.restart().await;
    cluster.controller("resume", &[]).done().await;
    cluster.ends_well(load).await;
}
