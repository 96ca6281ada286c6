//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_checker::{Initial, LoadConfig, Mix, Tearing};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::open::VolumeUri;

/// Keeps a network block volume busy and proves every answer.
#[derive(Debug, Parser)]
#[command(name = "blockferry-check", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put a checked load on a volume; overwrites what is there.
    Load(LoadArguments),
    /// Prove that a volume at rest holds what a load has left.
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// The volume: nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH or iscsi://HOST:PORT/TARGET/0.
    /// Several are different paths to the same volume, and the connections take turns.
    #[arg(required = true, value_name = "URI")]
    pub(crate) uris: Vec<VolumeUri>,
    /// Connections in all; one for each URI where not given.
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<usize>,
    /// Requests under way on each connection.
    #[arg(long, value_name = "N", default_value_t = 8)]
    depth: u32,
    /// Bytes of a request: SIZE, or SMALLEST..LARGEST.
    #[arg(long, value_name = "RANGE", value_parser = sizes, default_value = "4K..64K")]
    size: (u64, u64),
    /// Use only this part of the volume, in bytes: START..END.
    #[arg(long, value_name = "RANGE", value_parser = span)]
    span: Option<Extent>,
    /// Bytes of a block, which is checked as a whole.
    #[arg(long, value_name = "SIZE", value_parser = block_size, default_value = "4K")]
    block: u32,
    /// Begin and end requests at any byte.
    #[arg(long)]
    unaligned: bool,
    /// End after so many seconds; without it and --operations at SIGINT or SIGTERM.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
    /// End after so many requests.
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    /// The same seed sends the same requests.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Parts of each kind of request; those that are not named are not sent. TRIM must make zeroes.
    #[arg(
        long,
        value_name = "KIND=N,...",
        value_parser = mix,
        default_value = "read=45,write=45,zero=4,trim=4,flush=2"
    )]
    mix: Mix,
    /// Percentage of writes that must be durable before the answer.
    #[arg(long, value_name = "PERCENT", default_value_t = 2, value_parser = percent())]
    fua: u32,
    /// Percentage of requests that go to the hot spot in the middle, where they meet.
    #[arg(long, value_name = "PERCENT", default_value_t = 30, value_parser = percent())]
    hot: u32,
    /// Length of the hot spot.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1M")]
    hot_size: u64,
    /// Requests a second in all.
    #[arg(long, value_name = "IOPS")]
    rate: Option<u32>,
    /// Write all of the span once first.
    #[arg(long)]
    fill: bool,
    /// What is on the volume.
    #[arg(long, value_enum, default_value = "unknown")]
    initial: InitialArgument,
    /// Accept no torn block, not even in a read that meets a write.
    #[arg(long)]
    atomic_blocks: bool,
    /// Seconds after which a request without an answer has failed.
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "60")]
    request_timeout: Duration,
    /// Write here what every block may hold at the end.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print a line a second on stderr.
    #[arg(long)]
    pub(crate) progress: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InitialArgument {
    Unknown,
    Zero,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The journal of the load.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: PathBuf,
    /// The volume: an NBD URI, or a raw image file.
    #[arg(value_name = "URI|FILE")]
    pub(crate) volume: String,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl LoadArguments {
    /// The load that was asked for.
    pub(crate) fn config(&self) -> LoadConfig {
        LoadConfig {
            seed: self.seed,
            run: None,
            depth: self.depth,
            span: self.span,
            block_size: self.block,
            request_bytes: self.size,
            unaligned: self.unaligned,
            mix: self.mix,
            fua_per_mille: 10 * self.fua,
            hot_per_mille: 10 * self.hot,
            hot_bytes: self.hot_size,
            fill: self.fill,
            initial: match self.initial {
                InitialArgument::Unknown => Initial::Unknown,
                InitialArgument::Zero => Initial::Zero,
            },
            tearing: match self.atomic_blocks {
                true => Tearing::Never,
                false => Tearing::BesideWrites,
            },
            rate: self.rate,
            operations: self.operations,
            request_timeout: self.request_timeout,
        }
    }
}

fn percent() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=100)
}

fn size(text: &str) -> Result<u64, String> {
    let parser = parse_size::Config::new().with_binary();
    parser.parse_size(text).map_err(|error| error.to_string())
}

fn block_size(text: &str) -> Result<u32, String> {
    u32::try_from(size(text)?).map_err(|_| "a block is at most 64K".to_owned())
}

fn sizes(text: &str) -> Result<(u64, u64), String> {
    match text.split_once("..") {
        Some((least, most)) => Ok((size(least)?, size(most)?)),
        None => size(text).map(|size| (size, size)),
    }
}

fn span(text: &str) -> Result<Extent, String> {
    let (start, end) = text.split_once("..").ok_or("expected START..END")?;
    Ok(Extent::between(size(start)?, size(end)?))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn mix(text: &str) -> Result<Mix, String> {
    let mut mix = Mix { read: 0, write: 0, write_zeroes: 0, trim: 0, flush: 0 };
    for part in text.split(',') {
        let (kind, number) = part.split_once('=').ok_or("expected KIND=N,...")?;
        let number = number.parse().map_err(|_| format!("{number:?} is no number of parts"))?;
        match kind {
            "read" => mix.read = number,
            "write" => mix.write = number,
            "zero" => mix.write_zeroes = number,
            "trim" => mix.trim = number,
            "flush" => mix.flush = number,
            _ => return Err(format!("{kind:?} is none of read, write, zero, trim, flush")),
        }
    }
    Ok(mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_command_line_are_those_of_the_library() {
        let cli = Cli::parse_from(["blockferry-check", "load", "nbd://localhost/vol"]);
        let Command::Load(arguments) = cli.command else { panic!("load was asked for") };
        assert_eq!(arguments.config(), LoadConfig::default());
    }

    #[test]
    fn ranges_and_mixes_are_read_and_nonsense_is_refused() {
        assert_eq!(sizes("4K..1M"), Ok((4096, 1 << 20)));
        assert_eq!(sizes("512"), Ok((512, 512)));
        assert_eq!(span("0..1G"), Ok(Extent::between(0, 1 << 30)));
        assert_eq!(mix("read=1,zero=2").map(|mix| (mix.read, mix.write_zeroes)), Ok((1, 2)));
        for bad in ["", "read", "read=x", "reed=1"] {
            assert!(mix(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(span("4K").is_err());
        assert!(seconds("-1").is_err());
    }
}
