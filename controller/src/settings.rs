//! Flags and the file of `--config` made one: flags win, then the file, then the defaults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use blockferry_control::log::LogFormat;
use blockferry_control::{BearerToken, ControlAddress, parse_rate};
use blockferry_copier::Manner;
use serde::Deserialize;

use crate::cli::{self, Common, Copier, CopyArgs, Parties, SlowDestination};
use crate::outcome::Usage;

/// The file: every key is a flag's name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    from: Option<ControlAddress>,
    to: Option<ControlAddress>,
    #[serde(default)]
    switch: Vec<ControlAddress>,
    chunk: Option<String>,
    window: Option<u32>,
    bandwidth: Option<String>,
    client_p99: Option<String>,
    copier: Option<Copier>,
    slow_destination: Option<SlowDestination>,
    verify: Option<bool>,
    certificate: Option<PathBuf>,
    token_file: Option<PathBuf>,
    log: Option<String>,
    log_format: Option<String>,
}

/// How a migration is to be driven.
#[derive(Clone, Debug)]
pub(crate) struct Driving {
    /// How to copy.
    pub(crate) manner: Manner,
    /// Who carries the data.
    pub(crate) copier: Copier,
    /// Bytes of data a second.
    pub(crate) bandwidth: Option<u64>,
    /// How long the slowest hundredth of the clients' requests may take before the copy goes slower.
    pub(crate) client_p99: Option<Duration>,
    /// Compare both sides before the commit.
    pub(crate) verify: bool,
    /// Stop before the commit.
    pub(crate) hold: bool,
    /// Where the certificate goes.
    pub(crate) certificate: Option<PathBuf>,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level or filter.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// Everything that a command needs besides its own flags.
#[derive(Debug)]
pub struct Settings {
    file: File,
    /// The secret for control addresses.
    pub(crate) token: Option<BearerToken>,
    /// The log.
    pub log: Log,
}

impl Settings {
    /// Reads the file and the secret that the flags name.
    ///
    /// # Errors
    /// When one of them cannot be read or makes no sense.
    pub fn load(common: &Common) -> anyhow::Result<Self> {
        let file = common.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let token_file = common.token_file.as_ref().or(file.token_file.as_ref());
        let token = token_file.map(|path| BearerToken::read(path)).transpose()?;
        let level = common.log.clone().or_else(|| file.log.clone());
        let in_file = file.log_format.as_deref().map(str::parse).transpose()?;
        let log = Log {
            level: level.unwrap_or_else(|| "warn".to_owned()),
            format: common.log_format.or(in_file).unwrap_or_default(),
        };
        Ok(Self { file, token, log })
    }

    /// The address of the source.
    pub(crate) fn from(&self, parties: &Parties) -> anyhow::Result<ControlAddress> {
        required("--from", parties.from.as_ref().or(self.file.from.as_ref()))
    }

    /// The address of the destination.
    pub(crate) fn to(&self, parties: &Parties) -> anyhow::Result<ControlAddress> {
        required("--to", parties.to.as_ref().or(self.file.to.as_ref()))
    }

    /// The addresses of the switches.
    pub(crate) fn switches(&self, parties: &Parties) -> Vec<ControlAddress> {
        match parties.switch.is_empty() {
            true => self.file.switch.clone(),
            false => parties.switch.clone(),
        }
    }

    /// How to drive, from flags and file.
    pub(crate) fn driving(
        &self,
        copy: &CopyArgs,
        certificate: Option<&PathBuf>,
    ) -> anyhow::Result<Driving> {
        let chunk = copy.chunk.map_or_else(|| self.chunk(), |chunk| Ok(Some(chunk)))?;
        let bandwidth = copy.bandwidth.map_or_else(|| self.bandwidth(), |rate| Ok(Some(rate)))?;
        let manner = Manner::default();
        let window = copy.window.or(self.file.window).unwrap_or(1);
        Ok(Driving {
            manner: Manner::new(
                chunk.unwrap_or(manner.chunk),
                chunk.unwrap_or(manner.chunk_max),
                window,
            ),
            copier: copy.copier.or(self.file.copier).unwrap_or_default(),
            bandwidth,
            client_p99: copy.client_p99.map_or_else(|| self.client_p99(), |p99| Ok(Some(p99)))?,
            verify: copy.verify || self.file.verify.unwrap_or(false),
            hold: copy.hold_at_ready,
            certificate: certificate.or(self.file.certificate.as_ref()).cloned(),
        })
    }

    /// How to drive where the command has no flags for the copy.
    pub(crate) fn finishing(&self, certificate: Option<&PathBuf>) -> anyhow::Result<Driving> {
        let copy = CopyArgs {
            chunk: None,
            window: None,
            copier: None,
            bandwidth: None,
            client_p99: None,
            verify: false,
            hold_at_ready: false,
        };
        self.driving(&copy, certificate)
    }

    /// The policy for a destination that cannot follow.
    pub(crate) fn slow_destination(&self, flag: Option<SlowDestination>) -> SlowDestination {
        flag.or(self.file.slow_destination).unwrap_or(SlowDestination::Pause)
    }

    fn chunk(&self) -> anyhow::Result<Option<u64>> {
        let parse = |text| cli::chunk(text).map_err(|error| anyhow!(Usage(error)));
        self.file.chunk.as_deref().map(parse).transpose()
    }

    fn bandwidth(&self) -> anyhow::Result<Option<u64>> {
        let parse = |text| parse_rate(text).map_err(|error| anyhow!(Usage(error.to_string())));
        self.file.bandwidth.as_deref().map(parse).transpose()
    }

    fn client_p99(&self) -> anyhow::Result<Option<Duration>> {
        let parse = |text| cli::client_p99(text).map_err(|error| anyhow!(Usage(error)));
        self.file.client_p99.as_deref().map(parse).transpose()
    }
}

fn required(flag: &str, address: Option<&ControlAddress>) -> anyhow::Result<ControlAddress> {
    address.cloned().ok_or_else(|| {
        anyhow!(Usage(format!("{flag} CONTROL is missing (http://HOST:PORT or unix:/path)")))
    })
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        anyhow!(Usage(format!("the configuration file {}: {line}", path.display())))
    })
}

#[cfg(test)]
mod tests {
    use blockferry_block::MIB;
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    const FILE: &str = "from = \"http://file:1\"\nto = \"unix:/t\"\nswitch = [\"http://s:1\"]\n\
                        chunk = \"4M\"\nbandwidth = \"1M\"\nclient-p99 = \"5ms\"\nslow-destination = \"throttle\"\n\
                        copier = \"destination\"\n";

    fn load(file: &str, flags: &str) -> anyhow::Result<(Settings, cli::MigrateArgs)> {
        let config = tempfile::NamedTempFile::new()?;
        std::fs::write(config.path(), file)?;
        let path = config.path().to_str().expect("a readable path");
        let line = format!("controller migrate vol --config {path} {flags}");
        let cli = Cli::try_parse_from(line.split_whitespace())?;
        let settings = Settings::load(&cli.common)?;
        let Command::Migrate(migrate) = cli.command else { unreachable!("it was parsed above") };
        Ok((settings, migrate))
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let (settings, args) = load(FILE, "--from http://flag:1 --chunk 1M").unwrap();
        assert_eq!(settings.from(&args.parties).unwrap().to_string(), "http://flag:1");
        assert_eq!(settings.to(&args.parties).unwrap().to_string(), "unix:/t");
        assert_eq!(settings.switches(&args.parties).len(), 1);
        let driving = settings.driving(&args.copy, None).unwrap();
        assert_eq!(
            driving.manner,
            Manner { chunk: MIB, chunk_max: MIB, window: 1, chunks_ahead: 2 }
        );
        assert_eq!(driving.bandwidth, Some(MIB));
        assert_eq!(driving.copier, Copier::Destination);
        assert_eq!(driving.client_p99, Some(Duration::from_millis(5)));
        assert_eq!(settings.slow_destination(None), SlowDestination::Throttle);
    }

    #[test]
    fn a_key_that_no_flag_has_is_refused_in_one_line() {
        let error = load("chnk = \"4M\"\n", "").err().map(|error| error.to_string());
        let error = error.expect("it was accepted");
        assert!(error.contains("chnk") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_missing_address_is_bad_usage() {
        let (settings, args) = load("", "").unwrap();
        let error = settings.from(&args.parties).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("--from"));
    }

    #[test]
    fn a_chunk_in_the_file_obeys_the_same_rule_as_the_flag() {
        let (settings, args) = load("chunk = \"100K\"\n", "").unwrap();
        assert!(settings.driving(&args.copy, None).unwrap_err().is::<Usage>());
    }
}
