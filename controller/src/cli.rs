//! The command line: flags as the outside contract names them, and no more logic than their syntax.

use std::path::PathBuf;
use std::time::Duration;

use blockferry_block::{MIB, VolumeName};
use blockferry_control::log::LogFormat;
use blockferry_control::{ControlAddress, parse_rate, parse_size};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use blockferry_copier::LEAF;

/// Longest chunk in bytes: the largest payload that the storage programs accept.
const CHUNK_MAX: u64 = 32 * MIB;

/// Most writes without an answer: they all wait in the destination's memory.
const WINDOW_MAX: i64 = 64;

/// Moves a block volume from one storage server to another while its client reads and writes.
#[derive(Debug, Parser)]
#[command(name = "controller", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Settings as TOML, named like the flags; flags win.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Secret for control addresses that other machines reach, too.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace or off.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// How log lines look: text or json.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Print one JSON object a line.
    #[arg(long, global = true)]
    pub json: bool,
    /// Stops itself (SIGSTOP) when it comes to a label, for tests of crashes; may be repeated.
    #[arg(long, global = true, hide = true, value_name = "LABEL[:N]")]
    pub stop_at: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Move a volume; run again after any interruption, it continues.
    Migrate(MigrateArgs),
    /// Show where a volume and its migration stand.
    Status(Parties),
    /// End a hold: hand the volume over to the destination.
    Commit(CommitArgs),
    /// Stop the copy for now; clients are not concerned.
    Pause(Parties),
    /// Go on with a migration, whatever interrupted it, to its end.
    Resume(ResumeArgs),
    /// Give a migration up before its commit; the source stays the owner.
    Abort(Parties),
    /// Say when no client path goes through the source any more and it may be switched off.
    Retire(RetireArgs),
    /// Make the destination the owner because the source is lost for good.
    Promote(PromoteArgs),
    /// Compare both sides by reading them, while clients write.
    Verify(Parties),
    /// Show it all on this machine: a checked load moves with its volume, within a minute.
    Demo(DemoArgs),
}

/// The volume and the programs that know it.
#[derive(Clone, Debug, Args)]
pub struct Parties {
    /// The volume.
    pub name: VolumeName,
    /// Control address of the source: http://HOST:PORT or unix:/path.
    #[arg(long, value_name = "CONTROL")]
    pub from: Option<ControlAddress>,
    /// Control address of the destination.
    #[arg(long, value_name = "CONTROL")]
    pub to: Option<ControlAddress>,
    /// Control address of a switch that clients reach the volume through; may be repeated.
    #[arg(long, value_name = "CONTROL")]
    pub switch: Vec<ControlAddress>,
}

/// How to copy.
#[derive(Clone, Debug, Args)]
pub struct CopyArgs {
    /// Longest read and write, a multiple of 64K up to 32M [default: 2M, and up to 32M where the way to
    /// the destination is long].
    #[arg(long, value_name = "SIZE", value_parser = chunk)]
    pub chunk: Option<u64>,
    /// Writes sent without waiting for the completion of the one before [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=WINDOW_MAX))]
    pub window: Option<u32>,
    /// Most data copied a second, like 64M; holes cost nothing [default: no limit].
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub bandwidth: Option<u64>,
    /// The copy goes slower while the slowest hundredth of the clients' requests takes longer than this, but
    /// never so slow that it does not end [default: 5ms].
    #[arg(long, value_name = "TIME", value_parser = client_p99)]
    pub client_p99: Option<Duration>,
    /// Who carries the data: this program; the destination, which then reads from the source itself;
    /// or another tool, for which `external` prints the URIs and `resume` finishes [default: controller].
    #[arg(long, value_name = "WHO")]
    pub copier: Option<Copier>,
    /// Read back both sides and compare them before the commit.
    #[arg(long)]
    pub verify: bool,
    /// Stop when everything is equal, before the commit; `commit` goes on.
    #[arg(long)]
    pub hold_at_ready: bool,
}

/// Flags of the end of a migration.
#[derive(Clone, Debug, Args)]
pub struct FinishArgs {
    /// Where the certificate goes [default: blockferry-NAME-GENERATION.json here].
    #[arg(long, value_name = "PATH")]
    pub certificate: Option<PathBuf>,
}

/// `promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The volume and the programs.
    #[command(flatten)]
    pub parties: Parties,
    /// You know that the source is off and stays off: what it had acknowledged and not yet sent is
    /// lost, and a source that still served clients would make two volumes of one.
    #[arg(long, required = true)]
    pub source_is_lost: bool,
}

/// `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// The volume and the programs.
    #[command(flatten)]
    pub parties: Parties,
    /// How to copy.
    #[command(flatten)]
    pub copy: CopyArgs,
    /// The end.
    #[command(flatten)]
    pub finish: FinishArgs,
    /// When the destination cannot follow the client's writes: pause the copy, or throttle the
    /// client [default: pause].
    #[arg(long, value_name = "POLICY")]
    pub slow_destination: Option<SlowDestination>,
    /// Check everything, print the plan, change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The volume and the programs.
    #[command(flatten)]
    pub parties: Parties,
    /// How to copy what is left.
    #[command(flatten)]
    pub copy: CopyArgs,
    /// The end.
    #[command(flatten)]
    pub finish: FinishArgs,
}

/// `commit`.
#[derive(Debug, Args)]
pub struct CommitArgs {
    /// The volume and the programs.
    #[command(flatten)]
    pub parties: Parties,
    /// The end.
    #[command(flatten)]
    pub finish: FinishArgs,
}

/// `retire`.
#[derive(Debug, Args)]
pub struct RetireArgs {
    /// The volume and the programs.
    #[command(flatten)]
    pub parties: Parties,
    /// How long to wait for the last client path to leave.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Size of the volume.
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub size: u64,
    /// How long the load goes on after the volume has moved.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub seconds: u64,
}

/// What the source does when the destination cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlowDestination {
    /// The copy waits; the client runs at full speed.
    Pause,
    /// The client's writes wait for the destination.
    Throttle,
}

/// Who carries the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Copier {
    /// This program.
    #[default]
    Controller,
    /// The destination, which reads from the source; this program, where it cannot.
    Destination,
    /// Any NBD tool that writes in ascending order.
    External,
}

/// A chunk's length in bytes.
pub(crate) fn chunk(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    match bytes {
        0 => Err("a chunk has at least 64K".to_owned()),
        _ if bytes > CHUNK_MAX => Err("a chunk has at most 32M".to_owned()),
        _ if bytes % LEAF != 0 => Err("a chunk is a multiple of 64K".to_owned()),
        _ => Ok(bytes),
    }
}

/// How long the slowest hundredth of the clients' requests may take.
pub(crate) fn client_p99(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; name a time like 5ms"))?;
    match time {
        Duration::ZERO => Err("no request takes no time: name one like 5ms".to_owned()),
        _ => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_the_contract_is_taken() {
        let line = "controller migrate vol --from http://a:1 --to unix:/b --switch http://c:1 \
                    --switch unix:/d --chunk 4M --window 8 --bandwidth 64M --client-p99 5ms \
                    --slow-destination throttle --verify --hold-at-ready --copier external \
                    --dry-run --json --token-file t --config c.toml --log info";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Migrate(migrate) = cli.command else { panic!("another command") };
        assert_eq!(migrate.parties.switch.len(), 2);
        assert_eq!(migrate.copy.chunk, Some(4 * MIB));
        assert_eq!(migrate.copy.bandwidth, Some(64 * MIB));
        assert_eq!(migrate.copy.client_p99, Some(Duration::from_millis(5)));
        for name in ["status", "commit", "pause", "resume", "abort", "retire", "verify"] {
            let line = ["controller", name, "vol", "--from", "http://a:1", "--to", "http://b:1"];
            assert!(Cli::try_parse_from(line).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_cannot_work_is_bad_usage() {
        for bad in [
            "migrate a/b",
            "migrate vol --chunk 100K",
            "migrate vol --chunk 64M",
            "migrate vol --chunk 0",
            "migrate vol --window 0",
            "migrate vol --bandwidth 0",
            "migrate vol --client-p99 0s",
            "migrate vol --client-p99 soon",
            "migrate vol --from 127.0.0.1:80",
            "migrate vol --copier nobody",
            "migrate",
            "",
        ] {
            let line = std::iter::once("controller").chain(bad.split_whitespace());
            let error = Cli::try_parse_from(line).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::DisplayHelp, "{bad}");
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }
}
