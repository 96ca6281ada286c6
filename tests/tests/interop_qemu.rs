//! QEMU's tools as clients across a cutover, and other people's servers as stores of the source.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use blockferry_block::MIB;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, Phase, Process, QemuNbd, VOLUME, busy, compare, fill_random,
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

/// One process of `qemu-io` with one connection, which obeys a line at a time.
struct QemuIo {
    process: Process,
    obeyed: usize,
}

impl QemuIo {
    fn start(cluster: &Cluster) -> Self {
        // Unbuffered, or it would overlook a line that comes together with another.
        let mut command = Command::new("stdbuf");
        command.args(["-i0", "-oL", "qemu-io", "-f", "raw", &cluster.uri().to_string()]);
        Self { process: Process::start_listening("qemu-io", &mut command), obeyed: 0 }
    }

    /// Has it obey, and waits until it has. A pattern that is not what was expected is an error too.
    async fn obey(&mut self, line: &str) {
        self.process.say(line);
        // Says nothing but that it is there: it answers nothing to some commands.
        self.process.say("help quit");
        self.obeyed += 1;
        self.process.said("exit the program", self.obeyed).await;
        let told = [self.process.out(), self.process.log()].concat();
        let wrong = told.iter().find(|line| line.contains("ailed") || line.contains("rror"));
        assert_eq!(wrong, None, "after {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_qemu_io_finds_its_patterns_again_in_every_phase() {
    let cluster = Cluster::random(16).await;
    let mut qemu_io = QemuIo::start(&cluster);
    for (turn, phase) in (1_u64..).zip(Phase::ALL) {
        cluster.enter(phase).await;
        for earlier in 1..turn {
            let at = earlier * 4;
            qemu_io.obey(&format!("read -P {earlier} {at}M 70000")).await;
            qemu_io.obey(&format!("read -P 0 {}k 192k", at * 1024 + 1024)).await;
            qemu_io.obey(&format!("read -P {} {}k 64k", 16 + earlier, at * 1024 + 2048)).await;
        }
        let at = turn * 4;
        qemu_io.obey(&format!("write -P {turn} {at}M 70000")).await;
        qemu_io.obey(&format!("write -z {}k 64k", at * 1024 + 1024)).await;
        qemu_io.obey(&format!("write -z -u {}k 64k", at * 1024 + 1088)).await;
        qemu_io.obey(&format!("discard {}k 64k", at * 1024 + 1152)).await;
        qemu_io.obey(&format!("write -f -P {} {}k 64k", 16 + turn, at * 1024 + 2048)).await;
        qemu_io.obey("flush").await;
        qemu_io.obey(&format!("read -P {turn} {at}M 70000")).await;
        qemu_io.obey(&format!("read -P 0 {}k 192k", at * 1024 + 1024)).await;
    }
    qemu_io.process.say("quit");
    assert!(qemu_io.process.end_within(Duration::from_secs(30)).await.success());
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
