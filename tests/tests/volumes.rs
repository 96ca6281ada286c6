//! Volumes of every size and kind, and stores of other makes.

use std::time::{Duration, Instant};

use blockferry_block::{Extent, GIB, KIB, MIB};
use blockferry_control::api::VolumeStatus;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Controller, NbdKit, QemuNbd, VOLUME, allocated, busy, compare, connect,
    fill_random, moves_on, read, sparse, until, until_within, write,
};

/// A program that moves a volume needs memory for what is under way, however large the volume is.
const RESIDENT_MAX: u64 = 64 * MIB;

/// A sparse volume takes seconds; many, without optimization and on a machine that others use.
const SPARSE_TIME_MAX: Duration = Duration::from_secs(100);

async fn moves_with_its_last_byte(size: u64) {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), size);
    let cluster = spec.with_file().await;
    let client = connect(&cluster.uri()).await;
    let last = Extent::between(size - 1, size);
    write(&client, last.start(), vec![0x5A]).await.expect("a write before");
    cluster.migrate(&["--hold-at-ready"]).await;
    write(&client, last.start(), vec![0x5B]).await.expect("a write during");
    cluster.assert_equal();
    cluster.controller("commit", &[]).done().await;
    assert_eq!(read(&client, last).await.expect("a read"), vec![0x5B]);
    write(&client, last.start(), vec![0x5C]).await.expect("a write after");
    let content = std::fs::read(cluster.copy()).expect("a file");
    assert_eq!((content.len() as u64, content.last()), (size, Some(&0x5C)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_one_byte_moves() {
    moves_with_its_last_byte(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_511_bytes_moves() {
    moves_with_its_last_byte(511).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_4095_bytes_moves() {
    moves_with_its_last_byte(4095).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_a_mebibyte_and_one_byte_moves() {
    moves_with_its_last_byte(MIB + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_more_than_4_gib_keeps_its_holes() {
    let spec = ClusterSpec::new();
    let size = 5 * GIB + 12_345;
    let around = [0, 4 * GIB - 8 * KIB, 4 * GIB + 64 * KIB, 5 * GIB + 12_345 - 4096];
    sparse(&spec.file(), size, around.map(|offset| (offset, 4096)));
    let cluster = spec.with_file().await;
    let load = busy(&cluster.uri(), 50).await;
    let done = cluster.migrate(&["--hold-at-ready"]).await;
    drop(done);
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let clean = |status: &VolumeStatus| status.dirty_bytes == 0;
    cluster.source.until(VOLUME, "nothing dirty", clean).await;
    cluster.assert_equal();
    let written = report.bytes_written + 1024 * 4096;
    assert!(allocated(&cluster.copy()) < written, "thin stays thin");
    cluster.controller("commit", &[]).done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_sparse_tebibytes_move_in_seconds_and_in_little_memory() {
    const PIECES: u64 = 25_600;
    let spec = ClusterSpec::new();
    let size = 8 << 40;
    let stride = size / PIECES / 4096 * 4096;
    sparse(&spec.file(), size, (0..PIECES).map(|piece| (piece * stride + piece % 16 * 4096, 4096)));
    let cluster = spec.with_file().await;
    let begun = Instant::now();
    let mut controller = cluster.controller("migrate", &[]);
    let mut controller_max = 0;
    until_within(SPARSE_TIME_MAX, "the migration ends", async || {
        if controller.process.ended().is_none() {
            controller_max = controller.process.resident_max().unwrap_or(controller_max);
            return None;
        }
        Some(())
    })
    .await;
    let took = begun.elapsed();
    let done = controller.done().await.last();
    assert_eq!((&done["passes"], &done["digest_match"]), (&1.into(), &true.into()), "{done}");
    eprintln!("8 TiB with {PIECES} pieces took {took:?}");
    let residents = [
        ("controller", controller_max),
        ("source", cluster.source.process.resident_max().unwrap_or(0)),
        ("destination", cluster.destination.process.resident_max().unwrap_or(0)),
        ("switch", cluster.switch.resident_max().await),
    ];
    for (program, resident) in residents {
        assert!(resident > 0 && resident < RESIDENT_MAX, "{program} held {resident} bytes");
    }
    let copy = allocated(&cluster.copy());
    // A twentieth more for what the file system itself keeps of so many extents.
    let pieces = PIECES * 4096;
    assert!((pieces..=pieces + pieces / 20).contains(&copy), "{copy} bytes allocated");
    let there = connect(&cluster.destination.uri(VOLUME)).await;
    let here = std::fs::File::open(cluster.file()).expect("a file");
    for piece in [0, 1, PIECES / 2, PIECES - 1] {
        use std::os::unix::fs::FileExt;
        let offset = piece * stride + piece % 16 * 4096;
        let mut expected = vec![0; 4096];
        here.read_exact_at(&mut expected, offset).expect("readable");
        assert!(expected.iter().any(|byte| *byte != 0));
        let found = read(&there, Extent::between(offset, offset + 4096)).await.expect("a read");
        assert_eq!(found, expected, "piece {piece}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_volume_is_served_and_its_migration_refused_with_a_reason() {
    let spec = ClusterSpec::new().source(|source| source.with("--read-only").with(VOLUME));
    let cluster = spec.random(1).await;
    let client = connect(&cluster.uri()).await;
    assert!(client.info().features.read_only);
    assert!(write(&client, 0, vec![1; 512]).await.is_err());
    let refused = cluster.controller("migrate", &[]).end().await;
    assert_eq!((refused.code, refused.err.len()), (Some(1), 1), "{refused:?}");
    assert!(refused.err[0].contains("read-only"), "{refused:?}");
    assert!(!cluster.copy().exists(), "nothing was touched");
    let expected = &std::fs::read(cluster.file()).expect("a file")[..4096];
    assert_eq!(read(&client, Extent::between(0, 4096)).await.expect("a read"), expected);
}

/// Migrates a volume from another maker's server under load.
async fn moves_from(spec: ClusterSpec, backing: String, file: std::path::PathBuf) -> Cluster {
    let spec = spec.source(|source| source.volume(VOLUME, backing));
    let cluster = spec.start().await;
    let load = busy(&cluster.uri(), 200).await;
    cluster.migrate(&["--hold-at-ready", "--chunk", "1M"]).await;
    let held = load.stop().await;
    assert!(held.is_clean(), "{held}");
    let clean = |status: &VolumeStatus| status.dirty_bytes == 0;
    cluster.source.until(VOLUME, "nothing dirty", clean).await;
    let there = connect(&cluster.source.uri(VOLUME)).await;
    there.disconnect().await;
    compare(&file, &cluster.copy()).expect("equal volumes");
    cluster.controller("commit", &[]).done().await;
    let load = busy(&cluster.uri(), 200).await;
    moves_on(&load).await;
    assert!(load.stop().await.is_clean());
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_on_nbdkit_moves() {
    let spec = ClusterSpec::new();
    let file = spec.file();
    fill_random(&file, 8 * MIB + 512);
    let server =
        NbdKit::start(spec.scratch.join("kit"), &["file", file.to_str().expect("UTF-8")]).await;
    let backing = server.uri().to_string();
    moves_from(spec, backing, file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_on_qemu_nbd_moves() {
    let spec = ClusterSpec::new();
    let file = spec.file();
    fill_random(&file, 8 * MIB + 512);
    let server = QemuNbd::start(spec.scratch.join("qemu"), &file).await;
    let backing = server.uri().to_string();
    moves_from(spec, backing, file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_copy_stands_still_while_clients_write_and_resume_goes_on() {
    let cluster = Cluster::random(24).await;
    let load = busy(&cluster.uri(), 200).await;
    let controller: Controller =
        cluster.controller("migrate", &["--chunk", "1M", "--bandwidth", "8M"]);
    cluster.until_copied(6 * MIB).await;
    cluster.controller("pause", &[]).done().await;
    let paused = |status: &VolumeStatus| status.migration.as_ref().is_some_and(|m| m.paused);
    cluster.source.until(VOLUME, "paused", paused).await;
    // What was claimed before the pause still goes over; then nothing moves.
    let mut last = 0;
    let stands = async || {
        moves_on(&load).await;
        let now = cluster.destination.status(VOLUME).await.expect("an answer").reserved_address;
        let stands = (now == last).then_some(now);
        last = now;
        stands
    };
    let stood = until("the copy stands still", stands).await;
    assert!(stood < 24 * MIB, "it was paused before its end");
    let done = cluster.controller("resume", &["--chunk", "1M"]).done().await.last();
    assert_eq!(done["digest_match"], true, "{done}");
    drop(controller);
    cluster.until_moved().await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
}
