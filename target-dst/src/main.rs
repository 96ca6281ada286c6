//! The storage program that receives a volume and owns it afterwards. Both storage programs take both parts: a destination
//! is the next migration's source.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let args = cli::Args::parse();
    ExitCode::from(blockferry_server::main("target-dst", args.storage).await)
}
