//! QEMU's own iSCSI initiator, in its tools and in the daemon that exports what it has attached.

use std::path::Path;
use std::process::Command;

use blockferry_block::MIB;
use blockferry_checker::{LoadConfig, Mix};
use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;
use blockferry_tests::cast::{
    Cluster, ClusterSpec, Phase, Process, QemuIo, TARGET, VOLUME, compare, connect, disk, load,
    moves_on, run_tool, sparse, until,
};
use blockferry_tests::tree;
use serde_json::Value;

/// One of QEMU's tools that has an iSCSI initiator, with the command that runs it.
async fn tool(name: &str) -> [String; 2] {
    let runner = tree::root().join("dev/vm/tool").display().to_string();
    let mut command = Command::new(&runner);
    // The first run downloads it.
    let told = run_tool(command.args([name, "--version"])).await;
    assert!(told.success, "{}", told.err);
    [runner, name.to_owned()]
}

async fn qemu_img(arguments: &[&str]) -> String {
    let [runner, name] = tool("qemu-img").await;
    let script = run_tool(Command::new(runner).arg(name).args(arguments)).await;
    assert!(script.success, "qemu-img {arguments:?}: {}\n{}", script.out, script.err);
    script.out
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_converts_an_image_into_a_disk_and_out_of_it_and_sees_its_holes() {
    let spec = ClusterSpec::new().with_disks();
    sparse(&spec.file(), 16 * MIB, []);
    let cluster = spec.with_file().await;
    let disk = disk(cluster.source.portal(), "");
    let [image, copy] = ["image", "copy"].map(|name| cluster.scratch.join(name));
    sparse(&image, 16 * MIB, [(0, 1 << 20), (5 * MIB, 3 << 20)]);
    let [image, copy] = [&image, &copy].map(|path| path.to_str().expect("a plain path"));
    let info = qemu_img(&["info", "--output=json", "-f", "raw", &disk]).await;
    let info: Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["virtual-size"], 16 * MIB, "{info}");
    qemu_img(&["convert", "-n", "-f", "raw", "-O", "raw", image, &disk]).await;
    compare(Path::new(image), &cluster.file()).expect("what was converted");
    let map = qemu_img(&["map", "--output=json", "-f", "raw", &disk]).await;
    let map: Value = serde_json::from_str(&map).expect("JSON");
    assert!(map.as_array().is_some_and(|extents| extents.len() == 4), "{map}");
    qemu_img(&["convert", "-f", "raw", "-O", "raw", &disk, copy]).await;
    compare(Path::new(image), Path::new(copy)).expect("what was converted");
    qemu_img(&["compare", "-f", "raw", "-F", "raw", &disk, copy]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_qemu_io_on_iscsi_finds_its_patterns_again_in_every_phase() {
    let [runner, name] = tool("qemu-io").await;
    let cluster = ClusterSpec::new().with_disks().random(16).await;
    let disk = disk(cluster.source.portal(), "");
    let mut qemu_io = QemuIo::start(&[&runner, &name], &disk);
    for (turn, phase) in (1..).zip(Phase::ALL) {
        cluster.enter(phase).await;
        qemu_io.write_beside_earlier_turns(turn).await;
    }
    cluster.destination.logged_in(1).await;
    qemu_io.quit().await;
}

/// Attaches the volume's disk at the source, and exports it over NBD.
async fn export(cluster: &Cluster) -> (Process, NbdUri) {
    let [runner, name] = tool("qemu-storage-daemon").await;
    let (portal, socket) = (cluster.source.portal(), cluster.scratch.join("exported"));
    let node =
        format!("driver=iscsi,node-name=disk,transport=tcp,portal={portal},target={TARGET},lun=0");
    let server = format!("addr.type=unix,addr.path={},max-connections=8", socket.display());
    let mut command = Command::new(runner);
    command.args([&name, "--blockdev", &node, "--nbd-server", &server]);
    command.args(["--export", "type=nbd,id=export,node-name=disk,name=vol,writable=on"]);
    let process = Process::start(name, &mut command);
    until("the daemon exports the disk", async || {
        tokio::net::UnixStream::connect(&socket).await.ok()
    })
    .await;
    (process, NbdUri { address: Address::Unix(socket), export: VOLUME.to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checked_load_on_qemus_iscsi_initiator_goes_on_through_a_migration() {
    let cluster = ClusterSpec::new().with_disks().random(24).await;
    let (mut daemon, uri) = export(&cluster).await;
    // A discard is a hint to QEMU, and may leave what was there.
    let mix = Mix { trim: 0, ..Mix::default() };
    let load = load(&uri, 2, LoadConfig { mix, rate: Some(200), ..LoadConfig::default() }).await;
    moves_on(&load).await;
    cluster.migrate(&["--chunk", "1M", "--bandwidth", "12M"]).await;
    cluster.destination.logged_in(1).await;
    moves_on(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(daemon.terminate().await.success());
    let link = connect(&cluster.destination.uri(VOLUME)).await;
    let violations = report.journal.verify(&link).await.expect("a volume that can be read");
    assert!(violations.is_empty(), "{violations:?}");
    assert!(
        compare(&cluster.file(), &cluster.copy()).is_err(),
        "the load went on at the destination"
    );
}
