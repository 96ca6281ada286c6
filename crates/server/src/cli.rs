//! The command line and the configuration file of both storage programs.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use blockferry_control::ListenAddress;
use blockferry_net::Address;
use clap::Args;
use serde::Deserialize;

use crate::volumes::VolumeSpec;

/// Flags of a storage program. The configuration file has the same names; flags win.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Cli {
    /// Where NBD clients connect: HOST:PORT or unix:/path; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub nbd: Option<String>,
    /// Where iSCSI initiators connect: HOST:PORT; each volume is a target of its own
    #[arg(long, value_name = "ADDR")]
    pub iscsi: Option<String>,
    /// Where initiators reach this program, if that is not where other parties do: HOST, or
    /// HOST:PORT where the port is another, too
    #[arg(long, value_name = "HOST[:PORT]")]
    pub iscsi_advertise: Option<String>,
    /// Names and secrets of the initiators that may log in (TOML); everybody may without it
    #[arg(long, value_name = "FILE")]
    pub iscsi_accounts: Option<PathBuf>,
    /// Where the control API listens: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR")]
    pub control: Option<String>,
    /// Folder of the durable records
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Serves a file, block device, mem:SIZE or nbd:// URI under a name; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub volume: Vec<String>,
    /// Prepares a file, block device or nbd:// URI that exists already for a volume: a migration of
    /// it overwrites the old content, and nothing is served before; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub receive: Vec<String>,
    /// Serves the named volume read-only; may be repeated
    #[arg(long, value_name = "NAME")]
    pub read_only: Vec<String>,
    /// Folder in which volumes are created that are asked for
    #[arg(long, value_name = "DIR")]
    pub pool: Option<PathBuf>,
    /// Name by which other parties reach this program
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Secret of the control API; needed where it listens beyond loopback and unix sockets
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Log level: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Log format: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Commits protocol faults on purpose, for tests of checkers: claim-without-waiting,
    /// skip-mirror, mirror-above-reserved, forget-dirty, skip-flush, forget-disk
    #[arg(long, hide = true, value_name = "FAULT")]
    #[serde(skip)]
    pub seed_fault: Vec<String>,
    /// Stops itself (SIGSTOP) when it comes to a label, for tests of crashes; may be repeated
    #[arg(long, hide = true, value_name = "LABEL[:N]")]
    #[serde(skip)]
    pub stop_at: Vec<String>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) nbd: Address,
    pub(crate) iscsi: Option<Address>,
    pub(crate) iscsi_advertise: Option<String>,
    pub(crate) iscsi_accounts: Option<PathBuf>,
    pub(crate) control: ListenAddress,
    pub(crate) state: PathBuf,
    pub(crate) volumes: Vec<VolumeSpec>,
    pub(crate) receive: Vec<VolumeSpec>,
    pub(crate) pool: Option<PathBuf>,
    pub(crate) advertise: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) faults: blockferry_migration::Faults,
}

/// Bad flags or a bad configuration file: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct UsageError(anyhow::Error);

impl Cli {
    /// These flags over those of the configuration file.
    ///
    /// # Errors
    /// [`UsageError`] when the file cannot be read or has a key that does not exist.
    pub fn with_file(self) -> Result<Self, UsageError> {
        let Some(path) = &self.config else { return Ok(self) };
        let read = || -> Result<Self> {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the configuration {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("the configuration {}", path.display()))
        };
        let file = read().map_err(UsageError)?;
        Ok(Self {
            nbd: self.nbd.or(file.nbd),
            iscsi: self.iscsi.or(file.iscsi),
            iscsi_advertise: self.iscsi_advertise.or(file.iscsi_advertise),
            iscsi_accounts: self.iscsi_accounts.or(file.iscsi_accounts),
            control: self.control.or(file.control),
            state: self.state.or(file.state),
            volume: if self.volume.is_empty() { file.volume } else { self.volume },
            receive: if self.receive.is_empty() { file.receive } else { self.receive },
            read_only: if self.read_only.is_empty() { file.read_only } else { self.read_only },
            pool: self.pool.or(file.pool),
            advertise: self.advertise.or(file.advertise),
            token_file: self.token_file.or(file.token_file),
            config: self.config,
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
            seed_fault: self.seed_fault,
            stop_at: self.stop_at,
        })
    }

    pub(crate) fn check(self) -> Result<Config, UsageError> {
        self.checked().map_err(UsageError)
    }

    fn checked(self) -> Result<Config> {
        blockferry_label::stop_at(&self.stop_at).context("--stop-at")?;
        let nbd = self.nbd.context("--nbd ADDR is needed: where NBD clients connect")?;
        let control = self.control.context("--control ADDR is needed: the control API")?;
        let state = self.state.context("--state DIR is needed: the folder of durable records")?;
        let mut volumes = parse_volumes("--volume", &self.volume)?;
        let receive = parse_volumes("--receive", &self.receive)?;
        if let Some(spec) = receive.iter().find(|r| volumes.iter().any(|v| v.name == r.name)) {
            let name = &spec.name;
            bail!("--receive {name}: --volume {name} serves it; give one of the two");
        }
        for name in &self.read_only {
            let found = volumes.iter_mut().find(|spec| spec.name.as_str() == name);
            let found = found.with_context(|| format!("--read-only {name}: no such --volume"))?;
            found.read_only = true;
        }
        Ok(Config {
            nbd: nbd.parse().context("--nbd")?,
            iscsi: self.iscsi.map(|address| address.parse().context("--iscsi")).transpose()?,
            iscsi_advertise: self.iscsi_advertise,
            iscsi_accounts: self.iscsi_accounts,
            control: control.parse().context("--control")?,
            state,
            volumes,
            receive,
            pool: self.pool,
            advertise: self.advertise,
            token_file: self.token_file,
            faults: parse_faults(&self.seed_fault)?,
        })
    }
}

fn parse_volumes(flag: &str, texts: &[String]) -> Result<Vec<VolumeSpec>> {
    let mut specs: Vec<VolumeSpec> = Vec::new();
    for text in texts {
        let spec = parse_volume(text).with_context(|| format!("{flag} {text}"))?;
        if specs.iter().any(|other| other.name == spec.name) {
            bail!("{flag} {}: the name is given twice", spec.name);
        }
        specs.push(spec);
    }
    Ok(specs)
}

fn parse_volume(text: &str) -> Result<VolumeSpec> {
    let (name, backing) = text.split_once('=').context("expected NAME=PATH")?;
    Ok(VolumeSpec { name: name.parse()?, backing: backing.to_owned(), read_only: false })
}

fn parse_faults(names: &[String]) -> Result<blockferry_migration::Faults> {
    let mut faults = blockferry_migration::Faults::default();
    for name in names {
        match name.as_str() {
            "claim-without-waiting" => faults.claim_without_waiting = true,
            "skip-mirror" => faults.skip_mirror = true,
            "mirror-above-reserved" => faults.mirror_above_reserved = true,
            "forget-dirty" => faults.forget_dirty = true,
            "skip-flush" => faults.skip_flush = true,
            "forget-disk" => faults.forget_disk = true,
            other => bail!("--seed-fault {other}: no such fault"),
        }
    }
    Ok(faults)
}
