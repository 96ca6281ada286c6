//! The controller as a program: flags, log, signals and the exit code.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use controller::cli::Cli;
use controller::{Outcome, Settings, Usage, exit_code, one_line, run};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let result = drive(Cli::parse()).await;
    match &result {
        Ok(Outcome::Done) => {}
        Ok(Outcome::Interrupted) => {
            eprintln!(
                "interrupted: nothing is lost; the same command (or resume) goes on from here"
            );
        }
        Err(error) => eprintln!("controller: {}", one_line(error)),
    }
    ExitCode::from(exit_code(&result))
}

async fn drive(cli: Cli) -> anyhow::Result<Outcome> {
    blockferry_label::stop_at(&cli.common.stop_at)
        .map_err(|error| Usage(format!("--stop-at: {error}")))?;
    let settings = Settings::load(&cli.common)?;
    blockferry_control::log::init(&settings.log.level, settings.log.format)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    run(cli, settings, shutdown).await
}
