//! Runs trials, several at a time, each with a thread and a runtime of its own, so that what fails
//! in one, a panic included, is its verdict and nobody else's trouble.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use super::figures::Figures;
use super::stage::{Setting, Stage};
use super::trial::Trial;
use crate::cast::keeping_logs;

/// A trial that takes longer hangs.
const TRIAL_MAX: Duration = Duration::from_secs(240);

/// How much is run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Trials at the same time.
    pub jobs: usize,
    /// No trial begins after this time.
    pub time: Duration,
}

/// What a trial has shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Whether every blow fell.
    pub struck: bool,
    /// Longest request of the load.
    pub longest_request: Duration,
    /// How often each label was passed, over all programs.
    pub passed: BTreeMap<String, u64>,
}

/// How a trial ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The trial.
    pub trial: Trial,
    /// What it has shown, or what was wrong.
    pub result: Result<Shown, String>,
    /// What it took.
    pub took: Duration,
    /// Where its logs are, if it failed.
    pub logs: Option<PathBuf>,
}

/// Runs trials until all are done or time is up, and tells of each as it ends.
pub fn run_all(
    trials: &[Trial],
    setting: &Setting,
    bounds: Bounds,
    mut tell: impl FnMut(&Verdict),
) -> Figures {
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let (sender, verdicts) = mpsc::channel();
    let mut figures = Figures::default();
    std::thread::scope(|scope| {
        for _ in 0..bounds.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while begun.elapsed() < bounds.time
                    && let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed))
                    && sender.send(run_one(trial, setting)).is_ok()
                {}
            });
        }
        drop(sender);
        for verdict in verdicts {
            figures.add(&verdict);
            tell(&verdict);
        }
    });
    figures
}

/// Runs one trial.
pub fn run_one(trial: &Trial, setting: &Setting) -> Verdict {
    let begun = Instant::now();
    let folder = setting.logs.join(folder_name(trial));
    let result = catch_unwind(AssertUnwindSafe(|| in_runtime(trial, setting, &folder)));
    let result = match result {
        Ok(result) => result.map_err(|error| format!("{error:#}")),
        Err(panic) => Err(words(&*panic)),
    };
    let failed = result.is_err();
    if let Err(why) = &result {
        // The verdict says it as well.
        let _ = fs::write(folder.join("why"), format!("{trial}\n{why}\n"));
    } else {
        let _ = fs::remove_dir_all(&folder);
    }
    let logs = failed.then_some(folder);
    Verdict { trial: trial.clone(), result, took: begun.elapsed(), logs }
}

fn in_runtime(trial: &Trial, setting: &Setting, folder: &Path) -> Result<Shown> {
    fs::create_dir_all(folder).with_context(|| format!("no folder {}", folder.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shown = runtime.block_on(async {
        let course = keeping_logs(folder.to_owned(), course(trial, setting));
        match tokio::time::timeout(TRIAL_MAX, course).await {
            Ok(result) => result,
            Err(_) => bail!("no end after {} s", TRIAL_MAX.as_secs()),
        }
    })?;
    Ok(Shown { passed: passed(folder)?, ..shown })
}

async fn course(trial: &Trial, setting: &Setting) -> Result<Shown> {
    let mut stage = Stage::set(trial, setting).await?;
    let clients = stage.begin_load().await?;
    let played = stage.play().await?;
    let ended = stage.end_load(clients).await?;
    let (struck, longest_request) = (stage.coming.is_empty(), ended.report.longest_request);
    stage.end_tracing().await?;
    tokio::select! {
        judged = stage.judge(&played, &ended) => judged?,
        never = stage.lets_the_switch_go_on() => match never {},
    }
    Ok(Shown { struck, longest_request, passed: BTreeMap::new() })
}

/// Counts the labels in the logs of a folder.
fn passed(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let text = fs::read_to_string(file?.path())?;
        for line in text.lines() {
            let label = line.split_once("blockferry_label: reached label=\"");
            let label = label.and_then(|(_, rest)| rest.split_once('"'));
            if let Some((label, _)) = label {
                *counts.entry(label.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

fn folder_name(trial: &Trial) -> String {
    trial.to_string().replace(['/', ' '], "_")
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
