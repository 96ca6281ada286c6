//! What has to hold in the end.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use blockferry_block::Extent;
use blockferry_checker::Journal;
use blockferry_control::api::VolumeRole;

use super::disk::Left;
use super::play::{Ended, Played};
use super::stage::Stage;
use crate::cast::{VOLUME, connect, write};

/// Content is compared in blocks of so many bytes: those of the load.
const BLOCK: u64 = 4096;

/// The generation that the first migration of a volume ends in.
const GENERATION: u64 = 2;

/// A client's kernel acts after 30 s; a trial keeps everything away for 5 s at most.
const REQUEST_MAX: Duration = Duration::from_secs(30);

impl Stage {
    /// Checks everything that was promised.
    pub(super) async fn judge(&self, played: &Played, ended: &Ended) -> Result<()> {
        let (done, report) = (&played.done, &ended.report);
        ensure!(done["event"] == "done" && done["digest_match"] != false, "not done: {done}");
        self.cluster.until_moved().await;
        ensure!(report.is_clean(), "the load was not clean:\n{report}");
        ensure!(report.longest_request < REQUEST_MAX, "a client waited too long:\n{report}");
        self.one_owner().await?;
        let Some(disk) = &ended.disk else {
            return self.nothing_lost(&report.journal, Vec::new()).await;
        };
        disk.judge().await?;
        self.reserved(disk).await?;
        self.nothing_lost(&report.journal, vec![disk.cells()]).await
    }

    async fn one_owner(&self) -> Result<()> {
        let source = self.cluster.source.status(VOLUME).await;
        let destination = self.cluster.destination.status(VOLUME).await;
        let source = source.map(|status| (status.role, status.generation));
        let destination = destination.map(|status| (status.role, status.generation));
        let wanted =
            (Some((VolumeRole::Retired, GENERATION)), Some((VolumeRole::Owner, GENERATION)));
        ensure!((source, destination) == wanted, "owners: {source:?} and {destination:?}");
        let status = self.stands().await?;
        ensure!(status["owner"] == "destination", "status does not know the owner: {status}");
        Ok(())
    }

    /// Who is no initiator is bound by the reservation of those who are.
    async fn reserved(&self, disk: &Left) -> Result<()> {
        let link = connect(&self.cluster.destination.uri(VOLUME)).await;
        let written = write(&link, disk.cells().start(), vec![0; 512]).await;
        link.disconnect().await;
        ensure!(written.is_err(), "an NBD client has written to a disk that initiators reserved");
        Ok(())
    }

    /// What the load wrote is there, and so is all that neither it nor somebody else has touched.
    async fn nothing_lost(&self, journal: &Journal, mut touched: Vec<Extent>) -> Result<()> {
        let link = connect(&self.cluster.destination.uri(VOLUME)).await;
        let violations = journal.verify(&link).await?;
        ensure!(violations.is_empty(), "the load's writes at rest: {violations:?}");
        link.disconnect().await;
        touched.extend(journal.entries().iter().map(|entry| entry.extent()));
        let before = File::open(self.cluster.file())?;
        let after = File::open(self.cluster.copy())?;
        let mut blocks = [vec![0; BLOCK as usize], vec![0; BLOCK as usize]];
        for block in Extent::whole(before.metadata()?.len()).pieces(BLOCK) {
            before.read_exact_at(&mut blocks[0], block.start())?;
            after.read_exact_at(&mut blocks[1], block.start())?;
            let written = || touched.iter().any(|extent| extent.intersection(block).is_some());
            ensure!(blocks[0] == blocks[1] || written(), "{block} is not what it was");
        }
        Ok(())
    }
}
