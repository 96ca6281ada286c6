//! A run that is interrupted leaves no more behind than one that ends by itself: no process, and no
//! volume that fills the memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::child;

/// What is held while a process is started or a folder made, and from the interruption on. It knows the
/// folders; those that have gone already do no harm.
static BEGINNING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// How often a folder is removed in which something is just being made.
const TRIES: usize = 100;

/// Until it is dropped, no run ends in between.
pub(crate) struct Beginning(MutexGuard<'static, Vec<PathBuf>>);

pub(crate) fn beginning() -> Beginning {
    Beginning(BEGINNING.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Beginning {
    /// The folder goes with the run.
    pub(crate) fn with(mut self, folder: &Path) {
        self.0.push(folder.to_owned());
    }
}

/// From now on a signal that asks this process to end has it clean up first.
///
/// # Errors
/// What the operating system says.
pub(crate) fn watch() -> Result<()> {
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]);
    let mut signals = signals.context("cannot watch for signals")?;
    let watcher = thread::Builder::new().name("interrupt".to_owned());
    watcher.spawn(move || signals.forever().next().into_iter().for_each(end))?;
    Ok(())
}

fn end(signal: i32) {
    let nothing_begins = beginning();
    child::kill_descendants();
    nothing_begins.0.iter().for_each(|folder| remove(folder));
    eprintln!("blockferry-bench: interrupted; what was measured before is kept");
    std::process::exit(128 + signal);
}

fn remove(folder: &Path) {
    let gone = |_| fs::remove_dir_all(folder).is_ok() || !folder.exists();
    if !(0..TRIES).any(gone) {
        eprintln!("blockferry-bench: {} is left behind: remove it by hand", folder.display());
    }
}
