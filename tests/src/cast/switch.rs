//! The switch.

use std::path::PathBuf;
use std::process::Command;

use blockferry_control::api::RouteStatus;
use blockferry_control::{ControlAddress, ControlClient};
use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::binaries::{binary, command_under};
use super::process::{Process, is_stopped, resident_max};
use super::storage::{bound, control_address, control_client};
use super::until::until;

/// What a switch is started with.
#[derive(Clone, Debug)]
pub struct SwitchSpec {
    /// The program.
    pub program: PathBuf,
    /// `--listen`.
    pub listen: String,
    /// `--control`.
    pub control: String,
    /// `--state`.
    pub state: PathBuf,
    /// `--route`, each as NAME=URI.
    pub routes: Vec<String>,
    /// Anything else.
    pub more: Vec<String>,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// What it runs under, like a service manager.
    pub under: Vec<String>,
}

/// A switch that runs, or was ended on purpose.
pub struct Switch {
    /// What it was started with, with the addresses that were bound.
    spec: SwitchSpec,
    /// The process: the keeper.
    pub process: Process,
}

impl SwitchSpec {
    /// A switch with these routes.
    pub fn new(listen: String, control: String, state: PathBuf, routes: &[(&str, NbdUri)]) -> Self {
        let routes = routes.iter().map(|(name, uri)| format!("{name}={uri}")).collect();
        let program = binary("switch-proxy");
        Self {
            program,
            listen,
            control,
            state,
            routes,
            more: Vec::new(),
            token_file: None,
            under: Vec::new(),
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        self.more.push(argument.into());
        self
    }

    /// As a service of a real systemd, which is told what to do with [`Process::say`].
    #[must_use]
    pub fn as_service(mut self) -> Self {
        self.under = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/service-manager").to_owned()];
        self
    }

    fn command(&self) -> Command {
        let mut command = command_under(&self.under, &self.program);
        self.token_file.iter().for_each(|file| {
            command.arg("--token-file").arg(file);
        });
        command.args(["--listen", &self.listen, "--control", &self.control]);
        command.arg("--state").arg(&self.state);
        if !self.more.iter().any(|argument| argument == "--log") {
            command.args(["--log", "debug"]);
        }
        self.routes.iter().for_each(|route| {
            command.args(["--route", route]);
        });
        command.args(&self.more);
        command
    }
}

impl Switch {
    /// Starts it and waits until it serves.
    pub async fn start(mut spec: SwitchSpec) -> Self {
        let mut process = Process::start_listening("switch-proxy", &mut spec.command());
        spec.listen = bound(&process.logged("serving NBD").await);
        spec.control = bound(&process.logged("control API listens").await);
        Self { spec, process }
    }

    /// Starts it again after its end, at the same addresses.
    pub async fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "the switch still runs");
        *self = Self::start(self.spec.clone()).await;
    }

    /// Its control address.
    pub fn control(&self) -> ControlAddress {
        control_address(&self.spec.control)
    }

    fn client(&self) -> ControlClient {
        control_client(&self.spec.control, self.spec.token_file.as_deref())
    }

    /// Where clients connect.
    pub fn address(&self) -> Address {
        self.spec.listen.parse().expect("a data address")
    }

    /// The URI of a route, for clients.
    pub fn uri(&self, route: &str) -> NbdUri {
        NbdUri { address: self.address(), export: route.to_owned() }
    }

    /// What it says of itself; `None` when it does not answer.
    pub async fn status(&self) -> Option<Value> {
        self.client().get("/v1/status").await.ok()
    }

    /// Where it serves iSCSI.
    ///
    /// # Panics
    /// When it does not.
    pub async fn portal(&self) -> String {
        let status = self.status().await.expect("the switch answers");
        status["address"]["iscsi"].as_str().expect("a switch that serves iSCSI").to_owned()
    }

    /// The process id of the worker that serves.
    pub async fn worker(&self) -> u32 {
        until("the switch has a worker", async || {
            let status = self.status().await?;
            u32::try_from(status["keeper"]["worker_pid"].as_u64()?).ok()
        })
        .await
    }

    /// Waits for another worker than this one.
    pub async fn worker_after(&self, former: u32) -> u32 {
        let what = format!("the switch has another worker than {former}");
        until(&what, async || Some(self.worker().await).filter(|worker| *worker != former)).await
    }

    /// `kill -9` to the worker; gives its process id.
    pub async fn kill_worker(&self) -> u32 {
        let worker = self.worker().await;
        signal(worker, Signal::KILL);
        worker
    }

    /// SIGTERM to the worker alone; gives its process id.
    pub async fn terminate_worker(&self) -> u32 {
        let worker = self.worker().await;
        signal(worker, Signal::TERM);
        worker
    }

    /// SIGSTOP to both processes; gives the worker's id for [`Switch::cont`].
    pub async fn stop(&mut self) -> u32 {
        let worker = self.stop_worker().await;
        self.process.stop();
        worker
    }

    /// SIGSTOP to the worker alone; gives its process id.
    pub async fn stop_worker(&self) -> u32 {
        let worker = self.worker().await;
        signal(worker, Signal::STOP);
        worker
    }

    /// Whether a signal has stopped that worker.
    pub fn is_worker_stopped(&self, worker: u32) -> bool {
        is_stopped(worker)
    }

    /// `kill -9` to that worker, which may have been stopped.
    pub fn kill_stopped_worker(&self, worker: u32) {
        signal(worker, Signal::KILL);
    }

    /// SIGCONT to that worker.
    pub fn cont_worker(&self, worker: u32) {
        signal(worker, Signal::CONT);
    }

    /// SIGCONT to both processes.
    pub fn cont(&mut self, worker: u32) {
        signal(worker, Signal::CONT);
        self.process.cont();
    }

    /// The most memory that both processes have held, in bytes.
    pub async fn resident_max(&self) -> u64 {
        let worker = resident_max(self.worker().await);
        self.process.resident_max().into_iter().chain(worker).sum()
    }

    /// What it says of a route; `None` when it does not answer.
    pub async fn route(&self, name: &str) -> Option<RouteStatus> {
        let routes: Vec<RouteStatus> = self.client().get("/v1/routes").await.ok()?;
        routes.into_iter().find(|route| route.name == name)
    }

    /// Waits for a status of the route that satisfies `wanted`.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&RouteStatus) -> bool,
    ) -> RouteStatus {
        let what = format!("the switch says of {name}: {what}");
        until(&what, async || self.route(name).await.filter(&wanted)).await
    }

    /// Waits until every path of the route goes straight to `upstream`.
    pub async fn until_at(&self, name: &str, upstream: &NbdUri) -> RouteStatus {
        let there = upstream.to_string();
        let settled =
            |route: &RouteStatus| route.upstream == there && route.moving == 0 && route.held == 0;
        self.until(name, &format!("all at {there}"), settled).await
    }
}

/// To a worker, which its keeper waits for; that it has ended already is no failure.
fn signal(worker: u32, signal: Signal) {
    let pid = i32::try_from(worker).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, signal);
}
