//! A stock Linux kernel, booted in a VM, has an ext4 file system mounted on its own NBD client while
//! the volume moves, or while the switch's worker dies. The guest checks its files, its kernel log and
//! that it never reconnected (see `dev/vm/README.md`).

use blockferry_block::MIB;
use blockferry_control::ControlClient;
use blockferry_control::api::RouteStatus;
use blockferry_net::Address;
use blockferry_tests::cast::{Cluster, ClusterSpec, Guest, VOLUME, check_file_system, fill_random};
use serde_json::json;

/// Rounds that begin after the commit, before the guest is told.
const ROUNDS_MOVED: usize = 2;

/// Deaths, reloads and restarts of the switch that a kernel outlives.
const TROUBLES: [&str; 6] =
    ["kill-worker", "reload", "restart", "kill-worker", "restart", "kill-worker"];

/// Boots a kernel that attaches an export of the switch.
fn attach(cluster: &Cluster, export: &str, connections: u32) -> Guest {
    let Address::Tcp(_, port) = cluster.switch.address() else { panic!("the VM needs TCP") };
    let told = [
        ("PORT", port.to_string()),
        ("EXPORT", export.to_owned()),
        ("CONNECTIONS", connections.to_string()),
    ];
    Guest::boot("guest-mounted-move.sh", cluster.scratch.path(), &told)
}

async fn move_under_a_mounted_file_system(connections: u32) {
    Guest::prepare().await;
    let cluster = ClusterSpec::new().on_tcp().random(96).await;
    let mut guest = attach(&cluster, VOLUME, connections);
    guest.works_through_a_move(&cluster).await;
    cluster.until_moved().await;
    guest.works(ROUNDS_MOVED).await;
    guest.passes().await;
    // What the destination now holds is the guest's file system.
    check_file_system(&cluster.copy()).await;
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
    Guest::prepare().await;
    let spec = ClusterSpec::new().on_tcp().with_service();
    let other = spec.scratch.join(OTHER);
    fill_random(&other, 96 * MIB);
    let mut cluster = spec.source(|source| source.volume(OTHER, &other)).random(96).await;
    let route = json!({ "name": OTHER, "upstream": cluster.source.uri(OTHER).to_string() });
    let control = ControlClient::new(cluster.switch.control(), None);
    let _: RouteStatus = control.post("/v1/routes", &route).await.expect("a new route");
    let mut guests = [attach(&cluster, VOLUME, 1), attach(&cluster, OTHER, 4)];
    for guest in &mut guests {
        guest.is_ready().await;
    }
    for trouble in TROUBLES {
        assert!(cluster.switch.job(trouble).await, "{trouble} is possible");
        for guest in &mut guests {
            guest.works(1).await;
        }
    }
    for guest in &mut guests {
        guest.passes().await;
    }
    for volume in [cluster.file(), other] {
        check_file_system(&volume).await;
    }
}
