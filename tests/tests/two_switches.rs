//! Two switches before one volume: each moves its own clients, and what either of them is told is
//! true for both.

use std::sync::Arc;

use blockferry_checker::{Load, LoadConfig, LoadHandle};
use blockferry_device::Device;
use blockferry_tests::cast::{Cluster, Switch, SwitchSpec, VOLUME, connect, moves_on};

/// The cast with a second switch, and one load whose connections go through both.
async fn two_switches() -> (Cluster, Switch, LoadHandle) {
    let cluster = Cluster::random(16).await;
    let socket = |name| format!("unix:{}", cluster.scratch.join(name).display());
    let (listen, control) = (socket("second-nbd"), socket("second-control"));
    let routes = [(VOLUME, cluster.source.uri(VOLUME))];
    let second =
        Switch::start(SwitchSpec::new(listen, control, cluster.scratch.join("second"), &routes))
            .await;
    let mut devices: Vec<Arc<dyn Device>> = Vec::new();
    for uri in [cluster.uri(), second.uri(VOLUME), cluster.uri(), second.uri(VOLUME)] {
        devices.push(Arc::new(connect(&uri).await));
    }
    let config = LoadConfig { rate: Some(300), ..LoadConfig::default() };
    let load = Load::start(devices, config).expect("a load that fits the volume");
    moves_on(&load).await;
    (cluster, second, load)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_switches_that_were_told_both_move_their_clients() {
    let (cluster, second, load) = two_switches().await;
    let done = cluster.migrate(&["--switch", &second.control().to_string()]).await.last();
    assert_eq!(done["moved_connections"], 4, "{done}");
    second.until_at(VOLUME, &cluster.destination.uri(VOLUME)).await;
    cluster.ends_well(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_switch_that_nobody_told_heals_itself_under_the_same_load() {
    let (cluster, second, load) = two_switches().await;
    cluster.migrate(&[]).await;
    second.until_at(VOLUME, &cluster.destination.uri(VOLUME)).await;
    cluster.ends_well(load).await;
}
