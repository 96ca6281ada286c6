//! `blockferry-check load`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use blockferry_checker::{Load, LoadHandle, Report};
use blockferry_device::Device;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::LoadArguments;
use crate::open::Opener;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct JsonReport<'a> {
    clean: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// Runs the load and prints its report; `true` when nothing was wrong.
pub(crate) async fn run(arguments: &LoadArguments) -> anyhow::Result<bool> {
    let load = Load::start(connect(arguments).await?, arguments.config())?;
    tokio::select! {
        ended = wait(&load, arguments) => ended?,
        () = show_progress(&load), if arguments.progress => {}
    }
    let report = load.stop().await;
    if arguments.json {
        let report = JsonReport { clean: report.is_clean(), report: &report };
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    if let Some(path) = &arguments.journal {
        let saved = report.journal.save(path);
        saved.with_context(|| format!("cannot write the journal {}", path.display()))?;
    }
    Ok(report.is_clean())
}

async fn connect(arguments: &LoadArguments) -> anyhow::Result<Vec<Arc<dyn Device>>> {
    let number = arguments.connections.unwrap_or(arguments.uris.len());
    let (mut opener, mut devices) = (Opener::default(), Vec::new());
    for uri in arguments.uris.iter().cycle().take(number) {
        devices.push(opener.open(uri).await?);
    }
    Ok(devices)
}

/// Until it has ended, its time is over, or a signal says so.
async fn wait(load: &LoadHandle, arguments: &LoadArguments) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let time_is_over = async {
        match arguments.seconds {
            Some(seconds) => tokio::time::sleep(seconds).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = load.ended() => {}
        () = time_is_over => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn show_progress(load: &LoadHandle) {
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let mut before = 0;
    loop {
        ticks.tick().await;
        let now = load.snapshot();
        let total = now.operations.total();
        eprintln!(
            "{:.0} s: {} requests in the last second, longest {:.1} ms, waiting for {:.1} ms, \
             errors {}, violations {}",
            now.seconds,
            total - before,
            now.longest_ms,
            now.waiting_ms,
            now.errors,
            now.violations
        );
        before = total;
    }
}
