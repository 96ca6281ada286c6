//! The destination of a migration: the arbiter of the ordered stream.
//!
//! ```text
//!               ready            own
//!  Receiving -----------> Ready ------> (the volume's owner)
//!      ^                    |
//!      +---- attach --------+
//! ```
//!
//! It executes a copy write only at `W` (I2) and a mirror write only below it (I3). The caller moves
//! the bytes between `begin` and `done`; the stream's digest is computed by the caller on a copy of
//! [`Destination::stream`], outside any lock.

use blockferry_block::{Attempt, BootId, Extent};

use crate::Faults;
use crate::digest::{Digest, Frontier, LEAF};

/// What the destination is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The ordered copy or its aftermath.
    Receiving,
    /// It has promised that everything is here and durable, for this attempt.
    Ready(Attempt),
}

/// Why a copy or mirror write, or a step, is refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A copy write that does not begin at `W` (D2.5).
    #[error("expected address {expected}: the copy executes at the reserved write address only")]
    WrongAddress {
        /// `W` in bytes.
        expected: u64,
    },
    /// A mirror write that reaches above `W` (I3).
    #[error("reserved address {reserved}: a mirror write must end at or below it")]
    AboveReserved {
        /// `W` in bytes.
        reserved: u64,
    },
    /// Another attach has fenced the sender (I12).
    #[error("the epoch of this connection is over; attach again")]
    StaleEpoch,
    /// The stream has not reached the volume's end, or not durably.
    #[error("the copy stands at {reserved} and is durable to {durable}; not complete")]
    Incomplete {
        /// `W` in bytes.
        reserved: u64,
        /// `W_durable` in bytes.
        durable: u64,
    },
    /// Another copy write is being executed; the copy is strictly ordered.
    #[error("another copy write is being executed")]
    Busy,
}

/// State of the receiving side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    size: u64,
    phase: Phase,
    epoch: u64,
    attaching: bool,
    source_boot: Option<BootId>,
    reserved: u64,
    durable: u64,
    pristine: u64,
    stream: Frontier,
    durable_stream: Frontier,
    checkpoint: Option<(u64, Frontier)>,
    copying: Option<Extent>,
    mirroring: usize,
    write_through: bool,
    promised: Option<Attempt>,
    faults: Faults,
}

/// What an attach answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attached {
    /// What copy and mirror connections must name.
    pub epoch: u64,
    /// `W`, equal to `W_durable`.
    pub reserved: u64,
    /// The stream's digest state at `W`.
    pub stream: Frontier,
}

impl Destination {
    /// A destination as its records tell. A run's epochs begin at its boot id, so that those of two
    /// runs never meet. `pristine` is the address from which nothing was ever written.
    pub fn new(size: u64, boot: BootId, durable: u64, stream: Frontier, pristine: u64) -> Self {
        Self {
            size,
            phase: Phase::Receiving,
            epoch: boot.0,
            attaching: false,
            source_boot: None,
            reserved: durable,
            durable,
            pristine,
            durable_stream: stream.clone(),
            stream,
            checkpoint: None,
            copying: None,
            mirroring: 0,
            write_through: false,
            promised: None,
            faults: Faults::default(),
        }
    }

    /// Commits the given faults on purpose.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// A destination whose `Ready` record was found after a restart: it stays write-through.
    #[must_use]
    pub fn with_ready(mut self, attempt: Attempt) -> Self {
        self.phase = Phase::Ready(attempt);
        self.write_through = true;
        self.promised = Some(attempt);
        self
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Size of the volume in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// `W`.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// `W_durable`.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The valid epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether an attach has begun and not finished.
    pub fn is_attaching(&self) -> bool {
        self.attaching
    }

    /// The run of the source that is attached.
    pub fn source_boot(&self) -> Option<BootId> {
        self.source_boot
    }

    /// The last attempt for which a `Ready` record became durable. An attach does not take it back:
    /// one that arrives late, after the source has committed to it, must not keep the destination
    /// from owning (L3).
    pub fn promised(&self) -> Option<Attempt> {
        self.promised
    }

    /// Whether mirror writes must be durable before they are answered (from Ready on).
    pub fn is_write_through(&self) -> bool {
        self.write_through
    }

    /// The digest state of the stream up to `W`.
    pub fn stream(&self) -> &Frontier {
        &self.stream
    }

    /// Whether nothing was ever written from this address on, so that it reads as zeroes.
    pub fn is_pristine(&self, from: u64) -> bool {
        from >= self.pristine
    }

    /// Begins a copy write (or zeroing) of the extent.
    ///
    /// # Errors
    /// [`Refusal::WrongAddress`] unless it begins at `W` (I2).
    pub fn copy_begin(&mut self, epoch: u64, extent: Extent) -> Result<(), Refusal> {
        self.check_epoch(epoch)?;
        if self.copying.is_some() {
            return Err(Refusal::Busy);
        }
        if extent.start() != self.reserved || extent.end() > self.size {
            return Err(Refusal::WrongAddress { expected: self.reserved });
        }
        self.copying = Some(extent);
        Ok(())
    }

    /// The copy write has ended: executed, with the stream's state after it, or failed (`None`), and
    /// then `W` stays.
    pub fn copy_done(&mut self, stream: Option<Frontier>) {
        let Some(extent) = self.copying.take() else { return };
        self.pristine = self.pristine.max(extent.end());
        if let Some(stream) = stream {
            assert_eq!(stream.len(), extent.end(), "I2: W grows by exactly the write's length");
            self.reserved = extent.end();
            self.stream = stream;
        }
    }

    /// Begins a mirror write.
    ///
    /// # Errors
    /// [`Refusal::AboveReserved`] unless it ends at or below `W` (I3).
    pub fn mirror_begin(&mut self, epoch: u64, extent: Extent) -> Result<(), Refusal> {
        self.check_epoch(epoch)?;
        if extent.end() > self.reserved && !self.faults.mirror_above_reserved {
            return Err(Refusal::AboveReserved { reserved: self.reserved });
        }
        self.pristine = self.pristine.max(extent.end());
        self.mirroring += 1;
        Ok(())
    }

    /// A mirror write has ended, well or not.
    pub fn mirror_done(&mut self) {
        self.mirroring -= 1;
    }

    /// Begins an attach: from now on every copy and mirror connection of before is fenced. Call
    /// [`Destination::attach_finish`] once [`Destination::is_idle`].
    pub fn attach_begin(&mut self, source: BootId) {
        self.source_boot = Some(source);
        self.epoch = self.epoch.wrapping_add(1);
        self.attaching = true;
        self.checkpoint = None;
        self.phase = Phase::Receiving;
    }

    /// Whether no copy or mirror write is being executed.
    pub fn is_idle(&self) -> bool {
        self.copying.is_none() && self.mirroring == 0
    }

    /// `W` falls back to `W_durable`; the only time that it goes down.
    ///
    /// # Errors
    /// [`Refusal::Busy`] while an older write is still being executed.
    pub fn attach_finish(&mut self) -> Result<Attached, Refusal> {
        if !self.is_idle() {
            return Err(Refusal::Busy);
        }
        self.attaching = false;
        self.reserved = self.durable;
        self.stream = self.durable_stream.clone();
        Ok(Attached { epoch: self.epoch, reserved: self.reserved, stream: self.stream.clone() })
    }

    /// Begins a checkpoint: flush, then answer the address and the digest up to it.
    ///
    /// # Errors
    /// [`Refusal::StaleEpoch`].
    pub fn checkpoint_begin(&mut self, epoch: u64) -> Result<(u64, Digest), Refusal> {
        self.check_epoch(epoch)?;
        let stream = if self.reserved == self.size {
            self.stream.clone()
        } else {
            self.stream.at_leaf_boundary()
        };
        let address = stream.len();
        debug_assert!(address == self.size || address.is_multiple_of(LEAF));
        let digest = stream.digest();
        self.checkpoint = Some((address, stream));
        Ok((address, digest))
    }

    /// The state to persist for the checkpoint at `address`, which both sides have flushed.
    ///
    /// # Errors
    /// [`Refusal::StaleEpoch`] when it is not the checkpoint under way.
    pub fn checkpoint_state(&self, epoch: u64, address: u64) -> Result<&Frontier, Refusal> {
        self.check_epoch(epoch)?;
        match &self.checkpoint {
            Some((begun, stream)) if *begun == address => Ok(stream),
            _ => Err(Refusal::StaleEpoch),
        }
    }

    /// The checkpoint's record is durable.
    pub fn checkpoint_done(&mut self, address: u64) {
        if let Some((_, stream)) = self.checkpoint.take_if(|(begun, _)| *begun == address) {
            self.durable = address;
            self.durable_stream = stream;
        }
    }

    /// First step to Ready: write through from now on. Flush next, then make the record durable.
    ///
    /// # Errors
    /// [`Refusal::Incomplete`] unless `W = W_durable = S`.
    pub fn ready_begin(&mut self, epoch: u64) -> Result<(), Refusal> {
        self.check_epoch(epoch)?;
        if self.reserved != self.size || self.durable != self.size {
            let (reserved, durable) = (self.reserved, self.durable);
            return Err(Refusal::Incomplete { reserved, durable });
        }
        self.write_through = true;
        Ok(())
    }

    /// The `Ready` record of the attempt is durable.
    ///
    /// # Errors
    /// [`Refusal::StaleEpoch`] when an attach came between; the record is void then.
    pub fn ready_durable(&mut self, epoch: u64, attempt: Attempt) -> Result<(), Refusal> {
        self.check_epoch(epoch)?;
        self.phase = Phase::Ready(attempt);
        self.promised = Some(attempt);
        Ok(())
    }

    fn check_epoch(&self, epoch: u64) -> Result<(), Refusal> {
        // I12
        if self.attaching || epoch != self.epoch { Err(Refusal::StaleEpoch) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Piece;

    const SIZE: u64 = 4 * LEAF + 7;

    fn attached() -> (Destination, u64) {
        let mut destination = Destination::new(SIZE, BootId(100), 0, Frontier::new(), 0);
        destination.attach_begin(BootId(1));
        let epoch = destination.attach_finish().expect("idle").epoch;
        (destination, epoch)
    }

    fn copy(destination: &mut Destination, epoch: u64, length: u64) {
        let at = destination.reserved();
        destination.copy_begin(epoch, Extent::between(at, at + length)).expect("at W");
        let mut stream = destination.stream().clone();
        stream.push(Piece::Zeroes(length));
        destination.copy_done(Some(stream));
    }

    #[test]
    fn d2_5_a_copy_write_at_any_other_address_is_refused_and_changes_nothing() {
        let (mut destination, epoch) = attached();
        copy(&mut destination, epoch, LEAF);
        for start in [0, LEAF - 1, LEAF + 1, 3 * LEAF] {
            let refusal = destination.copy_begin(epoch, Extent::between(start, start + 1));
            assert_eq!(refusal, Err(Refusal::WrongAddress { expected: LEAF }));
            assert_eq!(destination.reserved(), LEAF);
        }
    }

    #[test]
    fn i2_a_failed_copy_write_leaves_the_reserved_address_where_it_was() {
        let (mut destination, epoch) = attached();
        destination.copy_begin(epoch, Extent::between(0, LEAF)).expect("at W");
        destination.copy_done(None);
        assert_eq!(destination.reserved(), 0);
        assert!(!destination.is_pristine(0), "the write may have been half done");
    }

    #[test]
    fn i3_a_mirror_write_above_the_reserved_address_is_refused_by_name() {
        let (mut destination, epoch) = attached();
        copy(&mut destination, epoch, LEAF);
        let straddling = Extent::between(LEAF - 1, LEAF + 1);
        let refusal = destination.mirror_begin(epoch, straddling);
        assert_eq!(refusal, Err(Refusal::AboveReserved { reserved: LEAF }));
        assert_eq!(destination.mirror_begin(epoch, Extent::between(0, LEAF)), Ok(()));
    }

    #[test]
    fn i12_an_attach_fences_every_connection_and_checkpoint_of_before() {
        let (mut destination, epoch) = attached();
        copy(&mut destination, epoch, 2 * LEAF);
        let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
        destination.mirror_begin(epoch, Extent::between(0, 1)).expect("below W");
        destination.attach_begin(BootId(2));
        assert_eq!(destination.attach_finish(), Err(Refusal::Busy), "a write is under way");
        let late = Extent::between(2 * LEAF, 3 * LEAF);
        assert_eq!(destination.copy_begin(epoch, late), Err(Refusal::StaleEpoch));
        assert!(destination.checkpoint_state(epoch, address).is_err());
        destination.mirror_done();
        let attached = destination.attach_finish().expect("idle now");
        assert_eq!((attached.reserved, destination.reserved()), (0, 0));
    }

    #[test]
    fn ready_needs_the_whole_volume_durable() {
        let (mut destination, epoch) = attached();
        copy(&mut destination, epoch, SIZE);
        assert!(matches!(destination.ready_begin(epoch), Err(Refusal::Incomplete { .. })));
        let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
        assert_eq!(address, SIZE, "the end counts though it is no leaf's boundary");
        destination.checkpoint_done(address);
        assert_eq!(destination.ready_begin(epoch), Ok(()));
        assert!(destination.is_write_through());
    }

    #[test]
    fn l3_an_attach_that_arrives_late_takes_no_promise_back() {
        let (mut destination, epoch) = attached();
        copy(&mut destination, epoch, SIZE);
        let (address, _) = destination.checkpoint_begin(epoch).expect("valid");
        destination.checkpoint_done(address);
        destination.ready_begin(epoch).expect("all is durable");
        destination.ready_durable(epoch, Attempt(3)).expect("valid");
        destination.attach_begin(BootId(1));
        destination.attach_finish().expect("idle");
        assert_eq!(destination.phase(), Phase::Receiving);
        assert_eq!(destination.promised(), Some(Attempt(3)));
        assert!(destination.is_write_through(), "what was promised stays durable");
    }
}
