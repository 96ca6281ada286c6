//! The storage program that owns a volume and moves it away. Both storage programs take both parts: a destination
//! is the next migration's source.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let args = cli::Args::parse();
    ExitCode::from(blockferry_server::main("target-src", args.storage).await)
}
