//! A stock Linux kernel, booted in a VM, has an ext4 file system mounted on its own NBD client while
//! the volume moves, or while the switch's worker dies. The guest checks its files, its kernel log and
//! that it never reconnected (see `dev/vm/README.md`).

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use blockferry_block::MIB;
use blockferry_control::ControlClient;
use blockferry_control::api::RouteStatus;
use blockferry_net::Address;
use blockferry_tests::cast::{Cluster, ClusterSpec, Process, VOLUME, fill_random, run_tool};
use blockferry_tests::tree;
use serde_json::json;

/// The first run downloads a kernel and QEMU.
const PREPARATION_MAX: Duration = Duration::from_secs(240);

/// The VM's whole life: about 15 s on an idle machine, and its processor is emulated.
const VM_MAX: Duration = Duration::from_secs(150);

/// A guest that is not ready after so long is looked at.
const LOOK_AFTER: Duration = Duration::from_secs(20);

/// Copied a second, so that the guest works while the copy runs.
const SLOWLY: [&str; 5] = ["--chunk", "1M", "--bandwidth", "24M", "--hold-at-ready"];

/// Rounds of work that the guest does with the mirror in place, before the commit.
const ROUNDS_HELD: usize = 2;

/// Rounds that begin after the commit, before the guest is told.
const ROUNDS_MOVED: usize = 2;

/// Deaths, reloads and restarts of the switch that a kernel outlives.
const TROUBLES: [&str; 6] =
    ["kill-worker", "reload", "restart", "kill-worker", "restart", "kill-worker"];

/// Fetches what the VM is made of, or sees that it is there.
async fn prepare() {
    let mut command = Command::new(tree::root().join("dev/vm/initramfs"));
    let mut process = Process::start("dev/vm/initramfs", &mut command);
    let status = process.end_within(PREPARATION_MAX).await;
    assert!(status.success(), "the VM cannot be set up: {}", process.log().join("\n"));
}

fn boot(cluster: &Cluster, export: &str, connections: u32) -> Process {
    let Address::Tcp(_, port) = cluster.switch.address() else { panic!("the VM needs TCP") };
    let mut command = Command::new(tree::root().join("dev/vm/run"));
    command.arg("--timeout").arg(VM_MAX.as_secs().to_string());
    // The machine may be slow.
    command.args(["--env", "MOVE_SECONDS_MAX=100"]);
    command.arg(tree::root().join("dev/vm/guest-mounted-move.sh"));
    command.env("PORT", port.to_string()).env("CONNECTIONS", connections.to_string());
    command.env("EXPORT", export).env("TMPDIR", cluster.scratch.path());
    Process::start_listening("the VM", &mut command)
}

/// Waits until the guest has made its file system. Where that takes long its kernel may wait for an
/// answer, and tries again after 30 s: the sockets of all programs tell where it has stayed.
async fn is_ready(guest: &mut Process) {
    let ready = guest.said_within(VM_MAX, "BF:ready", 1);
    let look = async || -> Infallible {
        tokio::time::sleep(LOOK_AFTER).await;
        let sockets = run_tool(Command::new("ss").arg("-tnpiemo")).await;
        eprintln!("after {} s the guest is not ready:\n{}", LOOK_AFTER.as_secs(), sockets.out);
        std::future::pending().await
    };
    tokio::select! {
        _ = ready => {}
        never = look() => match never {},
    }
}

/// Waits until the guest has done so many more rounds of work.
async fn works(guest: &mut Process, rounds: usize) {
    let done = guest.out().iter().filter(|line| line.contains("BF:round")).count();
    guest.said_within(VM_MAX, "BF:round", done + rounds).await;
}

async fn move_under_a_mounted_file_system(connections: u32) {
    prepare().await;
    let cluster = ClusterSpec::new().on_tcp().random(96).await;
    let mut guest = boot(&cluster, VOLUME, connections);
    is_ready(&mut guest).await;
    works(&mut guest, 1).await;
    let copying = cluster.controller("migrate", &SLOWLY);
    cluster.until_copied(MIB).await;
    works(&mut guest, 1).await;
    copying.done().await;
    works(&mut guest, ROUNDS_HELD).await;
    cluster.controller("commit", &[]).done().await;
    cluster.until_moved().await;
    works(&mut guest, ROUNDS_MOVED).await;
    passes(&mut guest).await;
    // What the destination now holds is the guest's file system.
    check_file_system(&cluster.copy()).await;
}

async fn passes(guest: &mut Process) {
    guest.say("finished");
    guest.said_within(VM_MAX, "BF:pass", 1).await;
    let status = guest.end_within(VM_MAX).await;
    assert!(status.success(), "the guest did not pass: {status}");
    assert!(guest.out().iter().any(|line| line.contains("BF:dmesg-clean")));
}

/// The volume holds a whole file system.
async fn check_file_system(volume: &Path) {
    let mut e2fsck = Command::new("e2fsck");
    let checked = run_tool(e2fsck.arg("-fn").arg(volume)).await;
    assert!(checked.success, "{}\n{}", checked.out, checked.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn c_6_a_kernel_with_one_connection_keeps_its_mounted_ext4_through_a_migration() {
    move_under_a_mounted_file_system(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c_6_a_kernel_with_four_connections_keeps_its_mounted_ext4_through_a_migration() {
    move_under_a_mounted_file_system(4).await;
}

/// Two kernels at once, one with each number of connections.
#[tokio::test(flavor = "multi_thread")]
async fn kernels_keep_their_mounted_ext4_while_the_switch_is_killed_reloaded_and_restarted() {
    const OTHER: &str = "other";
    prepare().await;
    let spec = ClusterSpec::new().on_tcp().with_service();
    let other = spec.scratch.join(OTHER);
    fill_random(&other, 96 * MIB);
    let mut cluster = spec.source(|source| source.volume(OTHER, &other)).random(96).await;
    let route = json!({ "name": OTHER, "upstream": cluster.source.uri(OTHER).to_string() });
    let control = ControlClient::new(cluster.switch.control(), None);
    let _: RouteStatus = control.post("/v1/routes", &route).await.expect("a new route");
    let mut guests = [boot(&cluster, VOLUME, 1), boot(&cluster, OTHER, 4)];
    for guest in &mut guests {
        is_ready(guest).await;
    }
    for trouble in TROUBLES {
        assert!(cluster.switch.job(trouble).await, "{trouble} is possible");
        for guest in &mut guests {
            works(guest, 1).await;
        }
    }
    for guest in &mut guests {
        passes(guest).await;
    }
    for volume in [cluster.file(), other] {
        check_file_system(&volume).await;
    }
}
