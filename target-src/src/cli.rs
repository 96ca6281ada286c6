//! The command line.

use blockferry_server::Cli;
use clap::Parser;

/// Serves volumes over NBD and moves them away while their clients go on.
#[derive(Parser)]
#[command(name = "target-src", version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) storage: Cli,
}
