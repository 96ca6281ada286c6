//! The command line.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::{self, Place, Plan};
use crate::interrupt;
use crate::load::{End, Load, Pattern};
use crate::record::{self, Part};
use crate::report;

/// Measures blockferry beside its peers on one machine.
#[derive(Debug, Parser)]
#[command(name = "blockferry-bench", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and write the page with its charts.
    Run(RunArguments),
    /// Make the page and its charts again from results, also of several runs.
    Report(ReportArguments),
    /// Keep a volume busy at the least cost, and print what came of it; overwrites what is there.
    Load(LoadArguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Only these parts.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// How often everything is measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One short round with small volumes: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Where the page `benchmarks.md` and the folder `benchmarks` go [default: docs; target/bench
    /// with --quick].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where results are added [default: benchmarks/results.jsonl in DIR of --out].
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Folder of blockferry's programs.
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    bin: PathBuf,
    /// Folder on a disk, for volumes.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    disk: PathBuf,
    /// Folder in memory, for volumes.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    tmpfs: PathBuf,
    /// Folder of peers that `dev/bench` unpacks and does not install.
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    peers: PathBuf,
    /// Where volumes lie that are only served, from the page cache.
    #[arg(long, value_name = "PLACE", value_delimiter = ',', default_value = "disk")]
    serve_on: Vec<Place>,
}

#[derive(Debug, Args)]
struct ReportArguments {
    /// Results of runs.
    #[arg(required = true, value_name = "RESULTS")]
    results: Vec<PathBuf>,
    /// Where the page `benchmarks.md` and the folder `benchmarks` go.
    #[arg(long, value_name = "DIR", default_value = "docs")]
    out: PathBuf,
    /// Leave rounds out before which the machine was busy.
    #[arg(long)]
    quiet_only: bool,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// The volume: nbd://ADDRESS:PORT/EXPORT
    #[arg(value_name = "URI")]
    uri: NbdUri,
    /// Which requests.
    #[arg(long, value_name = "PATTERN", default_value = "random-read")]
    pattern: Pattern,
    /// Bytes of a request.
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    block: u32,
    /// Requests under way on each connection.
    #[arg(long, value_name = "N", default_value_t = 32)]
    depth: usize,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// Requests a second, all connections together [default: no limit].
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How long.
    #[arg(long, value_name = "S", default_value_t = 3)]
    seconds: u64,
}

/// Does what was asked for; false when something could not be measured.
///
/// # Errors
/// When nothing could be measured or written.
pub fn run(cli: Cli) -> Result<bool> {
    match cli.command {
        Command::Run(arguments) => measure(&arguments),
        Command::Report(arguments) => {
            let records = record::read_all(&arguments.results)?;
            report::write(&records, &arguments.out, arguments.quiet_only)?;
            Ok(true)
        }
        Command::Load(arguments) => load(&arguments),
    }
}

fn measure(arguments: &RunArguments) -> Result<bool> {
    allow_many_files()?;
    interrupt::watch()?;
    let by_default = if arguments.quick { "target/bench" } else { "docs" };
    let out = arguments.out.clone().unwrap_or_else(|| by_default.into());
    let results = arguments.results.clone();
    let results = results.unwrap_or_else(|| out.join("benchmarks/results.jsonl"));
    if let Some(folder) = results.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let bin = arguments.bin.canonicalize();
    let bin = bin.with_context(|| format!("no programs in {}", arguments.bin.display()))?;
    let every = Part::value_variants().to_vec();
    let plan = Plan {
        bin,
        disk: arguments.disk.clone(),
        tmpfs: arguments.tmpfs.clone(),
        peers: arguments.peers.clone(),
        serve_on: arguments.serve_on.clone(),
        parts: if arguments.only.is_empty() { every } else { arguments.only.clone() },
        rounds: if arguments.quick { 1 } else { arguments.rounds },
        quick: arguments.quick,
    };
    let failed = bench::run(&plan, &results)?;
    report::write(&record::read_all(&[&results])?, &out, false)?;
    if failed > 0 {
        eprintln!("blockferry-bench: {failed} measurements failed: see {}", results.display());
    }
    Ok(failed == 0)
}

/// A thousand clients need more files than a process has by default; children inherit the limit.
fn allow_many_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("cannot raise the limit of open files")
}

fn load(arguments: &LoadArguments) -> Result<bool> {
    let Address::Tcp(host, port) = &arguments.uri.address else {
        bail!("the load goes over TCP: nbd://ADDRESS:PORT/EXPORT");
    };
    let server = format!("{host}:{port}").parse().context("expected an IP address and a port")?;
    let load = Load {
        depth: arguments.depth,
        connections: arguments.connections,
        end: End::After(Duration::from_secs(arguments.seconds)),
        rate: arguments.rate,
        ..Load::new(server, &arguments.uri.export, arguments.pattern, arguments.block)
    };
    let outcome = load.run(&AtomicBool::new(false))?;
    let microseconds = |share| outcome.times.value_at_quantile(share) as f64 / 1e3;
    let figures = serde_json::json!({
        "seconds": outcome.seconds,
        "requests": outcome.total(),
        "iops": outcome.iops(),
        "p50_us": microseconds(0.5),
        "p99_us": microseconds(0.99),
        "longest_us": microseconds(1.0),
    });
    println!("{figures}");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parts_are_chosen_by_their_names() {
        let cli = Cli::try_parse_from(["x", "run", "--only", "idle-cost,serve"]).unwrap();
        let Command::Run(arguments) = cli.command else { panic!("another command") };
        assert_eq!(arguments.only, [Part::IdleCost, Part::Serve]);
        assert!(Cli::try_parse_from(["x", "run", "--rounds", "0"]).is_err());
    }
}
