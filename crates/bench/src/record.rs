//! What is kept of a run: one JSON object a line, so that tables and charts can be made again, and
//! the rounds of several runs be joined.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// What is measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// Serving a volume, beside other NBD servers.
    Serve,
    /// Serving a volume over iSCSI, beside tgt.
    Iscsi,
    /// Copying a volume that nobody uses.
    Copy,
    /// Moving a volume under load, beside qemu-storage-daemon.
    Migrate,
    /// The way through the switch, beside haproxy.
    Switch,
    /// Requests that overlap a cutover.
    Cutover,
    /// Large and many volumes, many connections.
    Scale,
    /// What the layer of volumes costs while nothing migrates.
    IdleCost,
    /// Copying over a long link.
    Delay,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// Where a run was made; the lines that follow belong to it.
    Machine(Machine),
    /// One measurement.
    Sample(Sample),
}

/// Figures by name; the last word of a name is their unit.
pub(crate) type Values = BTreeMap<String, f64>;

/// What one system did in one case in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The figures.
    #[serde(default)]
    pub(crate) values: Values,
    /// A client's requests a second, in steps of [`crate::requests::STEP`], for a chart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) series: Vec<f64>,
    /// Something that has no figure: it never ended, or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// A [`Measured`], and what of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// When the run began: rounds of several runs are told apart by it.
    pub(crate) run: String,
    pub(crate) part: Part,
    pub(crate) round: u32,
    pub(crate) case: String,
    pub(crate) system: String,
    /// Processors that others kept busy before the round.
    pub(crate) others: f64,
    #[serde(flatten)]
    pub(crate) measured: Measured,
}

impl Part {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Measured {
    /// With one figure more.
    #[must_use]
    pub(crate) fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.values.insert(name.into(), value);
        self
    }

    /// With the figures of another, their names behind a prefix.
    #[must_use]
    pub(crate) fn with_all(mut self, prefix: &str, values: Values) -> Self {
        self.values
            .extend(values.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
        self
    }

    /// Nothing but a remark.
    pub(crate) fn note(text: impl Into<String>) -> Self {
        Self { note: Some(text.into()), ..Self::default() }
    }
}

/// The file of a run, which grows line by line, so that an interrupted run keeps what it had.
#[derive(Debug)]
pub(crate) struct ResultsFile(File);

impl ResultsFile {
    /// Opens the file to append to it.
    pub(crate) fn append(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map(Self).with_context(|| format!("cannot write results to {}", path.display()))
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).context("a result that is no JSON")?;
        line.push(b'\n');
        self.0.write_all(&line).context("cannot write a result")
    }
}

/// Reads the lines of several runs.
///
/// # Errors
/// When a file cannot be read, or has a line that is no result.
pub(crate) fn read_all(paths: &[impl AsRef<Path>]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read results from {}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            let record = serde_json::from_str(line)
                .with_context(|| format!("{}, line {}: no result", path.display(), number + 1))?;
            records.push(record);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_as_they_were_written_and_several_files_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let sample = |round| {
            Record::Sample(Sample {
                run: "2026-01-02T03:04:05Z".into(),
                part: Part::IdleCost,
                round,
                case: "read".into(),
                system: "target-src".into(),
                others: 0.25,
                measured: Measured::default().with("instructions", 12.5),
            })
        };
        for (path, round) in paths.iter().zip(1..) {
            ResultsFile::append(path).unwrap().add(&sample(round)).unwrap();
        }
        assert_eq!(read_all(&paths).unwrap(), [sample(1), sample(2)]);
    }

    #[test]
    fn a_line_that_is_no_result_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        std::fs::write(&path, "{}\n").unwrap();
        let error = format!("{:#}", read_all(&[path]).unwrap_err());
        assert!(error.contains("line 1: no result"), "{error}");
    }
}
