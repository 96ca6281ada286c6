//! The whole cast: a source with a volume, a destination with a pool, and a switch before them.

use std::path::PathBuf;

use blockferry_block::MIB;
use blockferry_control::api::VolumeRole;
use blockferry_nbd_session::NbdUri;

use super::controller::{Controller, Outcome};
use super::files::{Scratch, compare, fill_random};
use super::storage::{Storage, StorageSpec};
use super::switch::{Switch, SwitchSpec};

/// The volume of a [`Cluster`].
pub const VOLUME: &str = "vol";

/// What the programs listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Sockets in the test's folder.
    Unix,
    /// Free ports of the loopback interface.
    Tcp,
}

/// What a cluster is made of.
pub struct ClusterSpec {
    /// Its folder.
    pub scratch: Scratch,
    /// What the programs listen on.
    pub transport: Transport,
    /// The source, without its volume where `volume` names a file.
    pub source: StorageSpec,
    /// The destination.
    pub destination: StorageSpec,
    /// What the switch is started with beside its addresses and its route.
    pub switch: Vec<String>,
    /// Whether the switch is a service of a systemd.
    pub service: bool,
}

impl ClusterSpec {
    /// Programs on unix sockets, without any volume.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let source = StorageSpec::new("target-src", &scratch.join("a"));
        let destination = StorageSpec::new("target-dst", &scratch.join("b"));
        let (transport, switch, service) = (Transport::Unix, Vec::new(), false);
        Self { scratch, transport, source, destination, switch, service }
    }

    /// On TCP.
    #[must_use]
    pub fn on_tcp(mut self) -> Self {
        self.transport = Transport::Tcp;
        self.source = self.source.on_tcp();
        self.destination = self.destination.on_tcp();
        self
    }

    /// Changes the source.
    #[must_use]
    pub fn source(mut self, change: impl FnOnce(StorageSpec) -> StorageSpec) -> Self {
        self.source = change(self.source);
        self
    }

    /// Changes the destination.
    #[must_use]
    pub fn destination(mut self, change: impl FnOnce(StorageSpec) -> StorageSpec) -> Self {
        self.destination = change(self.destination);
        self
    }

    /// Has the switch started with one more argument.
    #[must_use]
    pub fn switch_with(mut self, argument: impl Into<String>) -> Self {
        self.switch.push(argument.into());
        self
    }

    /// Has the switch started as a service of a systemd.
    #[must_use]
    pub fn with_service(mut self) -> Self {
        self.service = true;
        self
    }

    /// Where the volume's file is, if the volume is a file.
    pub fn file(&self) -> PathBuf {
        self.scratch.join("volume")
    }

    /// With a volume of so many MiB of random bytes.
    pub async fn random(self, mib: u64) -> Cluster {
        fill_random(&self.file(), mib * MIB);
        self.with_file().await
    }

    /// With the volume that is in [`ClusterSpec::file`].
    pub async fn with_file(self) -> Cluster {
        let file = self.file();
        self.source(|source| source.volume(VOLUME, file)).start().await
    }

    /// As it is.
    pub async fn start(self) -> Cluster {
        let Self { scratch, transport, source, destination, switch: more, service } = self;
        let source = Storage::start(source).await;
        let destination = Storage::start(destination).await;
        let (listen, control) = match transport {
            Transport::Tcp => ("127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()),
            Transport::Unix => {
                let socket = |name| format!("unix:{}", scratch.join(name).display());
                (socket("switch-nbd"), socket("switch-control"))
            }
        };
        let routes = [(VOLUME, source.uri(VOLUME))];
        let spec = SwitchSpec::new(listen, control, scratch.join("switch"), &routes);
        let mut spec = SwitchSpec { more, ..spec };
        if spec.more.iter().any(|argument| argument == "--iscsi") {
            spec.routes.push(format!("{VOLUME}=iscsi://{}", source.portal()));
        }
        let switch = Switch::start(if service { spec.as_service() } else { spec }).await;
        Cluster { source, destination, switch, scratch }
    }
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self::new()
    }
}

/// The whole cast, running.
pub struct Cluster {
    /// Owns [`VOLUME`] at first.
    pub source: Storage,
    /// Receives it.
    pub destination: Storage,
    /// Clients connect here.
    pub switch: Switch,
    /// Their folder; the last to go.
    pub scratch: Scratch,
}

impl Cluster {
    /// A volume of so many MiB of random bytes, on unix sockets.
    pub async fn random(mib: u64) -> Self {
        ClusterSpec::new().random(mib).await
    }

    /// The volume's file at the source.
    pub fn file(&self) -> PathBuf {
        self.scratch.join("volume")
    }

    /// The volume's file at the destination.
    pub fn copy(&self) -> PathBuf {
        self.destination.pooled(VOLUME)
    }

    /// Where clients find the volume.
    pub fn uri(&self) -> NbdUri {
        self.switch.uri(VOLUME)
    }

    /// Starts `controller COMMAND vol --from --to --switch --json` and what is added.
    pub fn controller(&self, command: &str, more: &[&str]) -> Controller {
        let switch = self.switch.control().to_string();
        let more: Vec<_> = ["--switch", &switch].into_iter().chain(more.iter().copied()).collect();
        self.without_switch(command, &more)
    }

    /// The same by a controller that does not know the switch.
    pub fn without_switch(&self, command: &str, more: &[&str]) -> Controller {
        self.between((&self.source, &self.destination), command, more)
    }

    /// The same between two programs of the caller's choice.
    pub fn between(
        &self,
        (from, to): (&Storage, &Storage),
        command: &str,
        more: &[&str],
    ) -> Controller {
        let (from, to) = (from.control().to_string(), to.control().to_string());
        let arguments = [command, VOLUME, "--from", &from, "--to", &to, "--json"];
        let arguments = arguments.iter().chain(more).map(|&argument| argument.to_owned());
        Controller::start(self.scratch.path(), &arguments.collect::<Vec<_>>())
    }

    /// Migrates the volume; that has to succeed.
    pub async fn migrate(&self, more: &[&str]) -> Outcome {
        self.controller("migrate", more).done().await
    }

    /// Waits until the destination has written so much.
    pub async fn until_copied(&self, bytes: u64) {
        let what = format!("reserved address at least {bytes}");
        self.destination.until(VOLUME, &what, |status| status.reserved_address >= bytes).await;
    }

    /// Waits until the destination owns the volume and every client goes there directly.
    pub async fn until_moved(&self) {
        self.destination.until_role(VOLUME, VolumeRole::Owner).await;
        self.switch.until_at(VOLUME, &self.destination.uri(VOLUME)).await;
    }

    /// Compares the two volume files byte by byte. Nothing may write meanwhile.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_equal(&self) {
        if let Err(difference) = compare(&self.file(), &self.copy()) {
            panic!("source and destination are not equal: {difference}");
        }
    }
}
