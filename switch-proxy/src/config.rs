//! The settings, from flags and a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use blockferry_control::ListenAddress;
use blockferry_control::log::LogFormat;
use blockferry_net::Address;
use blockferry_path::PathOptions;
use clap::Parser;
use serde::Deserialize;

use crate::route_spec::RouteSpec;

/// As good as forever, and still a time that can be added to a clock.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Keeps the clients' connections while their volumes change servers.
#[derive(Debug, Default, Parser)]
#[command(name = "switch-proxy", version)]
pub struct Flags {
    /// Where NBD clients connect: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where iSCSI initiators connect, too: HOST:PORT
    #[arg(long, value_name = "ADDR")]
    iscsi: Option<String>,
    /// Where initiators reach the switch, if that is not where others do: HOST, or HOST:PORT where the
    /// port is another, too
    #[arg(long, value_name = "HOST[:PORT]")]
    iscsi_advertise: Option<String>,
    /// Where the control API listens: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR")]
    control: Option<String>,
    /// Folder for what must survive a restart
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Export that clients see, and where its volume is: NAME=nbd://HOST:PORT/EXPORT, and for iSCSI
    /// NAME=iscsi://HOST:PORT (repeatable)
    #[arg(long, value_name = "NAME=URI")]
    route: Vec<String>,
    /// Name by which other parties reach this host
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// How long a client's request is held before it is answered with an error, like 10m; 0 for ever
    #[arg(long, value_name = "TIME")]
    client_timeout: Option<String>,
    /// File with the secret of the control API
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Serve in this process, with which clients lose their connections; no record is kept
    #[arg(long)]
    no_keeper: bool,
    /// Commits a fault on purpose, for tests of checkers: replay-answered
    #[arg(long, hide = true, value_name = "FAULT")]
    seed_fault: Option<String>,
    /// Be the worker of the keeper that has started this
    #[arg(long, hide = true)]
    worker: bool,
    /// Settings under the names of these flags, as TOML; flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// error, warn, info, debug, trace or off
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Stops itself (SIGSTOP) when it comes to a label, for tests of crashes; may be repeated
    #[arg(long, hide = true, value_name = "LABEL[:N]")]
    stop_at: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    listen: Option<String>,
    iscsi: Option<String>,
    iscsi_advertise: Option<String>,
    control: Option<String>,
    state: Option<PathBuf>,
    #[serde(default)]
    route: Vec<String>,
    advertise: Option<String>,
    client_timeout: Option<String>,
    token_file: Option<PathBuf>,
    keeper: Option<bool>,
    log: Option<String>,
    log_format: Option<String>,
}

/// Which process of a switch this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It has the clients' sockets, and starts the worker.
    Keeper,
    /// It serves the clients of its keeper.
    Worker,
    /// It is the only one.
    Alone,
}

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: Address,
    /// Where initiators connect, if they can.
    pub iscsi: Option<Address>,
    /// Where they reach the switch, if that is not where others do: HOST or HOST:PORT.
    pub iscsi_advertise: Option<String>,
    /// Where the control API listens.
    pub control: ListenAddress,
    /// Folder of the journal.
    pub state: PathBuf,
    /// Routes that there are from the start.
    pub routes: Vec<RouteSpec>,
    /// This host's name for others.
    pub advertise: Option<String>,
    /// How long a request is held before its client is told an error.
    pub client_timeout: Duration,
    /// File with the secret of the control API.
    pub token_file: Option<PathBuf>,
    /// Which process this is.
    pub part: Part,
    /// Tell workers also what others have answered: a fault, to see whether it is found.
    pub replay_answered: bool,
    /// The log's level or filter.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Config {
    /// The settings that the flags and their file make together.
    ///
    /// # Errors
    /// What is missing or makes no sense, and what was expected.
    pub fn new(flags: Flags) -> Result<Self> {
        blockferry_label::stop_at(&flags.stop_at).context("--stop-at")?;
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let listen = required("listen", flags.listen.or(file.listen))?;
        let control = required("control", flags.control.or(file.control))?;
        let state = required("state", flags.state.or(file.state))?;
        let routes = if flags.route.is_empty() { file.route } else { flags.route };
        let timeout = flags.client_timeout.or(file.client_timeout);
        let format = flags.log_format.or(file.log_format);
        let part = match flags.no_keeper || file.keeper == Some(false) {
            _ if flags.worker => Part::Worker,
            true => Part::Alone,
            false => Part::Keeper,
        };
        let iscsi = flags.iscsi.or(file.iscsi);
        Ok(Self {
            listen: listen.parse().context("--listen")?,
            iscsi: iscsi.map(|address| address.parse()).transpose().context("--iscsi")?,
            iscsi_advertise: flags.iscsi_advertise.or(file.iscsi_advertise),
            control: control.parse().context("--control")?,
            state,
            routes: RouteSpec::all(&routes)?,
            advertise: flags.advertise.or(file.advertise),
            client_timeout: timeout
                .as_deref()
                .map(client_timeout)
                .transpose()?
                .unwrap_or(PathOptions::CLIENT_TIMEOUT),
            token_file: flags.token_file.or(file.token_file),
            part,
            replay_answered: flags.seed_fault.as_deref().map(parse_fault).transpose()?.is_some(),
            log: flags.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            log_format: format.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
        })
    }
}

fn parse_fault(name: &str) -> Result<()> {
    if name == "replay-answered" { Ok(()) } else { bail!("--seed-fault {name}: no such fault") }
}

fn read(path: &Path) -> Result<File> {
    let text = fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("--config {}", path.display()))
}

fn required<T>(name: &str, value: Option<T>) -> Result<T> {
    value.with_context(|| format!("--{name} is missing: give it as a flag or in the --config file"))
}

fn client_timeout(text: &str) -> Result<Duration> {
    if text == "0" {
        return Ok(FOREVER);
    }
    let time = humantime::parse_duration(text)
        .with_context(|| format!("--client-timeout {text:?}: expected a time like 10m, or 0"))?;
    Ok(if time.is_zero() { FOREVER } else { time.min(FOREVER) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str], file: &str) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("switch.toml");
        fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let start = ["switch-proxy", "--config", path];
        Config::new(Flags::try_parse_from(start.iter().chain(flags))?)
    }

    const FILE: &str = r#"
        listen = "127.0.0.1:0"
        control = "unix:/run/switch"
        state = "/var/lib/switch"
        route = ["vol=nbd://127.0.0.1:1/a"]
        client-timeout = "0"
    "#;

    #[test]
    fn flags_win_over_the_file() {
        let config = config(&["--route", "x=nbd://h/y", "--log", "debug"], FILE).unwrap();
        assert_eq!(config.routes, ["x=nbd://h/y".parse().unwrap()]);
        assert_eq!((config.log.as_str(), config.client_timeout), ("debug", FOREVER));
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        assert_eq!(config.part, Part::Keeper);
    }

    #[test]
    fn a_switch_may_do_without_a_keeper() {
        assert_eq!(config(&["--no-keeper"], FILE).unwrap().part, Part::Alone);
        assert_eq!(config(&[], &format!("{FILE}keeper = false")).unwrap().part, Part::Alone);
        assert_eq!(config(&["--worker"], FILE).unwrap().part, Part::Worker);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_was_expected() {
        for (flags, word) in [
            (&["--route", "vol"][..], "NAME=nbd://"),
            (&["--client-timeout", "soon"], "10m"),
            (&["--iscsi", "nowhere"], "HOST:PORT"),
            (&["--listen", "nowhere"], "HOST:PORT"),
        ] {
            let error = format!("{:#}", config(flags, FILE).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
        assert!(format!("{:#}", config(&[], "").unwrap_err()).contains("--listen is missing"));
        assert!(config(&[], "listne = 'x'").is_err());
    }
}
