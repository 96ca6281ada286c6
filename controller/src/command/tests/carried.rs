//! The copy that the destination carries, and what becomes of it where it cannot.

use blockferry_control::api::{CopyHalt, CopyHaltKind, CopyReply};

use super::*;

async fn stage(copies: impl IntoIterator<Item = CopyReply>) -> (Stage, MigrateOrder) {
    let stage = Stage::new().await;
    stage.world.state().copies.extend(copies);
    let mut order = stage.order();
    order.driving.copier = Copier::Destination;
    (stage, order)
}

fn halted(kind: CopyHaltKind, at_source: bool) -> CopyReply {
    let (start, end, reason) = (LEAF, 2 * LEAF, "the cable is out".to_owned());
    CopyReply::Halted(CopyHalt { kind, at_source, start, end, errno: 5, reason })
}

fn copies_asked_for(stage: &Stage) -> Vec<String> {
    let asked = |call: &String| call.starts_with("destination copy");
    stage.calls().into_iter().filter(asked).collect()
}

#[tokio::test]
async fn a_copy_that_the_destination_carries_goes_through_no_connection_of_the_controllers() {
    let (stage, order) = stage([CopyReply::Complete]).await;
    stage.migrate(&order).await.unwrap();
    stage.assert_moved();
    assert_eq!(copies_asked_for(&stage), ["destination copy, term 1"]);
    assert!(stage.world.destination.store().writes.is_empty());
}

#[tokio::test]
async fn a_destination_that_cannot_reach_the_source_leaves_the_copy_to_the_controller() {
    let reason = "no copy connection to nbd://elsewhere".to_owned();
    let (stage, order) = stage([CopyReply::NotOpened { reason }]).await;
    stage.migrate(&order).await.unwrap();
    stage.assert_moved();
    assert_eq!(copies_asked_for(&stage).len(), 1, "it is not asked again");
    assert!(stage.audience.heard("the destination cannot: no copy connection to nbd://elsewhere"));
    assert!(!stage.world.destination.store().writes.is_empty());
}

#[tokio::test]
async fn a_destination_of_an_older_version_leaves_the_copy_to_the_controller() {
    let (stage, order) = stage([]).await;
    stage.migrate(&order).await.unwrap();
    stage.assert_moved();
    assert!(stage.audience.heard("the destination cannot"));
}

#[tokio::test]
async fn a_copy_that_was_cut_is_asked_for_again_under_a_newer_term() {
    let (stage, order) = stage([halted(CopyHaltKind::Lost, true), CopyReply::Complete]).await;
    stage.migrate(&order).await.unwrap();
    stage.assert_moved();
    let asked = ["destination copy, term 1", "destination copy, term 2"];
    assert_eq!(copies_asked_for(&stage), asked);
    assert!(stage.audience.heard("lost the connection to the source at"), "who it was, and where");
}

#[tokio::test]
async fn a_source_that_cannot_be_read_pauses_the_migration_whoever_reads() {
    let (stage, order) = stage([halted(CopyHaltKind::Failed, true)]).await;
    let error = stage.migrate(&order).await.unwrap_err();
    let line = one_line(&error);
    assert!(line.contains("the source: the cable is out"), "{line}");
    assert!(line.contains("the migration is paused"), "{line}");
}
