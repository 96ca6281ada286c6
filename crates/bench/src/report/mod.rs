//! The page and its charts, made of nothing but results.

mod bars;
mod charts;
mod format;
mod page;
mod timeline;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::noise::BUSY;
use crate::record::{Record, Sample};

/// Folder of the charts beside the page.
const CHARTS: &str = "benchmarks";

/// What the page is made of.
#[derive(Debug, Default)]
struct Results {
    machines: Vec<Machine>,
    samples: Vec<Sample>,
}

/// A picture of the page.
struct Chart {
    /// Its file, without the ending.
    name: &'static str,
    title: String,
    document: svg::Document,
}

/// Writes `benchmarks.md` and its charts into the folder `out`.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn write(records: &[Record], out: &Path, quiet_only: bool) -> Result<()> {
    let results = Results::of(records, quiet_only);
    let folder = out.join(CHARTS);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let charts = charts::all(&results.samples);
    for chart in &charts {
        let path = folder.join(format!("{}.svg", chart.name));
        svg::save(&path, &chart.document)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let path = out.join("benchmarks.md");
    fs::write(&path, page::page(&results, &charts))
        .with_context(|| format!("cannot write {}", path.display()))
}

impl Results {
    fn of(records: &[Record], quiet_only: bool) -> Self {
        let mut results = Self::default();
        for record in records {
            match record {
                Record::Machine(machine) => results.machines.push(machine.clone()),
                Record::Sample(sample) if quiet_only && sample.others > BUSY => {}
                Record::Sample(sample) => results.samples.push(sample.clone()),
            }
        }
        results
    }

    /// The most that others used before a round, in processors.
    fn others_max(&self) -> f64 {
        self.samples.iter().map(|sample| sample.others).fold(0.0, f64::max)
    }
}
