//! blockferry's programs, started as a user starts them, on ports of the loopback interface.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child::{Server, free_port};

/// The volume's name.
pub(crate) const VOLUME: &str = "vol";

/// A storage program.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) server: Server,
    pub(crate) nbd: SocketAddr,
    pub(crate) control: SocketAddr,
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct StorageSpec<'a> {
    pub(crate) bin: &'a Path,
    /// `target-src` or `target-dst`.
    pub(crate) program: &'static str,
    /// A folder of its own: records, log and pool.
    pub(crate) folder: PathBuf,
    pub(crate) volumes: Vec<(String, PathBuf)>,
    /// The host that others are told to reach it at.
    pub(crate) advertise: Option<IpAddr>,
    /// Where it serves iSCSI, too.
    pub(crate) iscsi: Option<SocketAddr>,
    /// A program that it runs under, with its arguments.
    pub(crate) under: Vec<String>,
}

impl<'a> StorageSpec<'a> {
    /// A source with a volume.
    pub(crate) fn source(bin: &'a Path, folder: PathBuf, image: &Path) -> Self {
        let volumes = vec![(VOLUME.to_owned(), image.to_owned())];
        let (program, advertise) = ("target-src", None);
        Self { bin, program, folder, volumes, advertise, iscsi: None, under: Vec::new() }
    }

    /// A destination with an empty pool.
    pub(crate) fn destination(bin: &'a Path, folder: PathBuf) -> Self {
        let (program, volumes, advertise) = ("target-dst", Vec::new(), None);
        Self { bin, program, folder, volumes, advertise, iscsi: None, under: Vec::new() }
    }

    /// The same with iSCSI.
    pub(crate) fn with_iscsi(self, at: SocketAddr) -> Self {
        Self { iscsi: Some(at), ..self }
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn start(&self) -> Result<Storage> {
        let pool = self.folder.join("pool");
        std::fs::create_dir_all(&pool)
            .with_context(|| format!("cannot make {}", pool.display()))?;
        let (nbd, control) = (free_port()?, free_port()?);
        let mut command = under(&self.under, &self.bin.join(self.program));
        command.args(["--nbd", &nbd.to_string(), "--control", &control.to_string()]);
        command.arg("--state").arg(self.folder.join("state")).arg("--pool").arg(&pool);
        for (name, image) in &self.volumes {
            command.arg("--volume").arg(format!("{name}={}", image.display()));
        }
        if let Some(host) = self.advertise {
            command.args(["--advertise", &host.to_string()]);
        }
        if let Some(iscsi) = self.iscsi {
            command.args(["--iscsi", &iscsi.to_string()]);
        }
        let log = self.folder.join("log");
        let ports: Vec<SocketAddr> = [control, nbd].into_iter().chain(self.iscsi).collect();
        let server = Server::listening(self.program, &mut command, &log, &ports)?;
        Ok(Storage { server, nbd, control })
    }
}

/// The command that runs a program under another one.
pub(crate) fn under(wrapper: &[String], program: &Path) -> Command {
    match wrapper.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A switch.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) server: Server,
    pub(crate) nbd: SocketAddr,
    pub(crate) control: SocketAddr,
}

impl Switch {
    /// Starts one that leads to the volume at `upstream`.
    pub(crate) fn start(
        bin: &Path,
        folder: &Path,
        upstream: SocketAddr,
        more: &[&str],
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let (nbd, control) = (free_port()?, free_port()?);
        let mut command = Command::new(bin.join("switch-proxy"));
        command.args(["--listen", &nbd.to_string(), "--control", &control.to_string()]);
        command.arg("--state").arg(folder.join("state"));
        command.arg("--route").arg(format!("{VOLUME}=nbd://{upstream}/{VOLUME}"));
        command.args(more);
        let log = folder.join("log");
        let server = Server::listening("switch-proxy", &mut command, &log, &[control, nbd])?;
        Ok(Self { server, nbd, control })
    }
}
