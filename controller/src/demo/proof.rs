//! What is proved after the demo: every block holds what the client's journal allows, and what the
//! client never touched is what it was.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use blockferry_block::{Extent, MIB};
use blockferry_checker::Journal;
use blockferry_nbd_session::{ConnectOptions, connect};
use blockferry_net::Address;

use super::NAME;
use crate::report::Report;

/// Length of a comparing read in bytes.
const READ_BYTES: u64 = MIB;

/// The result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// Bytes that the client had written or read.
    pub(super) journalled_bytes: u64,
    /// Bytes that it never touched.
    pub(super) untouched_bytes: u64,
    /// What did not hold, one line each.
    failures: Vec<String>,
}

impl Proof {
    /// Reads the volume through the switch, and the files of both sides.
    pub(super) async fn of(
        seen: &blockferry_checker::Report,
        source: &Path,
        switch: &Address,
        destination: &Path,
    ) -> anyhow::Result<Self> {
        let link = connect(&ConnectOptions::new(switch.clone(), NAME)).await;
        let link = link.context("the volume cannot be opened through the switch")?;
        let violations = seen.journal.verify(&link).await.context("reading the volume back")?;
        let mut failures: Vec<String> = violations.first.iter().map(ToString::to_string).collect();
        let untouched = untouched(&seen.journal, link.info().size);
        let untouched_bytes = untouched.iter().map(|extent| extent.len()).sum();
        let (source, destination) = (source.to_owned(), destination.to_owned());
        let compared =
            tokio::task::spawn_blocking(move || compare(&untouched, source, destination));
        failures.extend(compared.await.context("comparing the files")??);
        Ok(Self { journalled_bytes: seen.journal.bytes(), untouched_bytes, failures })
    }

    /// Whether nothing is lost.
    pub(super) const fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    /// The demo's own judgement.
    ///
    /// # Errors
    /// The first thing that was not as promised.
    pub(super) fn verdict(
        &self,
        moved: &Report,
        seen: &blockferry_checker::Report,
    ) -> anyhow::Result<()> {
        if let Some(failure) = self.failures.first() {
            bail!("the volume does not hold what it should: {failure}");
        }
        if let Some(violation) = seen.violations.first.first() {
            bail!("the client was told something wrong: {violation}");
        }
        if let Some(error) = seen.errors.first.first() {
            bail!("a request of the client failed: {error}");
        }
        if moved.digest_match != Some(true) {
            bail!("the digests of both sides are not equal");
        }
        Ok(())
    }
}

/// What the journal does not speak of.
fn untouched(journal: &Journal, size: u64) -> Vec<Extent> {
    let mut rest = Vec::new();
    let mut at = 0;
    for entry in journal.entries() {
        let known = entry.extent();
        if known.start() > at {
            rest.push(Extent::between(at, known.start()));
        }
        at = at.max(known.end());
    }
    if at < size {
        rest.push(Extent::between(at, size));
    }
    rest
}

fn compare(
    extents: &[Extent],
    source: PathBuf,
    destination: PathBuf,
) -> anyhow::Result<Option<String>> {
    let open = |path: &Path| {
        File::open(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let (source, destination) = (open(&source)?, open(&destination)?);
    for piece in extents.iter().flat_map(|extent| extent.pieces(READ_BYTES)) {
        if read(&source, piece)? != read(&destination, piece)? {
            return Ok(Some(format!("{piece} differs, and the client never touched it")));
        }
    }
    Ok(None)
}

fn read(file: &File, extent: Extent) -> anyhow::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(extent.len())?];
    file.read_exact_at(&mut content, extent.start())?;
    Ok(content)
}
