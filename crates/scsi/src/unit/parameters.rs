//! Commands that have their parameter list now.

use super::{Begun, LogicalUnit, Step, medium};
use crate::codes::SenseCode;
use crate::command::Command;
use crate::mode;
use crate::nexus::NexusId;
use crate::reservations::out::{self, ReserveOut};
use crate::response::{Refusal, Response, Transfer};
use crate::sense::Sense;
use crate::unmap;
use crate::work::{Medium, Work};

impl LogicalUnit {
    /// Goes on with a command that may be executed. Other commands have no parameter list; they
    /// were answered when they began.
    pub(super) fn take(
        &mut self,
        nexus: NexusId,
        command: Command,
        list: &[u8],
    ) -> Result<Begun, Refusal> {
        let (Command::ModeSelect { length, .. }
        | Command::ReserveOut { length, .. }
        | Command::Unmap { length }) = command
        else {
            return Err(Sense::illegal(SenseCode::INVALID_OPERATION_CODE).into());
        };
        if u32::try_from(list.len()) != Ok(length) {
            let transfer = Transfer::out(length.into());
            return Err(Refusal::Unfit(Sense::illegal(SenseCode::PARAMETER_LIST_LENGTH), transfer));
        }
        match command {
            Command::ModeSelect { long, save, .. } => {
                Ok(self.select_mode(nexus, long, save, list)?)
            }
            Command::ReserveOut { action, scope_and_type, .. } => {
                let request = ReserveOut::parse(action, scope_and_type, list)?;
                self.reserve_out(nexus, &request)
            }
            _ => self.unmap(list),
        }
    }

    /// What was in the write cache has to be durable before it is no more: afterwards nobody asks
    /// for that again.
    fn select_mode(
        &mut self,
        nexus: NexusId,
        long: bool,
        save: bool,
        list: &[u8],
    ) -> Result<Begun, Sense> {
        let before = self.modes;
        let settings = mode::select::settings(list, long, &self.config.geometry, before.current)?;
        self.modes.current = settings;
        if save {
            self.modes.saved = settings;
        }
        if settings != before.current {
            self.nexuses.attend_others(nexus, SenseCode::MODE_PARAMETERS_CHANGED);
        }
        let transfer = Transfer::out(list.len() as u64);
        let step = if before.current.write_cache && !settings.write_cache {
            Step::Medium(Medium { transfer, ..self.flush_all() })
        } else {
            Step::Answer(Response::good(transfer))
        };
        Ok(Begun { changed: self.modes != before, ..step.into() })
    }

    fn reserve_out(&mut self, nexus: NexusId, request: &ReserveOut) -> Result<Begun, Refusal> {
        let session = self.nexuses.get(nexus).ok_or(Refusal::Gone)?;
        let port = session.port.clone();
        let aftermath = self.reservations.execute(&port, request)?;
        for (port, code) in &aftermath.attentions {
            self.nexuses.attend_port(port, *code);
        }
        let abort = self.nexuses.of_ports(&aftermath.aborted);
        let transfer = Transfer::out(out::PARAMETER_BYTES.into());
        let step = Step::Answer(Response::good(transfer));
        Ok(Begun { step, changed: aftermath.changed, abort })
    }

    /// Nothing is given back if any of it is wrong (SBC-3 5.28).
    fn unmap(&self, list: &[u8]) -> Result<Begun, Refusal> {
        self.check_writable()?;
        let geometry = &self.config.geometry;
        let mut extents = Vec::new();
        for range in unmap::ranges(list)? {
            let extent = geometry.extent(range.lba, range.blocks.into());
            let extent = extent.ok_or(medium::beyond(range.lba))?;
            if !extent.is_empty() {
                extents.push(extent);
            }
        }
        let transfer = Transfer::out(list.len() as u64);
        if extents.is_empty() {
            return Ok(Step::Answer(Response::good(transfer)).into());
        }
        let work = Work::Unmap { extents, fua: self.is_forced(false) };
        Ok(Step::Medium(Medium { work, transfer }).into())
    }
}
