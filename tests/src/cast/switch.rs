//! The switch.

use std::path::PathBuf;
use std::process::Command;

use blockferry_control::api::RouteStatus;
use blockferry_control::{ControlAddress, ControlClient};
use blockferry_nbd_session::{Address, NbdUri};

use super::binaries::binary;
use super::process::Process;
use super::storage::{bound, control_address};
use super::until::until;

/// A switch that runs, or was ended on purpose.
pub struct Switch {
    listen: String,
    control: String,
    state: PathBuf,
    routes: Vec<String>,
    more: Vec<String>,
    /// The process.
    pub process: Process,
}

impl Switch {
    /// Starts it with `--listen` and `--control` and these routes, and waits until it serves.
    pub async fn start(
        listen: String,
        control: String,
        state: PathBuf,
        routes: &[(&str, NbdUri)],
    ) -> Self {
        let log = ["--log", "debug"].map(str::to_owned).to_vec();
        Self::start_with(listen, control, state, routes, log).await
    }

    /// The same with more arguments, `--log` among them.
    pub async fn start_with(
        listen: String,
        control: String,
        state: PathBuf,
        routes: &[(&str, NbdUri)],
        more: Vec<String>,
    ) -> Self {
        let routes = routes.iter().map(|(name, uri)| format!("{name}={uri}")).collect();
        Self::run(listen, control, state, routes, more).await
    }

    async fn run(
        listen: String,
        control: String,
        state: PathBuf,
        routes: Vec<String>,
        more: Vec<String>,
    ) -> Self {
        let mut command = Command::new(binary("switch-proxy"));
        command.args(["--listen", &listen, "--control", &control]).arg("--state").arg(&state);
        command.args(&more);
        routes.iter().for_each(|route| {
            command.args(["--route", route]);
        });
        let mut process = Process::start("switch-proxy", &mut command);
        let listen = bound(&process.logged("serving NBD").await);
        let control = bound(&process.logged("control API listens").await);
        Self { listen, control, state, routes, more, process }
    }

    /// Starts it again after its end, at the same addresses.
    pub async fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "the switch still runs");
        let (listen, control) = (self.listen.clone(), self.control.clone());
        let (state, routes, more) = (self.state.clone(), self.routes.clone(), self.more.clone());
        *self = Self::run(listen, control, state, routes, more).await;
    }

    /// Its control address.
    pub fn control(&self) -> ControlAddress {
        control_address(&self.control)
    }

    /// Where clients connect.
    pub fn address(&self) -> Address {
        self.listen.parse().expect("a data address")
    }

    /// The URI of a route, for clients.
    pub fn uri(&self, route: &str) -> NbdUri {
        NbdUri { address: self.address(), export: route.to_owned() }
    }

    /// What it says of a route; `None` when it does not answer.
    pub async fn route(&self, name: &str) -> Option<RouteStatus> {
        let client = ControlClient::new(self.control(), None);
        let routes: Vec<RouteStatus> = client.get("/v1/routes").await.ok()?;
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
