//! QEMU's tools as clients across a cutover, and other people's servers as stores of the source.

use std::path::Path;
use std::process::Command;

use blockferry_block::MIB;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, Phase, QemuIo, QemuNbd, VOLUME, busy, compare, fill_random,
    moves_on, run_tool, sparse,
};
use serde_json::Value;

/// Runs `qemu-img` with JSON output.
async fn qemu_img_json(arguments: &[&str]) -> Value {
    let told = qemu_img(&[arguments, &["--output=json"]].concat()).await;
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{told}: {error}"))
}

async fn qemu_img(arguments: &[&str]) -> String {
    let script = run_tool(Command::new("qemu-img").args(arguments)).await;
    assert!(script.success, "qemu-img {arguments:?}: {}\n{}", script.out, script.err);
    script.out
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_sees_the_same_volume_in_every_phase() {
    let spec = ClusterSpec::new();
    sparse(&spec.file(), 16 * MIB, [(0, 1 << 20), (5 * MIB, 3 << 20)]);
    let cluster = spec.with_file().await;
    let (uri, copy) = (cluster.uri().to_string(), cluster.scratch.join("copy"));
    let copy = copy.to_str().expect("a plain path");
    let map = qemu_img_json(&["map", "-f", "raw", &uri]).await;
    assert!(map.as_array().is_some_and(|extents| extents.len() == 4), "{map}");
    for phase in Phase::ALL {
        cluster.enter(phase).await;
        let info = qemu_img_json(&["info", "-f", "raw", &uri]).await;
        assert_eq!(info["virtual-size"], 16 * MIB, "{phase:?}: {info}");
        assert_eq!(qemu_img_json(&["map", "-f", "raw", &uri]).await, map, "{phase:?}");
        qemu_img(&["convert", "-f", "raw", "-O", "raw", &uri, copy]).await;
        compare(&cluster.file(), Path::new(copy)).expect("what was converted");
        qemu_img(&["compare", "-f", "raw", "-F", "raw", &uri, copy]).await;
    }
    let direct = cluster.destination.uri(VOLUME).to_string();
    qemu_img(&["compare", "-f", "raw", "-F", "raw", &uri, &direct]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_converts_an_image_into_the_volume_while_it_moves() {
    let cluster = Cluster::random(32).await;
    let (uri, image) = (cluster.uri().to_string(), cluster.scratch.join("image"));
    fill_random(&image, 32 * MIB);
    let image = image.to_str().expect("a plain path");
    let migration = cluster.controller("migrate", &["--chunk", "1M", "--bandwidth", "12M"]);
    cluster.until_copied(4 * MIB).await;
    qemu_img(&["convert", "-n", "-f", "raw", "-O", "raw", image, &uri]).await;
    migration.done().await;
    cluster.until_moved().await;
    qemu_img(&["compare", "-f", "raw", "-F", "raw", image, &uri]).await;
    compare(Path::new(image), &cluster.copy()).expect("what the destination holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_qemu_io_finds_its_patterns_again_in_every_phase() {
    let cluster = Cluster::random(16).await;
    let mut qemu_io = QemuIo::start(&["qemu-io"], &cluster.uri().to_string());
    for (turn, phase) in (1..).zip(Phase::ALL) {
        cluster.enter(phase).await;
        qemu_io.write_beside_earlier_turns(turn).await;
    }
    qemu_io.quit().await;
}

/// A volume whose store is somebody else's server moves under a checked load.
async fn move_from_a_foreign_store(spec: ClusterSpec, backing: &str) {
    let file = spec.file();
    let cluster = spec.source(|source| source.volume(VOLUME, backing)).start().await;
    let load = busy(&cluster.uri(), 200).await;
    let done = cluster.migrate(&["--chunk", "1M", "--bandwidth", "12M"]).await.last();
    assert_eq!((&done["passes"], &done["digest_match"]), (&1.into(), &true.into()), "{done}");
    cluster.until_moved().await;
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    let link = blockferry_tests::cast::connect(&cluster.destination.uri(VOLUME)).await;
    let violations = report.journal.verify(&link).await.expect("a volume that can be read");
    assert!(violations.is_empty(), "{violations:?}");
    assert!(compare(&file, &cluster.copy()).is_err(), "the load went on at the destination alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_qemu_nbd_stores_moves_away_under_load() {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), 24 * MIB);
    let server = QemuNbd::start(spec.scratch.join("qemu-nbd"), &spec.file()).await;
    move_from_a_foreign_store(spec, &server.uri().to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_nbdkit_stores_moves_away_under_load() {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), 24 * MIB);
    let file = spec.file();
    let arguments = ["file", file.to_str().expect("a plain path")];
    let server = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    move_from_a_foreign_store(spec, &server.uri().to_string()).await;
}
