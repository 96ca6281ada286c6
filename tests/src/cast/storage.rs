//! A storage program, `target-src` or `target-dst`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use blockferry_control::api::{VolumeRole, VolumeStatus};
use blockferry_control::{BearerToken, ControlAddress, ControlClient};
use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;

use super::binaries::{binary, command_under};
use super::process::Process;
use super::until::until;

/// A program that refuses to start and takes longer serves after all.
const REFUSAL_MAX: Duration = Duration::from_secs(30);

/// What a storage program is started with.
#[derive(Clone, Debug)]
pub struct StorageSpec {
    /// `target-src` or `target-dst`.
    pub program: &'static str,
    /// `--nbd`.
    pub nbd: String,
    /// `--control`.
    pub control: String,
    /// `--iscsi`.
    pub iscsi: Option<String>,
    /// `--state`.
    pub state: PathBuf,
    /// `--pool`.
    pub pool: Option<PathBuf>,
    /// `--volume`, each as NAME=PATH.
    pub volumes: Vec<String>,
    /// Anything else.
    pub more: Vec<String>,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// `--log`.
    pub log: String,
    /// What it runs under, like a tracer with its arguments.
    pub under: Vec<String>,
}

impl StorageSpec {
    /// A program with its folders, and unix sockets, below `folder`.
    pub fn new(program: &'static str, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        Self {
            program,
            nbd: format!("unix:{}", folder.join("nbd").display()),
            control: format!("unix:{}", folder.join("control").display()),
            iscsi: None,
            state: folder.join("state"),
            pool: Some(folder.join("pool")),
            volumes: Vec::new(),
            more: Vec::new(),
            token_file: None,
            log: "debug".to_owned(),
            under: Vec::new(),
        }
    }

    /// On free ports of the loopback interface instead.
    #[must_use]
    pub fn on_tcp(mut self) -> Self {
        self.nbd = "127.0.0.1:0".to_owned();
        self.control = "127.0.0.1:0".to_owned();
        self
    }

    /// Serves iSCSI, too, on a free port of an address of the loopback network: `127.0.0.1`, or one where
    /// nobody else takes the port while the program is dead.
    #[must_use]
    pub fn on_iscsi(mut self, host: &str) -> Self {
        self.iscsi = Some(format!("{host}:0"));
        self
    }

    /// Serves a volume from a file, or whatever else `--volume` takes.
    #[must_use]
    pub fn volume(mut self, name: &str, backing: impl AsRef<Path>) -> Self {
        self.volumes.push(format!("{name}={}", backing.as_ref().display()));
        self
    }

    /// Prepares a store for a volume: whatever `--receive` takes.
    #[must_use]
    pub fn receive(self, name: &str, backing: impl AsRef<Path>) -> Self {
        self.with("--receive").with(format!("{name}={}", backing.as_ref().display()))
    }

    /// Creates no volumes.
    #[must_use]
    pub fn without_pool(mut self) -> Self {
        self.pool = None;
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        self.more.push(argument.into());
        self
    }

    /// Starts it where it has to refuse to: the exit code, and the line that says why.
    ///
    /// # Panics
    /// When it says nothing.
    pub async fn refused(&self) -> (Option<i32>, String) {
        let mut process = Process::start(self.program, &mut self.command_without_log());
        let status = process.end_within(REFUSAL_MAX).await;
        let said = process.log();
        let line = said.iter().find(|line| line.starts_with(self.program));
        (status.code(), line.unwrap_or_else(|| panic!("no line: {said:?}")).clone())
    }

    /// The command that it makes.
    pub fn command(&self) -> Command {
        let mut command = self.command_without_log();
        command.args(["--log", &self.log]);
        command
    }

    /// The same without `--log`.
    pub fn command_without_log(&self) -> Command {
        let mut command = command_under(&self.under, binary(self.program));
        command.args(["--nbd", &self.nbd, "--control", &self.control]);
        command.arg("--state").arg(&self.state);
        if let Some(pool) = &self.pool {
            command.arg("--pool").arg(pool);
        }
        self.volumes.iter().for_each(|volume| {
            command.args(["--volume", volume]);
        });
        self.token_file.iter().for_each(|file| {
            command.arg("--token-file").arg(file);
        });
        self.iscsi.iter().for_each(|address| {
            command.args(["--iscsi", address]);
        });
        command.args(&self.more);
        command
    }
}

/// A storage program that runs, or was ended on purpose.
pub struct Storage {
    /// What it was started with; after the first start with the addresses that were bound.
    pub spec: StorageSpec,
    /// The process.
    pub process: Process,
}

impl Storage {
    /// Starts it and waits until it serves.
    pub async fn start(spec: StorageSpec) -> Self {
        let program = spec.program;
        let started = Self::try_start(spec).await;
        started.unwrap_or_else(|status| panic!("{program} ended ({status}) before it served"))
    }

    /// The same of one that may end before it serves.
    ///
    /// # Errors
    /// How it ended.
    pub async fn try_start(mut spec: StorageSpec) -> Result<Self, ExitStatus> {
        let mut process = Process::start(spec.program, &mut spec.command());
        spec.nbd = bound(&process.logged_or_ended("serving NBD").await?);
        spec.control = bound(&process.logged_or_ended("control API listens").await?);
        if let Some(address) = &mut spec.iscsi {
            *address = bound(&process.logged_or_ended("serving iSCSI").await?);
        }
        Ok(Self { spec, process })
    }

    /// Starts it again after its end, at the same addresses.
    pub async fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "{} still runs", self.spec.program);
        *self = Self::start(self.spec.clone()).await;
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Its control address, as the controller takes it.
    pub fn control(&self) -> ControlAddress {
        control_address(&self.spec.control)
    }

    /// A client of its control API.
    pub fn client(&self) -> ControlClient {
        control_client(&self.spec.control, self.spec.token_file.as_deref())
    }

    /// Where it serves NBD.
    pub fn address(&self) -> Address {
        self.spec.nbd.parse().expect("a data address")
    }

    /// Where it serves iSCSI.
    ///
    /// # Panics
    /// When it does not.
    pub fn portal(&self) -> &str {
        self.spec.iscsi.as_deref().expect("a program that serves iSCSI")
    }

    /// The URI of an export.
    pub fn uri(&self, export: &str) -> NbdUri {
        NbdUri { address: self.address(), export: export.to_owned() }
    }

    /// Where it keeps a volume that it created.
    ///
    /// # Panics
    /// When it has no pool.
    pub fn pooled(&self, volume: &str) -> PathBuf {
        self.spec.pool.as_ref().expect("a pool").join(volume)
    }

    /// What it says of a volume; `None` when it does not answer or has none of that name.
    pub async fn status(&self, volume: &str) -> Option<VolumeStatus> {
        self.client().get(&format!("/v1/volumes/{volume}")).await.ok()
    }

    /// Waits for a status of the volume that satisfies `wanted`.
    pub async fn until(
        &self,
        volume: &str,
        what: &str,
        wanted: impl Fn(&VolumeStatus) -> bool,
    ) -> VolumeStatus {
        let what = format!("{} says of {volume}: {what}", self.spec.program);
        until(&what, async || self.status(volume).await.filter(&wanted)).await
    }

    /// Waits until the volume has the role.
    pub async fn until_role(&self, volume: &str, role: VolumeRole) -> VolumeStatus {
        self.until(volume, &format!("{role:?}"), |status| status.role == role).await
    }
}

/// The address in a log line of a listener.
pub(super) fn bound(line: &str) -> String {
    let value = line.split("address=").nth(1).unwrap_or_else(|| panic!("no address in {line}"));
    value.split_whitespace().next().unwrap_or_default().trim_matches('"').to_owned()
}

/// A client of a control API, with the token that it asks for.
pub(super) fn control_client(listener: &str, token_file: Option<&Path>) -> ControlClient {
    let token = token_file.map(|file| BearerToken::read(file).expect("a token"));
    ControlClient::new(control_address(listener), token.as_ref())
}

/// A listener's address as its clients write it.
pub(super) fn control_address(listener: &str) -> ControlAddress {
    let text = match listener.starts_with("unix:") {
        true => listener.to_owned(),
        false => format!("http://{listener}"),
    };
    text.parse().expect("a control address")
}
