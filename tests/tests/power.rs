//! Power goes, at every flush of a migration: in a VM, where real disks keep a log of every write and
//! flush, a client's file system is moved under load. Then the logs are replayed to each flush, with
//! nothing of what came later and with a part of it, and whoever serves the volume at that moment holds
//! every file that the client had flushed (rows C8 and C9 of `docs/failures.md`).

use blockferry_tests::cast::Scratch;
use blockferry_tests::power::{Logs, Tail};

/// Outages of each disk, at least: the guest flushes several times a round.
const OUTAGES_MIN: usize = 20;

/// A test of the test, too: where a flush has not done its work, that is found.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_kernel_has_flushed_outlives_a_loss_of_power_at_every_flush_of_a_migration() {
    let folder = Scratch::new();
    let logs = Logs::of_a_migration(folder.path()).await.expect("a migration");
    for tail in [Tail::Lost, Tail::Torn(1)] {
        let survived = logs.survive(tail).await.expect("everything that was flushed");
        eprintln!("{tail:?}: {survived:?}");
        let counts = [survived.client, survived.source, survived.destination];
        assert!(counts.into_iter().all(|count| count >= OUTAGES_MIN), "{survived:?}");
    }
    for found in logs.found_without_flushes().await {
        assert!(found.contains("flushed"), "{found}");
    }
}
