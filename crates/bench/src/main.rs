//! `blockferry-bench`: see the library. Exits 0 when everything was measured, 1 when something could
//! not be, 2 on bad usage.

use std::process::ExitCode;

use blockferry_bench::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("blockferry-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
