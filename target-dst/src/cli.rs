//! The command line.

use blockferry_server::Cli;
use clap::Parser;

/// Receives volumes over NBD while their clients go on, and serves them afterwards.
#[derive(Parser)]
#[command(name = "target-dst", version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) storage: Cli,
}
