//! `blockferry-check`: keeps a volume busy and proves every answer; proves a journal later on.
//!
//! Exits 0 when nothing was wrong, 1 when something was or nothing could be checked, 2 on bad usage.

mod cli;
mod load;
mod open;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Load(arguments) => load::run(&arguments).await,
        Command::Verify(arguments) => verify::run(&arguments).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("blockferry-check: {error:#}");
            ExitCode::FAILURE
        }
    }
}
