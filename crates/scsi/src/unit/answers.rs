//! Commands that are answered from what the unit knows.

use bytes::Bytes;

use super::{Begun, LogicalUnit, Step};
use crate::codes::SenseCode;
use crate::command::Command;
use crate::inquiry;
use crate::limits::PARAMETER_BYTES_MAX;
use crate::mode;
use crate::nexus::NexusId;
use crate::reports;
use crate::reservations::out;
use crate::response::{Refusal, Response, Transfer};
use crate::sense::{Sense, SenseFormat, SenseKey};

impl LogicalUnit {
    /// Begins a command that may be executed.
    pub(super) fn start(
        &mut self,
        nexus: NexusId,
        command: Command,
        data_out: u64,
    ) -> Result<Begun, Refusal> {
        let answer = match command {
            Command::Reserve => {
                self.reserved_by = Some(nexus);
                Bytes::new()
            }
            Command::Release => {
                self.reserved_by.take_if(|holder| *holder == nexus);
                Bytes::new()
            }
            Command::RequestSense { format, allocation } => {
                let sense = self.take_sense(nexus, format);
                allocation.cut(sense)
            }
            Command::ModeSelect { length, .. } => return needs(length, 0..=PARAMETER_BYTES_MAX),
            Command::ReserveOut { length, .. } => {
                return needs(length, out::PARAMETER_BYTES..=out::PARAMETER_BYTES);
            }
            Command::Unmap { length } => {
                self.check_writable()?;
                return needs(length, 0..=PARAMETER_BYTES_MAX);
            }
            command => match self.tell(&command)? {
                Some(answer) => answer,
                None => return Ok(self.on_medium(command, data_out)?.into()),
            },
        };
        Ok(Step::Answer(Response::data(answer)).into())
    }

    /// Answers a command that asks and changes nothing; `None` for all others.
    fn tell(&self, command: &Command) -> Result<Option<Bytes>, Sense> {
        let config = &self.config;
        Ok(Some(match command {
            Command::Ready | Command::PreventAllow | Command::StartStop { flush: false } => {
                Bytes::new()
            }
            Command::Inquiry { page: None, allocation } => allocation.cut(inquiry::standard()),
            Command::Inquiry { page: Some(page), allocation } => {
                allocation.cut(inquiry::page(*page, config)?)
            }
            Command::ReportLuns { select, allocation } => {
                allocation.cut(reports::luns(*select, allocation.0)?)
            }
            Command::ReadCapacity10 => Bytes::from(reports::capacity_10(&config.geometry)),
            Command::ReadCapacity16 { allocation } => allocation.cut(reports::capacity_16(config)),
            Command::ReportCommands { query, timeouts, allocation } => {
                let commands = reports::commands(*query, *timeouts, config.provisioning)?;
                allocation.cut(commands)
            }
            Command::ReportTaskManagement { extended, allocation } => {
                allocation.cut(reports::task_management(*extended))
            }
            Command::ReadDefectData { long, lists, allocation } => {
                allocation.cut(reports::defects(*long, *lists))
            }
            Command::ModeSense(query) => {
                let protected = self.is_write_protected();
                let pages = mode::sense::answer(query, &self.modes, &config.geometry, protected)?;
                query.allocation.cut(pages)
            }
            Command::ReserveIn { report, allocation } => {
                allocation.cut(self.reservations.report(*report))
            }
            _ => return Ok(None),
        }))
    }

    /// What waits for the nexus, told as data (SPC-4 6.39).
    fn take_sense(&mut self, nexus: NexusId, format: SenseFormat) -> Vec<u8> {
        let code = self.nexuses.get_mut(nexus).and_then(|session| session.attentions.take());
        let sense = code.map_or_else(reports::nothing_to_tell, |code| {
            Sense::new(SenseKey::UnitAttention, code)
        });
        sense.encode(format).as_bytes().to_vec()
    }

    /// Refuses to change the volume where it is protected.
    pub(super) const fn check_writable(&self) -> Result<(), Sense> {
        if self.config.read_only {
            Err(Sense::new(SenseKey::DataProtect, SenseCode::WRITE_PROTECTED))
        } else if self.modes.current.write_protect {
            Err(Sense::new(SenseKey::DataProtect, SenseCode::SOFTWARE_WRITE_PROTECTED))
        } else {
            Ok(())
        }
    }
}

/// Asks for a parameter list; one of no bytes changes nothing (SPC-4 4.2.5.5).
fn needs(bytes: u32, possible: std::ops::RangeInclusive<u32>) -> Result<Begun, Refusal> {
    if !possible.contains(&bytes) {
        return Err(Sense::illegal(SenseCode::PARAMETER_LIST_LENGTH).into());
    }
    let step = match bytes {
        0 => Step::Answer(Response::good(Transfer::default())),
        _ => Step::Parameters { bytes },
    };
    Ok(step.into())
}
