//! D1: the source forwards, records updates and copies around them, and the client is redirected.

use std::time::Duration;

use blockferry_block::{Extent, MIB};
use blockferry_checker::LoadHandle;
use blockferry_control::api::{VolumeRole, VolumeStatus};
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Controller, NbdKit, VOLUME, busy, compare, connect, fill_random,
    moves_on, read, until, write,
};
use tokio::task::JoinHandle;

/// Where a client's update is under way: in the tenth chunk.
const UPDATED: u64 = 9 * MIB + 4096;
const CHUNK_OF_UPDATE: u64 = 9 * MIB;
const SIZE: u64 = 16 * MIB;

/// A volume on which every write takes eight seconds; one is under way, and the copy has begun.
struct UnderWay {
    cluster: Cluster,
    controller: Controller,
    update: JoinHandle<()>,
    slow_store: NbdKit,
}

impl UnderWay {
    async fn start() -> Self {
        let spec = ClusterSpec::new();
        let file = spec.file();
        fill_random(&file, SIZE);
        let socket = spec.scratch.join("slow");
        let arguments = ["--filter=delay", "file", file.to_str().expect("UTF-8"), "delay-write=8"];
        let slow_store = NbdKit::start(socket, &arguments).await;
        let backing = slow_store.uri().to_string();
        let cluster = spec.source(|source| source.volume(VOLUME, backing)).start().await;
        let client = connect(&cluster.uri()).await;
        let update = tokio::spawn(async move {
            write(&client, UPDATED, vec![0xA5; 4096]).await.expect("a write that takes its time");
        });
        cluster.source.until(VOLUME, "an update in flight", |s| s.in_flight_updates == 1).await;
        let controller = cluster.controller("migrate", &["--chunk", "1M", "--hold-at-ready"]);
        Self { cluster, controller, update, slow_store }
    }

    async fn reserved(&self) -> Option<u64> {
        let status = self.cluster.destination.status(VOLUME).await?;
        Some(status.reserved_address)
    }

    async fn in_flight(&self) -> u64 {
        self.cluster.source.status(VOLUME).await.expect("an answer").in_flight_updates
    }

    /// Everything before the update's chunk is at the destination.
    async fn until_copied_up_to_the_update(&self) {
        let there = async || self.reserved().await.filter(|reserved| *reserved >= CHUNK_OF_UPDATE);
        until("the copy reaches the update", there).await;
    }

    async fn end(self) -> Cluster {
        self.update.await.expect("the update ends");
        self.controller.done().await;
        let status = self.cluster.source.status(VOLUME).await.expect("an answer");
        assert_eq!(status.in_flight_updates, 0, "the record of an update that ended is erased");
        drop(self.slow_store);
        self.cluster
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_2_data_that_is_not_being_updated_is_migrated_at_once() {
    let scene = UnderWay::start().await;
    scene.until_copied_up_to_the_update().await;
    assert!(!scene.update.is_finished(), "nine chunks went over while the update was under way");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_3_data_that_is_being_updated_is_migrated_after_that_update() {
    let scene = UnderWay::start().await;
    scene.until_copied_up_to_the_update().await;
    let mut seen = 0;
    while !scene.update.is_finished() {
        let reserved = scene.reserved().await;
        if !scene.update.is_finished() {
            assert_eq!(reserved, Some(CHUNK_OF_UPDATE), "copied in the middle of its update");
            seen += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(seen > 10, "the update was looked at while it was under way ({seen})");
    let cluster = scene.end().await;
    let (old, new) = (cluster.file(), cluster.copy());
    compare(&old, &new).expect("the destination has the updated data");
    let content = std::fs::read(new).expect("a file");
    let updated = usize::try_from(UPDATED).expect("a small number");
    assert_eq!(content[updated..updated + 4096], [0xA5; 4096]);
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_4_an_update_is_on_record_from_its_request_to_its_answer() {
    let scene = UnderWay::start().await;
    scene.until_copied_up_to_the_update().await;
    assert_eq!(scene.in_flight().await, 1);
    let client = connect(&scene.cluster.uri()).await;
    let second = tokio::spawn(async move {
        write(&client, 12 * MIB, vec![1; 512]).await.expect("a second write");
    });
    let both = |status: &VolumeStatus| status.in_flight_updates == 2;
    scene.cluster.source.until(VOLUME, "two updates in flight", both).await;
    assert!(!scene.update.is_finished() && !second.is_finished());
    let one = |status: &VolumeStatus| status.in_flight_updates == 1;
    scene.cluster.source.until(VOLUME, "one update in flight", one).await;
    assert!(scene.update.is_finished() || !second.is_finished());
    second.await.expect("the second update ends");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_1_the_source_forwards_requests_for_data_that_has_migrated() {
    let cluster = Cluster::random(4).await;
    let client = connect(&cluster.source.uri(VOLUME)).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    write(&client, MIB, vec![0x11; 4096]).await.expect("a write below the reserved address");
    let there = std::fs::read(cluster.copy()).expect("a file");
    assert_eq!(there[MIB as usize..][..4096], [0x11; 4096], "mirrored before it is answered");
    cluster.assert_equal();

    cluster.controller("commit", &[]).done().await;
    write(&client, 2 * MIB, vec![0x22; 4096]).await.expect("a forwarded write");
    let (here, there) = (std::fs::read(cluster.file()), std::fs::read(cluster.copy()));
    let piece =
        |file: std::io::Result<Vec<u8>>| file.expect("a file")[2 * MIB as usize..][..4096].to_vec();
    assert_eq!(piece(there), [0x22; 4096], "the destination has it");
    assert_ne!(piece(here), [0x22; 4096], "the source is the owner no more");
    let status = cluster.source.status(VOLUME).await.expect("an answer");
    assert_eq!(status.role, VolumeRole::Forwarding);
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_5_the_destination_serves_what_a_client_asked_the_source_and_it_forwarded() {
    let cluster = Cluster::random(4).await;
    let behind = connect(&cluster.source.uri(VOLUME)).await;
    cluster.migrate(&[]).await;
    let ahead = connect(&cluster.destination.uri(VOLUME)).await;
    let extent = Extent::between(12_345, 23_456);
    for (writer, reader, byte) in [(&ahead, &behind, 0x33), (&behind, &ahead, 0x44)] {
        let data = vec![byte; usize::try_from(extent.len()).expect("small")];
        write(writer, extent.start(), data.clone()).await.expect("a write");
        assert_eq!(read(reader, extent).await.expect("a read"), data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_6_the_destination_tells_a_switch_that_nobody_told_where_the_volume_lives() {
    let cluster = Cluster::random(8).await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.without_switch("migrate", &["--chunk", "1M"]).done().await;
    let there = cluster.destination.uri(VOLUME);
    let route = cluster.switch.until_at(VOLUME, &there).await;
    assert_eq!(route.generation, 2);
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_7_the_client_sends_its_requests_straight_to_the_destination_then() {
    let mut cluster = Cluster::random(8).await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.without_switch("migrate", &[]).done().await;
    cluster.until_moved().await;
    let none = |status: &VolumeStatus| status.sessions == 0;
    cluster.source.until(VOLUME, "no client path ends here", none).await;
    cluster.source.kill9();
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

/// The volume moves and its source is restarted and retired while both processes of the switch sleep.
/// Gives the worker.
async fn moves_while_the_switch_sleeps(cluster: &mut Cluster) -> u32 {
    let worker = cluster.switch.stop().await;
    cluster.without_switch("migrate", &[]).done().await;
    cluster.source.kill9();
    cluster.source.restart().await;
    let at_once = cluster.without_switch("retire", &["--wait", "0"]).end().await;
    assert_eq!(at_once.code, Some(1), "clients of a source that was restarted may come back");
    cluster.without_switch("retire", &[]).done().await;
    worker
}

async fn goes_on_at_the_destination(cluster: &Cluster, load: LoadHandle) {
    cluster.until_moved().await;
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_comes_back_to_a_retired_source_is_told_where_the_volume_lives() {
    let mut cluster = Cluster::random(2).await;
    let load = busy(&cluster.uri(), 100).await;
    let worker = moves_while_the_switch_sleeps(&mut cluster).await;
    cluster.switch.cont(worker);
    goes_on_at_the_destination(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_follows_one_which_slept_through_it_all_is_told_by_a_retired_source() {
    let mut cluster = Cluster::random(2).await;
    let load = busy(&cluster.uri(), 100).await;
    let worker = moves_while_the_switch_sleeps(&mut cluster).await;
    cluster.switch.kill_stopped_worker(worker);
    cluster.switch.process.cont();
    goes_on_at_the_destination(&cluster, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retire_waits_for_the_last_client_path_and_then_the_source_may_go() {
    let cluster = Cluster::random(2).await;
    let client = connect(&cluster.source.uri(VOLUME)).await;
    cluster.migrate(&[]).await;
    let refused = cluster.controller("retire", &["--wait", "0"]).end().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.join(" ").contains("1 client path"), "{refused:?}");
    client.disconnect().await;
    cluster.controller("retire", &[]).done().await;
    cluster.source.until_role(VOLUME, VolumeRole::Retired).await;
}
