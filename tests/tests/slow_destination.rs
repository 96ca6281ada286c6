//! A destination on which every write takes longer than the mirror timeout: `--slow-destination` says
//! what that costs.

use blockferry_block::MIB;
use blockferry_nbd_session::Link;
use blockferry_tests::cast::{Cluster, ClusterSpec, NbdKit, VOLUME, connect, fill_random, write};

/// Between the second after which a mirrored write makes its extent dirty, and the five of a client
/// that is throttled.
const DELAY: &str = "delay-write=2";

/// Everything is copied, and each write of the client is mirrored to a slow store.
struct Held {
    cluster: Cluster,
    client: Link,
    _store: NbdKit,
}

async fn held(policy: &str) -> Held {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), MIB);
    let (file, garbage) = (spec.file(), spec.garbage());
    let socket = spec.scratch.join("slow");
    let arguments = ["--filter=delay", "file", garbage.to_str().expect("UTF-8"), DELAY];
    let store = NbdKit::start(socket, &arguments).await;
    let spec = spec.source(|source| source.volume(VOLUME, file));
    let cluster = spec.received_in(store.uri().to_string()).start().await;
    let client = connect(&cluster.uri()).await;
    cluster.migrate(&["--hold-at-ready", "--slow-destination", policy]).await;
    Held { cluster, client, _store: store }
}

impl Held {
    async fn dirty_after_a_write(&self) -> u64 {
        write(&self.client, 4096, vec![0xA5; 4096]).await.expect("a write");
        self.cluster.source.status(VOLUME).await.expect("an answer").dirty_bytes
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_wait_for_a_slow_destination_unless_asked_to() {
    let held = held("pause").await;
    assert!(held.dirty_after_a_write().await > 0, "the write waited for the destination");
    held.cluster.controller("abort", &[]).done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_client_waits_for_a_slow_destination_and_leaves_nothing_dirty() {
    let held = held("throttle").await;
    assert_eq!(held.dirty_after_a_write().await, 0);
    let done = held.cluster.controller("commit", &[]).done().await.last();
    assert_eq!((&done["mirrored_bytes"], &done["resynced_bytes"]), (&4096.into(), &0.into()));
}
