//! One side loses its power with writes that it had answered and not flushed (rows C8 and C9 of
//! `docs/failures.md`): the program dies, and so does the server of its store, which keeps what is not
//! flushed in memory only. `power.rs` does the same on a kernel's disks, at every flush.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use blockferry_block::{Extent, MIB};
use blockferry_control::api::{VolumeRole, VolumeStatus};
use blockferry_device::{Device, Request};
use blockferry_nbd_session::Link;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, Storage, VOLUME, compare, connect, fill_random, read, write,
};

const SIZE_MIB: u64 = 8;
const BLOCK: u64 = 4096;

/// Bytes of a journal without records.
const JOURNAL_HEAD: u64 = 20;

/// A cluster of which one side has a store with a cache, and that store's file.
struct Cached {
    cluster: Cluster,
    store: NbdKit,
    file: PathBuf,
}

async fn with_cache(socket: &Path, file: &Path) -> NbdKit {
    let file = file.to_str().expect("UTF-8");
    let arguments = ["--filter=cache", "file", file, "cache=writeback"];
    NbdKit::start(socket.to_owned(), &arguments).await
}

async fn cached_source() -> Cached {
    let spec = ClusterSpec::new();
    let file = spec.file();
    fill_random(&file, SIZE_MIB * MIB);
    let store = with_cache(&spec.scratch.join("nbdkit"), &file).await;
    let backing = store.uri().to_string();
    let cluster = spec.source(|source| source.volume(VOLUME, backing)).start().await;
    Cached { cluster, store, file }
}

async fn cached_destination(fault: Option<&str>) -> Cached {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), SIZE_MIB * MIB);
    let (volume, file) = (spec.file(), spec.garbage());
    let store = with_cache(&spec.scratch.join("nbdkit"), &file).await;
    let spec = spec.source(|source| source.volume(VOLUME, volume));
    let spec = spec.received_in(store.uri().to_string()).destination(|destination| {
        fault.into_iter().fold(destination, |d, fault| d.with("--seed-fault").with(fault))
    });
    Cached { cluster: spec.start().await, store, file }
}

/// Both die at once; what the store had not flushed is gone.
async fn loses_its_power(side: &mut Storage, store: &mut NbdKit) {
    side.kill9();
    store.kill9();
    store.restart().await;
}

async fn write_block(client: &Link, number: u64, byte: u8) {
    write(client, number * BLOCK, vec![byte; BLOCK as usize]).await.expect("a write");
}

async fn read_block(client: &Link, number: u64) -> u8 {
    let extent = Extent::between(number * BLOCK, (number + 1) * BLOCK);
    let block = read(client, extent).await.expect("a read");
    block[0]
}

/// A client flushes before, in and at the end of a migration, after which the new owner's power goes:
/// what it reads then, of what it had flushed.
async fn read_after_the_new_owner_lost_its_power(fault: Option<&str>) -> Vec<u8> {
    let Cached { mut cluster, mut store, .. } = cached_destination(fault).await;
    let client = connect(&cluster.uri()).await;
    let flush = async || client.call(Request::Flush).await.expect("a flush");
    write_block(&client, 1, 0xA1).await;
    flush().await;
    cluster.migrate(&["--hold-at-ready", "--chunk", "1M"]).await;
    write_block(&client, 2, 0xA2).await;
    flush().await;
    cluster.controller("commit", &[]).done().await;
    cluster.until_moved().await;
    loses_its_power(&mut cluster.destination, &mut store).await;
    cluster.destination.restart().await;
    cluster.destination.until_role(VOLUME, VolumeRole::Owner).await;
    vec![read_block(&client, 1).await, read_block(&client, 2).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_flushed_before_the_cutover_outlives_the_new_owners_power() {
    assert_eq!(read_after_the_new_owner_lost_its_power(None).await, [0xA1, 0xA2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_flush_before_it_is_ready_is_found() {
    let found = read_after_the_new_owner_lost_its_power(Some("skip-flush")).await;
    assert_ne!(found, [0xA1, 0xA2], "what was never flushed has outlived a loss of power");
}

/// Some of the volume is copied and durable on both sides, and nothing more is flushed from then on.
async fn stopped_half_way(cluster: &Cluster) {
    let mut controller = cluster.controller("migrate", &["--chunk", "1M", "--bandwidth", "2M"]);
    cluster.until_copied(2 * MIB).await;
    cluster.controller("pause", &[]).done().await;
    controller.process.kill9();
    let made = |status: &VolumeStatus| {
        status.durable_address == status.reserved_address && status.durable_address >= 2 * MIB
    };
    cluster.source.until(VOLUME, "a checkpoint of all that was copied", made).await;
}

fn byte_at(file: &Path, offset: u64) -> u8 {
    let mut byte = [0];
    File::open(file).and_then(|file| file.read_exact_at(&mut byte, offset)).expect("a byte");
    byte[0]
}

/// The source loses a write that the destination has, and what `meddle` does to its records; then
/// whether both sides agree at the end.
async fn agree_after_the_source_lost_its_power(meddle: impl FnOnce(&Path)) -> Result<(), String> {
    let Cached { mut cluster, mut store, file } = cached_source().await;
    let client = connect(&cluster.uri()).await;
    let direct = connect(&cluster.source.uri(VOLUME)).await;
    write_block(&client, 3, 0xB1).await;
    stopped_half_way(&cluster).await;
    write_block(&direct, 3, 0xB2).await;
    assert_eq!(byte_at(&cluster.copy(), 3 * BLOCK), 0xB2, "the destination has it");
    loses_its_power(&mut cluster.source, &mut store).await;
    meddle(&cluster.source.spec.state);
    cluster.source.restart().await;
    let before = read_block(&client, 3).await;
    assert_eq!(before, 0xB1, "the source has kept what it had not flushed");
    cluster.controller("resume", &["--hold-at-ready"]).done().await;
    cluster.source.until(VOLUME, "nothing dirty", |status| status.dirty_bytes == 0).await;
    client.call(Request::Flush).await.expect("a flush");
    compare(&file, &cluster.copy())?;
    cluster.controller("commit", &[]).done().await;
    cluster.until_moved().await;
    assert_eq!(read_block(&client, 3).await, before, "a reader saw the lost write come back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_lost_with_its_power_does_not_come_back_from_the_destination() {
    agree_after_the_source_lost_its_power(|_| {}).await.expect("equal volumes");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_activity_log_a_source_forgets_nothing() {
    let lost = agree_after_the_source_lost_its_power(|state| {
        std::fs::remove_file(activity_log(state)).expect("an activity log");
    });
    lost.await.expect("equal volumes");
}

fn activity_log(state: &Path) -> PathBuf {
    state.join(format!("{VOLUME}.activity"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_activity_log_tells_nothing_is_found() {
    let found = agree_after_the_source_lost_its_power(|state| {
        let log = File::options().write(true).open(activity_log(state));
        log.and_then(|log| log.set_len(JOURNAL_HEAD)).expect("an activity log");
    });
    let difference = found.await.expect_err("the destination kept the lost write");
    assert!(difference.contains("differ at 12288"), "{difference}");
}
