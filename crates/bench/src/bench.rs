//! A run: rounds of parts, each of which measures every system once and writes down what it saw.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::interrupt;
use crate::load::{End, Load};
use crate::machine::{Machine, processors};
use crate::noise;
use crate::parts;
use crate::record::{Measured, Part, Record, ResultsFile, Sample};

/// Where things are, and how much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Folder of blockferry's programs.
    pub(crate) bin: PathBuf,
    /// Folder on a disk, for volumes.
    pub(crate) disk: PathBuf,
    /// Folder in memory, for volumes.
    pub(crate) tmpfs: PathBuf,
    /// Folder of peers that are unpacked and not installed.
    pub(crate) peers: PathBuf,
    /// Where volumes lie that are only served.
    pub(crate) serve_on: Vec<Place>,
    pub(crate) parts: Vec<Part>,
    pub(crate) rounds: u32,
    /// A smoke test: everything once, small and short.
    pub(crate) quick: bool,
}

/// Where volumes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Place {
    /// On a disk.
    Disk,
    /// In memory.
    Tmpfs,
}

impl Place {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Disk, Self::Tmpfs];

    /// Its name in cases.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Tmpfs => "tmpfs",
        }
    }
}

impl Plan {
    /// One of two amounts: that of a run, or of a smoke test.
    pub(crate) const fn amount(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    /// How long each load runs.
    pub(crate) fn load_seconds(&self) -> u64 {
        self.amount(3, 1)
    }

    pub(crate) fn folder(&self, place: Place) -> &Path {
        match place {
            Place::Disk => &self.disk,
            Place::Tmpfs => &self.tmpfs,
        }
    }

    /// An empty folder, which goes with its value.
    pub(crate) fn scratch(&self, place: Place) -> Result<TempDir> {
        let folder = self.folder(place);
        let beginning = interrupt::beginning();
        let scratch = tempfile::Builder::new().prefix("blockferry-bench-").tempdir_in(folder);
        let scratch =
            scratch.with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        beginning.with(scratch.path());
        Ok(scratch)
    }

    /// A load of the length of this plan.
    pub(crate) fn load(&self, load: Load) -> Load {
        Load { end: End::After(Duration::from_secs(self.load_seconds())), ..load }
    }
}

/// A part's round under way: where its measurements go.
pub(crate) struct Round<'a> {
    pub(crate) plan: &'a Plan,
    run: &'a str,
    part: Part,
    number: u32,
    others: f64,
    file: &'a mut ResultsFile,
    failed: &'a mut u32,
}

impl Round<'_> {
    /// Systems in an order that changes from round to round, so that none always comes first.
    pub(crate) fn in_turn<T: Clone>(&self, systems: &[T]) -> Vec<T> {
        let mut systems = systems.to_vec();
        let first = self.number as usize % systems.len().max(1);
        systems.rotate_left(first);
        systems
    }

    /// Measures one system in one case. A failure is written down, and the round goes on.
    pub(crate) fn measure(
        &mut self,
        case: &str,
        system: &str,
        measure: impl FnOnce(&Plan) -> Result<Measured>,
    ) -> Result<()> {
        let measured = measure(self.plan).unwrap_or_else(|error| {
            *self.failed += 1;
            Measured::note(format!("failed: {error:#}"))
        });
        // What an interruption has brought about is no figure.
        let _not_interrupted = interrupt::beginning();
        let figures = measured.values.iter().take(4);
        let figures =
            figures.map(|(name, value)| format!(" {name} {value:.4}")).collect::<String>();
        let note = measured.note.as_deref().unwrap_or_default();
        eprintln!("{} {}: {case}, {system}:{figures} {note}", self.part.name(), self.number);
        self.file.add(&Record::Sample(Sample {
            run: self.run.to_owned(),
            part: self.part,
            round: self.number,
            case: case.to_owned(),
            system: system.to_owned(),
            others: self.others,
            measured,
        }))
    }
}

/// Makes all rounds of all parts; gives how many measurements failed.
///
/// # Errors
/// When results cannot be written, or a part's surroundings cannot be made.
pub(crate) fn run(plan: &Plan, results: &Path) -> Result<u32> {
    let mut file = ResultsFile::append(results)?;
    let machine = Machine::here(&plan.bin, &plan.disk, &plan.tmpfs, plan.rounds, plan.quick);
    let run = machine.run.clone();
    file.add(&Record::Machine(machine))?;
    let mut failed = 0;
    for number in 1..=plan.rounds {
        for &part in &plan.parts {
            let others = noise::look(processors())?;
            if others > noise::BUSY {
                eprintln!(
                    "{} {number}: others use {others:.1} processors; this round is not to be quoted",
                    part.name()
                );
            }
            let (run, failed) = (run.as_str(), &mut failed);
            let mut round = Round { plan, run, part, number, others, file: &mut file, failed };
            parts::round(&mut round).with_context(|| format!("the part {}", part.name()))?;
        }
    }
    Ok(failed)
}

impl Round<'_> {
    /// What is being measured.
    pub(crate) fn part(&self) -> Part {
        self.part
    }
}
