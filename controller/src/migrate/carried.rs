//! A round of the copy that the destination carries itself.

use blockferry_block::Extent;
use blockferry_control::api::{CopyHalt, CopyHaltKind, CopyReply, CopyRequest};
use blockferry_copier::{Halt, Side};
use blockferry_device::{Errno, Failure};

use super::Migration;
use super::ground::Ground;
use super::sweep::{Break, Round};
use crate::network::Network;

impl<N: Network> Migration<'_, N> {
    /// Has the destination carry it, and waits for the end. Where the destination cannot, this program
    /// will in the next round, and `at_destination` becomes false.
    pub(super) async fn carried_round(
        &mut self,
        ground: Ground,
        at_destination: &mut bool,
    ) -> anyhow::Result<Round> {
        let (request, parties) = (self.copy_request(ground), self.parties);
        let ended = tokio::select! {
            ended = parties.destination.copy(&request) => ended,
            why = self.watch(ground, None) => return Ok(Round::Broken(Break::Shaken(why?))),
        };
        let cannot = match ended {
            Ok(CopyReply::Complete) => return Ok(Round::Complete),
            Ok(CopyReply::Halted(halt)) => return Ok(Round::Broken(Break::Halted(as_halt(halt)))),
            Ok(CopyReply::NotOpened { reason }) => reason,
            Err(error) if error.status().is_some() => error.to_string(),
            Err(error) => return Ok(Round::Broken(Break::Shaken(error.to_string()))),
        };
        *at_destination = false;
        let why = format!("the copy goes through this program, the destination cannot: {cannot}");
        Ok(Round::Broken(Break::Shaken(why)))
    }

    fn copy_request(&self, ground: Ground) -> CopyRequest {
        let manner = self.driving.manner;
        CopyRequest {
            migration: self.identity.migration.clone(),
            token: self.identity.token.clone(),
            term: self.identity.term,
            session: self.session.to_string(),
            source_boot: ground.source_boot,
            destination_boot: ground.destination_boot,
            epoch: ground.epoch,
            chunk: manner.chunk,
            chunk_max: manner.chunk_max,
            window: u32::try_from(manner.window).unwrap_or(u32::MAX),
            bandwidth: self.driving.bandwidth,
        }
    }
}

/// The halt that the destination tells of.
fn as_halt(told: CopyHalt) -> Halt {
    let side = if told.at_source { Side::Source } else { Side::Destination };
    let extent = Extent::between(told.start, told.end.max(told.start));
    let reason = told.reason;
    let failure = |reason: String| Failure::new(Errno::from_code(told.errno), reason);
    match told.kind {
        CopyHaltKind::Lost => Halt::Lost { side, extent, reason },
        CopyHaltKind::Refused => Halt::Refused { side, extent, failure: failure(reason) },
        CopyHaltKind::Failed => Halt::Failed { side, extent, failure: failure(reason) },
        CopyHaltKind::Malformed => Halt::Malformed { side, extent, what: reason },
    }
}
