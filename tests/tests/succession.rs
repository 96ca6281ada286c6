//! The switch as a service of a real systemd: the whole of it is restarted, and no client sees more
//! than a delay.

use std::path::{Path, PathBuf};
use std::time::Duration;

use blockferry_block::MIB;
use blockferry_checker::{LoadConfig, LoadHandle};
use blockferry_tests::cast::{
    Cluster, RawClient, Replies, Switch, SwitchSpec, VOLUME, binary, connect, load, moves_on,
    until, until_within,
};
use serde_json::Value;

/// A request that takes longer has not just been delayed.
const DELAY_MAX: Duration = Duration::from_secs(20);

struct Service {
    cluster: Cluster,
    switch: Switch,
    program: PathBuf,
}

impl Service {
    /// A second switch before the cluster's volume, on a free port, from a program that can be
    /// replaced.
    async fn start(mib: u64) -> Self {
        Self::start_at(Cluster::random(mib).await, "127.0.0.1:0".to_owned()).await
    }

    /// The same where clients come in there.
    async fn start_at(cluster: Cluster, listen: String) -> Self {
        let folder = cluster.scratch.join("service");
        std::fs::create_dir(&folder).expect("a folder");
        let program = folder.join("switch-proxy");
        std::fs::copy(binary("switch-proxy"), &program).expect("room for it");
        let control = format!("unix:{}", cluster.scratch.join("service-control").display());
        let routes = [(VOLUME, cluster.source.uri(VOLUME))];
        let spec = SwitchSpec::new(listen, control, cluster.scratch.join("state"), &routes);
        let spec = SwitchSpec { program: program.clone(), ..spec };
        let switch = Switch::start(spec.as_service()).await;
        Self { cluster, switch, program }
    }

    async fn crowd(&self, connections: usize) -> LoadHandle {
        let config = LoadConfig { hot_per_mille: 600, ..LoadConfig::default() };
        let handle = load(&self.switch.uri(VOLUME), connections, config).await;
        moves_on(&handle).await;
        handle
    }

    async fn ends_clean(&self, load: LoadHandle) {
        moves_on(&load).await;
        let report = load.stop().await;
        assert!(report.is_clean(), "{report}");
        assert!(report.longest_request < DELAY_MAX, "{report}");
        let link = connect(&self.switch.uri(VOLUME)).await;
        let violations = report.journal.verify(&link).await.expect("a volume that can be read");
        assert!(violations.is_empty(), "{violations:?}");
    }
}

fn replace(program: &Path, with: &Path) {
    let new = program.with_extension("new");
    std::fs::copy(with, &new).expect("room for it");
    std::fs::rename(new, program).expect("a folder that can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_restarted_while_its_volume_moves_costs_four_connections_no_error() {
    let mut service = Service::start(32).await;
    let load = service.crowd(4).await;
    let slowly = ["--chunk", "1M", "--bandwidth", "12M"];
    let migration = service.cluster.controller("migrate", &slowly);
    let mut keepers = vec![service.switch.keeper().await];
    for copied_mib in [4, 12, 20] {
        service.cluster.until_copied(copied_mib * MIB).await;
        assert!(service.switch.job("restart").await, "systemd restarts it");
        keepers.push(service.switch.keeper().await);
        moves_on(&load).await;
        // Its own worker may be replaced as ever.
        assert!(service.switch.job("reload").await, "systemd reloads it");
        moves_on(&load).await;
    }
    migration.done().await;
    assert!(service.switch.job("restart").await, "systemd restarts it");
    keepers.push(service.switch.keeper().await);
    service.ends_clean(load).await;
    keepers.dedup();
    assert_eq!(keepers.len(), 5, "each was another process: {keepers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_program_that_cannot_start_costs_nothing_once_there_is_one_that_can() {
    let mut service = Service::start(4).await;
    let load = service.crowd(2).await;
    replace(&service.program, Path::new("/bin/false"));
    assert!(!service.switch.job("restart").await, "it cannot be started");
    replace(&service.program, &binary("switch-proxy"));
    // The unit says that it is tried again.
    service.switch.keeper().await;
    service.ends_clean(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_while_the_service_restarts_is_served_after_it() {
    let mut service = Service::start(4).await;
    replace(&service.program, Path::new("/bin/false"));
    assert!(!service.switch.job("restart").await, "it cannot be started");
    let uri = service.switch.uri(VOLUME);
    let client = tokio::spawn(async move { connect(&uri).await });
    replace(&service.program, &binary("switch-proxy"));
    client.await.expect("it is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_while_the_service_restarts_costs_no_client_and_is_tried_again() {
    let cluster = Cluster::random(4).await;
    let socket = cluster.scratch.join("service-nbd");
    let mut service = Service::start_at(cluster, format!("unix:{}", socket.display())).await;
    let load = service.crowd(2).await;
    std::fs::remove_file(&socket).expect("the switch's socket");
    std::fs::write(&socket, "in the way").expect("a file");
    assert!(service.switch.job("restart").await, "systemd restarts it");
    let why = until("the switch says that it is shut", async || {
        shut(&service).await?.as_str().map(str::to_owned)
    })
    .await;
    assert!(why.contains(socket.to_str().expect("UTF-8")) && why.contains("no socket"), "{why}");
    service.switch.process.logged("no new client can connect").await;
    moves_on(&load).await;
    assert!(service.switch.job("restart").await, "systemd restarts it again, without a listener");
    moves_on(&load).await;
    std::fs::remove_file(&socket).expect("what was in the way");
    let open = async || shut(&service).await.filter(Value::is_null);
    until("the switch is open", open).await;
    service.ends_clean(load).await;
}

/// Why no new client can connect, in the switch's own words.
async fn shut(service: &Service) -> Option<Value> {
    service.switch.status().await.map(|status| status["keeper"]["shut"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_stopped_ends_its_clients_connections() {
    let mut service = Service::start(4).await;
    let mut client = RawClient::join(&service.switch.uri(VOLUME), Replies::Simple).await;
    assert!(service.switch.job("stop").await, "systemd stops it");
    client.until_hung_up().await;
    until_within(DELAY_MAX, "the control API is gone", async || {
        service.switch.status().await.is_none().then_some(())
    })
    .await;
}
