//! Commands that need the medium: which bytes of the volume they mean, and whether the data that
//! the initiator announced fits them.

use blockferry_block::Extent;

use super::{LogicalUnit, Step};
use crate::cdb::Allocation;
use crate::codes::SenseCode;
use crate::command::{ByteCheck, Command};
use crate::config::Provisioning;
use crate::geometry::{Lba, Range};
use crate::lba_status;
use crate::limits::LBA_STATUS_DESCRIPTORS_MAX;
use crate::response::{Refusal, Response, Transfer};
use crate::sense::{Sense, SenseKey};
use crate::work::{Compare, Medium, Pattern, Work};

/// UNMAP of WRITE SAME, in byte 1.
const UNMAP_BIT: u8 = 3;
/// Where COMPARE AND WRITE has its number of blocks.
const COMPARE_COUNT_BYTE: u16 = 13;

impl LogicalUnit {
    pub(super) fn on_medium(&self, command: Command, data_out: u64) -> Result<Step, Refusal> {
        match command {
            Command::Read { range, fua } => {
                let extent = self.transferred(range)?;
                Ok(step(Work::Read { extent, fua }, extent, Transfer::back(extent.len())))
            }
            Command::Write { range, fua } => {
                let fua = self.is_forced(fua);
                self.write(range, data_out, |extent| Work::Write { extent, fua })
            }
            Command::WriteVerify { range, compare } => {
                self.write(range, data_out, |extent| Work::WriteVerify { extent, compare })
            }
            Command::Verify { range, check } => self.verify(range, check, data_out),
            Command::OrWrite { range, fua } => self.or_write(range, fua, data_out),
            Command::CompareAndWrite { range, fua } => self.compare_and_write(range, fua, data_out),
            Command::WriteSame { range, unmap, no_data } => {
                self.write_same(range, unmap, no_data, data_out)
            }
            Command::SynchronizeCache { range } => {
                let extent = self.until_end(range)?;
                Ok(step(Work::Flush { extent }, extent, Transfer::default()))
            }
            Command::PreFetch { range } => {
                let extent = self.until_end(range)?;
                Ok(step(Work::PreFetch { extent }, extent, Transfer::default()))
            }
            Command::LbaStatus { from, allocation } => self.lba_status(from, allocation),
            Command::StartStop { .. } => Ok(Step::Medium(self.flush_all())),
            // Every other command was answered before.
            _ => {
                let code = SenseCode::INTERNAL_TARGET_FAILURE;
                Err(Sense::new(SenseKey::HardwareError, code).into())
            }
        }
    }

    /// Makes everything durable.
    pub(super) fn flush_all(&self) -> Medium {
        let extent = self.config.geometry.whole();
        Medium { work: Work::Flush { extent }, transfer: Transfer::default() }
    }

    /// Without a write cache every write is durable before it is answered (SBC-3, WCE of the
    /// caching mode page).
    pub(super) const fn is_forced(&self, fua: bool) -> bool {
        fua || !self.modes.current.write_cache
    }

    /// Writes as many whole blocks as the initiator has data for; the residual count tells it of
    /// the others. Part of a block cannot be written.
    fn write(
        &self,
        range: Range,
        data_out: u64,
        work: impl FnOnce(Extent) -> Work,
    ) -> Result<Step, Refusal> {
        self.check_writable()?;
        let whole = self.transferred(range)?;
        let transfer = Transfer::out(whole.len());
        let taken = data_out.min(whole.len());
        if !taken.is_multiple_of(u64::from(self.config.geometry.block_bytes())) {
            return Err(unfit(transfer));
        }
        let extent = Extent::between(whole.start(), whole.start() + taken);
        Ok(step(work(extent), extent, transfer))
    }

    fn verify(&self, range: Range, check: ByteCheck, data_out: u64) -> Result<Step, Refusal> {
        let extent = self.transferred(range)?;
        let block = self.config.geometry.block_bytes();
        let compare = match check {
            ByteCheck::Medium => Compare::Nothing,
            ByteCheck::Bytes => Compare::Bytes,
            ByteCheck::Block => Compare::Block { bytes: block },
        };
        let work = Work::Verify { extent, compare };
        let transfer = Transfer::out(if extent.is_empty() { 0 } else { work.data_out() });
        if data_out < transfer.data_out {
            return Err(unfit(transfer));
        }
        Ok(step(work, extent, transfer))
    }

    fn or_write(&self, range: Range, fua: bool, data_out: u64) -> Result<Step, Refusal> {
        self.check_writable()?;
        let extent = self.transferred(range)?;
        let transfer = Transfer::out(extent.len());
        if data_out < transfer.data_out {
            return Err(unfit(transfer));
        }
        let fua = self.is_forced(fua);
        Ok(step(Work::OrWrite { extent, fua }, extent, transfer))
    }

    /// Its data are two halves: were there more or less of it, it would be another command. A count that
    /// does not fit into its byte comes as a smaller one, and shows by its data.
    fn compare_and_write(&self, range: Range, fua: bool, data_out: u64) -> Result<Step, Refusal> {
        self.check_writable()?;
        let extent = self.transferred(range)?;
        let transfer = Transfer::out(2 * extent.len());
        if data_out != transfer.data_out {
            let count = Sense::cdb_field(COMPARE_COUNT_BYTE, None);
            return Err(Refusal::Unfit(count, transfer));
        }
        let fua = self.is_forced(fua);
        Ok(step(Work::CompareAndWrite { extent, fua }, extent, transfer))
    }

    fn write_same(
        &self,
        range: Range,
        unmap: bool,
        no_data: bool,
        data_out: u64,
    ) -> Result<Step, Refusal> {
        let geometry = &self.config.geometry;
        if unmap && self.config.provisioning == Provisioning::Full {
            return Err(Sense::cdb_field(1, Some(UNMAP_BIT)).into());
        }
        let blocks = u64::from(range.blocks);
        if blocks == 0 || blocks > geometry.write_same_blocks_max() {
            return Err(Sense::illegal(SenseCode::INVALID_FIELD_IN_CDB).into());
        }
        self.check_writable()?;
        let extent = self.within(range)?;
        let block = geometry.block_bytes();
        let pattern = if no_data { Pattern::Zeroes } else { Pattern::Block { bytes: block } };
        let work = Work::WriteSame { extent, pattern, unmap, fua: self.is_forced(false) };
        let transfer = Transfer::out(work.data_out());
        if !no_data && data_out != transfer.data_out {
            return Err(unfit(transfer));
        }
        Ok(step(work, extent, transfer))
    }

    fn lba_status(&self, from: Lba, allocation: Allocation) -> Result<Step, Refusal> {
        let extent = self.config.geometry.extent_from(from).ok_or(beyond(from))?;
        let room = allocation.bytes();
        let runs_max = lba_status::descriptors(room).clamp(1, LBA_STATUS_DESCRIPTORS_MAX);
        let work = Work::LbaStatus { extent, runs_max, room };
        Ok(step(work, extent, Transfer::default()))
    }

    /// The bytes of a command that transfers its blocks.
    fn transferred(&self, range: Range) -> Result<Extent, Sense> {
        if u64::from(range.blocks) > self.config.geometry.transfer_blocks_max() {
            return Err(Sense::illegal(SenseCode::INVALID_FIELD_IN_CDB));
        }
        self.within(range)
    }

    fn within(&self, range: Range) -> Result<Extent, Sense> {
        let extent = self.config.geometry.extent(range.lba, range.blocks.into());
        extent.ok_or(beyond(range.lba))
    }

    /// The bytes of a command for which no blocks mean all that are left (SBC-3 5.7, 5.26).
    fn until_end(&self, range: Range) -> Result<Extent, Sense> {
        if range.blocks > 0 {
            return self.within(range);
        }
        let left = self.config.geometry.blocks().checked_sub(range.lba.0);
        left.and_then(|left| self.config.geometry.extent(range.lba, left)).ok_or(beyond(range.lba))
    }
}

/// Work on no block at all is done.
fn step(work: Work, extent: Extent, transfer: Transfer) -> Step {
    if extent.is_empty() {
        Step::Answer(Response::good(transfer))
    } else {
        Step::Medium(Medium { work, transfer })
    }
}

pub(super) const fn beyond(lba: Lba) -> Sense {
    Sense::illegal(SenseCode::LBA_OUT_OF_RANGE).about(lba.0)
}

/// The initiator announced other data than its command describes.
const fn unfit(transfer: Transfer) -> Refusal {
    Refusal::Unfit(Sense::illegal(SenseCode::INVALID_FIELD_IN_INFORMATION_UNIT), transfer)
}
