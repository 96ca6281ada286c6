//! `--client-p99`: the copy gives way to the clients.

use blockferry_control::api::VolumeStatus;
use blockferry_tests::cast::{Cluster, VOLUME, busy, moves_on};

/// Whether the source holds the copy back, and knows what its clients see.
fn holds_back(status: &VolumeStatus) -> bool {
    let migration = status.migration.as_ref();
    migration.is_some_and(|m| m.held_to_bytes_per_second.is_some() && m.client_p99_ms.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_is_held_back_while_clients_wait_too_long_and_ends_all_the_same() {
    let cluster = Cluster::random(96).await;
    let load = busy(&cluster.uri(), 400).await;
    // No request is so quick.
    let controller = cluster.controller("migrate", &["--client-p99", "1us"]);
    cluster.source.until(VOLUME, "the copy is held back", holds_back).await;
    let done = controller.done().await.last();
    assert_eq!((&done["passes"], &done["digest_match"]), (&1.into(), &true.into()), "{done}");
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_nobody_uses_is_not_held_back() {
    // So little that a copy which began slowly would still be held back at its end.
    let cluster = Cluster::random(8).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    let status = cluster.source.status(VOLUME).await.expect("an answer");
    let migration = status.migration.expect("a migration");
    let seen = (migration.client_p99_ms, migration.held_to_bytes_per_second);
    assert_eq!(seen, (None, None));
    cluster.controller("commit", &[]).done().await;
}
