//! The ordered copy at the source: what the copier asks for, it claims.

use std::sync::Arc;
use std::time::Instant;

use blockferry_block::Extent;
use blockferry_device::{Device, Errno, Failure, ReadPart, Reply, Request, Segment, SegmentState};
use blockferry_migration::digest::{LEAF, Noted, Piece};
use blockferry_migration::source::{CLAIM_AHEAD_MAX, ClaimId};

use super::owner::Owner;
use super::thin::Thin;
use super::{Stage, Volume};

/// Holes are told to the copier in whole leaves only, so that it reads whole leaves and the digest
/// can be compared.
const GRAIN: u64 = LEAF;

/// Read and hashed without a break, in bytes: whole leaves, and so little that clients do not notice.
const READ_AT_ONCE: u64 = 4 * LEAF;

impl Volume {
    /// Executes a request of a copy connection.
    pub(super) async fn copy_out(
        self: &Arc<Self>,
        epoch: u64,
        request: Request,
    ) -> Result<Reply, Failure> {
        let Stage::Owner(owner) = self.stage() else { return Err(no_sweep("not the owner")) };
        match request {
            Request::Read { extent, dont_fragment } => {
                self.copy_read(&owner, epoch, extent, dont_fragment).await
            }
            Request::BlockStatus { extent, one } => {
                self.copy_status(&owner, epoch, extent, one).await
            }
            Request::Flush | Request::Cache { .. } => Ok(Reply::Done),
            _ => Err(Failure::new(Errno::Perm, "a copy connection to the source only reads")),
        }
    }

    async fn copy_read(
        &self,
        owner: &Owner,
        epoch: u64,
        extent: Extent,
        dont_fragment: bool,
    ) -> Result<Reply, Failure> {
        self.held_back(owner, extent, extent.len()).await;
        claim(owner, epoch, extent, extent.len()).await?;
        let (parts, noted) = self.read_and_note(extent, dont_fragment).await?;
        owner.with(|source| noted.into_iter().for_each(|noted| source.note_copied(noted)));
        self.count(&parts);
        blockferry_label::reached("source.copy.read");
        Ok(Reply::Read(parts))
    }

    /// Reads the extent, looks for holes and makes the digests of it, in pieces that are still in the
    /// processor's cache when they are looked at; clients have their turn after each.
    async fn read_and_note(
        &self,
        extent: Extent,
        dont_fragment: bool,
    ) -> Result<(Vec<ReadPart>, Vec<Noted>), Failure> {
        let (mut thin, mut whole) = (Thin::at(extent.start()), Vec::new());
        let mut noted = Vec::new();
        for piece in extent.pieces(READ_AT_ONCE) {
            let read = Request::Read { extent: piece, dont_fragment };
            let Reply::Read(content) = self.store.call(read).await? else { continue };
            let pieces: Vec<Piece<'_>> = content.iter().map(self::piece).collect();
            noted.push(Noted::of(piece.start(), &pieces, self.info.size));
            match dont_fragment {
                true => whole.extend(content),
                false => content.into_iter().for_each(|part| thin.push(part)),
            }
            tokio::task::yield_now().await;
        }
        Ok((if dont_fragment { whole } else { thin.into_parts() }, noted))
    }

    /// Waits as long as the copy is held back for the clients' sake. What was claimed before costs
    /// nothing again.
    async fn held_back(&self, owner: &Owner, extent: Extent, data: u64) {
        let Some(outgoing) = self.outgoing() else { return };
        let (cursor, _) = owner.with(|source| source.claimable());
        let fresh = data.min(extent.end().saturating_sub(cursor));
        while fresh > 0
            && let Err(later) = outgoing.governor.admit(fresh, Instant::now())
        {
            tokio::time::sleep_until(later.into()).await;
        }
    }

    fn count(&self, parts: &[ReadPart]) {
        let data = |part: &ReadPart| matches!(part, ReadPart::Data(_));
        let sum = |wanted: bool| {
            parts.iter().filter(|part| data(part) == wanted).map(ReadPart::len).sum()
        };
        if let Some(outgoing) = self.outgoing() {
            outgoing.count_copied(sum(true), sum(false));
        }
    }

    /// Describes an extent that it claims first: data no farther than the claim bound, holes as far
    /// as they reach. Holes of the answer need not be read.
    async fn copy_status(
        &self,
        owner: &Owner,
        epoch: u64,
        extent: Extent,
        one: bool,
    ) -> Result<Reply, Failure> {
        let (ahead, data) = self.claimable(owner, extent).await?;
        self.held_back(owner, ahead, data).await;
        claim(owner, epoch, ahead, data).await?;
        let segments = self.segments(ahead).await?;
        let count = if one { 1 } else { segments.len() };
        let segments: Vec<Segment> = segments.into_iter().take(count).collect();
        let mut at = ahead.start();
        for segment in &segments {
            if segment.state == SegmentState::HOLE {
                let hole = [Piece::Zeroes(segment.length)];
                let noted = Noted::of(at, &hole, self.info.size);
                owner.with(|source| source.note_copied(noted));
                if let Some(outgoing) = self.outgoing() {
                    outgoing.count_copied(0, segment.length);
                }
            }
            at += segment.length;
        }
        Ok(Reply::BlockStatus(segments))
    }

    /// The first part of the extent that may be claimed now, and how much data it holds that was not
    /// claimed before; waits while that part is nothing, or not worth a description.
    async fn claimable(&self, owner: &Owner, extent: Extent) -> Result<(Extent, u64), Failure> {
        loop {
            let mut news = std::pin::pin!(owner.claims_changed());
            let (cursor, budget) = owner.with(|source| source.claimable());
            let segments = self.segments(extent).await?;
            if let Some((end, data)) = affordable(extent, &segments, cursor, budget) {
                return Ok((Extent::between(extent.start(), end), data));
            }
            if owner.with(|source| source.sweep().is_none()) {
                return Err(no_sweep("there is no migration"));
            }
            tokio::select! {
                () = &mut news => {}
                () = tokio::time::sleep(CLAIM_POLL) => {}
            }
        }
    }

    /// Data and holes of the extent, holes in whole grains.
    async fn segments(&self, extent: Extent) -> Result<Vec<Segment>, Failure> {
        let whole = Segment { length: extent.len(), state: SegmentState::DATA };
        if !self.info.features.block_status {
            return Ok(vec![whole]);
        }
        let request = Request::BlockStatus { extent, one: false };
        match self.store.call(request).await? {
            Reply::BlockStatus(segments) => Ok(in_grains(extent, &segments, self.info.size)),
            _ => Ok(vec![whole]),
        }
    }
}

/// Reserved-address news may come while a status request looks at the store; it looks again after
/// this long at the latest.
const CLAIM_POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// Where less may be claimed than a long chunk, in bytes, no description is cut off there: a short chunk
/// costs a round trip like a long one, and what it gives back allows no more than another short one.
const CUT_OFF_MIN: u64 = CLAIM_AHEAD_MAX / 2;

/// Where the first part of the extent ends that holds no more than `budget` bytes of data beyond
/// `cursor`, and how much it holds; `None` while that is nothing, or cut off too soon.
fn affordable(
    extent: Extent,
    segments: &[Segment],
    cursor: u64,
    budget: u64,
) -> Option<(u64, u64)> {
    let (mut end, mut data) = (extent.start(), 0);
    for segment in segments {
        let next = (end + segment.length).min(extent.end());
        if segment.state != SegmentState::HOLE {
            let fresh = Extent::between(cursor.clamp(end, next), next);
            if fresh.len() > budget - data {
                let cut = (fresh.start() + budget - data) / GRAIN * GRAIN;
                let cut = cut.max(end);
                let is_worth_it = budget >= CUT_OFF_MIN && cut > extent.start();
                return is_worth_it.then(|| (cut, data + cut.saturating_sub(fresh.start())));
            }
            data += fresh.len();
        }
        end = next;
    }
    (end > extent.start()).then_some((end, data))
}

async fn claim(owner: &Owner, epoch: u64, extent: Extent, data: u64) -> Result<(), Failure> {
    let refused = |refusal: blockferry_migration::source::ClaimRefusal| {
        Failure::new(Errno::Inval, refusal.to_string())
    };
    let id = owner.with(|source| source.claim(epoch, extent, data)).map_err(refused)?;
    let _claiming = Claiming(owner, id);
    blockferry_label::reached("source.claim.made");
    owner.claimed(id).await.map_err(refused)?;
    blockferry_label::reached("source.claim.granted");
    Ok(())
}

/// A claim that somebody waits for.
struct Claiming<'a>(&'a Owner, ClaimId);

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        self.0.with(|source| source.drop_claim(self.1));
    }
}

fn no_sweep(why: &str) -> Failure {
    Failure::new(Errno::Inval, format!("nothing can be claimed here: {why}"))
}

fn piece(part: &ReadPart) -> Piece<'_> {
    match part {
        ReadPart::Data(data) => Piece::Data(data),
        ReadPart::Hole(length) => Piece::Zeroes(*length),
    }
}

/// Shrinks holes to whole grains and joins what is of one kind.
fn in_grains(extent: Extent, segments: &[Segment], size: u64) -> Vec<Segment> {
    let mut joined: Vec<Segment> = Vec::new();
    let mut push = |length: u64, state: SegmentState| match joined.last_mut() {
        _ if length == 0 => {}
        Some(last) if last.state == state => last.length += length,
        _ => joined.push(Segment { length, state }),
    };
    let mut at = extent.start();
    for segment in segments {
        let end = (at + segment.length).min(extent.end());
        let hole = if segment.state.zero {
            let last = if end == size { end } else { end / GRAIN * GRAIN };
            Extent::between(at.next_multiple_of(GRAIN).min(end), last)
        } else {
            Extent::between(end, end)
        };
        if hole.is_empty() {
            push(end - at, SegmentState::DATA);
        } else {
            push(hole.start() - at, SegmentState::DATA);
            push(hole.len(), SegmentState::HOLE);
            push(end - hole.end(), SegmentState::DATA);
        }
        at = end;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(length: u64) -> Segment {
        Segment { length, state: SegmentState::HOLE }
    }

    fn data(length: u64) -> Segment {
        Segment { length, state: SegmentState::DATA }
    }

    #[test]
    fn a_hole_is_told_in_whole_leaves_and_its_edges_as_data() {
        let extent = Extent::between(0, 4 * GRAIN);
        let found = in_grains(extent, &[data(10), hole(3 * GRAIN - 10), data(GRAIN)], u64::MAX);
        assert_eq!(found, [data(GRAIN), hole(2 * GRAIN), data(GRAIN)]);
    }

    #[test]
    fn a_hole_inside_one_leaf_is_data() {
        let extent = Extent::between(0, 2 * GRAIN);
        let found = in_grains(extent, &[data(4096), hole(GRAIN), data(GRAIN - 4096)], u64::MAX);
        assert_eq!(found, [data(2 * GRAIN)]);
    }

    /// Leaves that are as much as may be claimed at one time.
    const ALL: u64 = CLAIM_AHEAD_MAX / GRAIN;

    #[test]
    fn a_description_ends_where_the_data_that_may_be_claimed_does() {
        let extent = Extent::whole(3 * ALL * GRAIN);
        let found = [data(ALL * GRAIN), hole(ALL * GRAIN), data(ALL * GRAIN)];
        let until = |cursor: u64, budget: u64| affordable(extent, &found, cursor, budget);
        assert_eq!(until(0, u64::MAX), Some((extent.end(), 2 * ALL * GRAIN)));
        let half = ALL / 2 * GRAIN;
        assert_eq!(until(0, half + 7), Some((half, half)));
        assert_eq!(until(half, half + GRAIN), Some((2 * ALL * GRAIN + GRAIN, half + GRAIN)));
        assert_eq!(until(extent.end(), 0), Some((extent.end(), 0)), "all was claimed before");
    }

    #[test]
    fn a_description_waits_rather_than_to_end_after_little() {
        let extent = Extent::between(ALL * GRAIN, 2 * ALL * GRAIN);
        let found = [data(extent.len())];
        for budget in [0, GRAIN, CUT_OFF_MIN - GRAIN] {
            assert_eq!(affordable(extent, &found, 0, budget), None, "{budget}");
        }
        let end = extent.start() + CUT_OFF_MIN;
        assert_eq!(affordable(extent, &found, 0, CUT_OFF_MIN), Some((end, CUT_OFF_MIN)));
        let little = Extent::between(extent.start(), extent.start() + GRAIN);
        let all = Some((little.end(), GRAIN));
        assert_eq!(affordable(little, &found, 0, GRAIN), all, "no more was asked for");
    }

    #[test]
    fn a_hole_may_end_with_the_volume() {
        let size = GRAIN + 100;
        let found = in_grains(Extent::whole(size), &[data(5), hole(size - 5)], size);
        assert_eq!(found, [data(GRAIN), hole(100)]);
    }
}
