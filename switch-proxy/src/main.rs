//! switch-proxy

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use switch_proxy::{Config, Flags, Part};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of bad usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = match configure() {
        Ok(config) => config,
        Err(error) => return fail(&error, USAGE),
    };
    let outcome = match config.part {
        Part::Keeper => keep(&config),
        Part::Worker => work(&config).map(|()| 0),
        Part::Alone => serve(&config).map(|()| 0),
    };
    outcome.map_or_else(|error| fail(&error, 1), ExitCode::from)
}

fn configure() -> Result<Config> {
    let config = Config::new(Flags::parse())?;
    blockferry_control::log::init(&config.log, config.log_format)?;
    blockferry_control::files::allow_all().context("the limit of open files")?;
    Ok(config)
}

/// One thread is enough to pass bytes on; and a worker ends with the thread that has started it.
#[tokio::main(flavor = "current_thread")]
async fn keep(config: &Config) -> Result<u8> {
    switch_proxy::keep(config).await
}

#[tokio::main]
async fn work(config: &Config) -> Result<()> {
    let shutdown = CancellationToken::new();
    end_on_signals(shutdown.clone())?;
    // A signal to all processes of the switch is meant for the keeper.
    ignore_hangups("it is for the keeper")?;
    switch_proxy::work(config, shutdown).await
}

#[tokio::main]
async fn serve(config: &Config) -> Result<()> {
    let shutdown = CancellationToken::new();
    end_on_signals(shutdown.clone())?;
    ignore_hangups("without a keeper no other process can take over")?;
    switch_proxy::run(config, shutdown).await
}

fn ignore_hangups(reason: &'static str) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::warn!("SIGHUP is ignored: {reason}");
        }
    });
    Ok(())
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
