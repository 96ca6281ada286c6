//! switch-proxy

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use switch_proxy::{Config, Flags};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of bad usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = match configure() {
        Ok(config) => config,
        Err(error) => return fail(&error, USAGE),
    };
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn configure() -> Result<Config> {
    let config = Config::new(Flags::parse())?;
    blockferry_control::log::init(&config.log, config.log_format)?;
    Ok(config)
}

#[tokio::main]
async fn serve(config: &Config) -> Result<()> {
    let shutdown = CancellationToken::new();
    end_on_signals(shutdown.clone())?;
    switch_proxy::run(config, shutdown).await
}

fn end_on_signals(shutdown: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending: no more requests are taken, those under way are answered");
        shutdown.cancel();
    });
    Ok(())
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("switch-proxy: {error:#}");
    ExitCode::from(code)
}
