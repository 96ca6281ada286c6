//! SCSI commands until the caller has them: whether they may come, and when their turn is (RFC 7143
//! sections 4.2.2.1 and 11.3).

use super::task::{State, Task};
use super::{Command, Event, Phase, Session, TaskId};
use crate::cdb::{BadAhs, Cdb};
use crate::frame::Pdu;
use crate::limits::LOGIN_SEGMENT_BYTES_MAX;
use crate::numbers::{Itt, Serial};
use crate::opcode::Opcode;
use crate::parameters::SessionType;
use crate::pdu::{RejectReason, ScsiCommand};
use crate::session::Fault;
use crate::session::inflow::Inflow;

/// What has come ahead of its turn.
#[derive(Debug)]
pub(super) enum Held {
    /// Nothing is left to be done.
    Nothing,
    /// A SCSI command, which has its place already: its data may follow.
    Command(Box<Command>),
    /// Anything else.
    Other(Box<Pdu>),
}

impl Session {
    pub(super) fn scsi_command(&mut self, pdu: Pdu) {
        match self.admit(&pdu) {
            Ok(command) => {
                if !command.immediate {
                    self.window.occupy();
                }
                self.present(command);
            }
            Err(reason) => self.reject(reason, &pdu.header),
        }
    }

    /// Keeps what has come ahead of its turn, once.
    pub(super) fn hold(&mut self, cmd_sn: Serial, pdu: Pdu) -> Result<(), Fault> {
        if self.ahead.iter().any(|(held, _)| *held == cmd_sn) {
            return Ok(());
        }
        let opcode = pdu.header.opcode();
        let held = if opcode == Opcode::SCSI_COMMAND {
            match self.admit(&pdu) {
                Ok(command) => Held::Command(Box::new(command)),
                Err(reason) => {
                    self.reject(reason, &pdu.header);
                    Held::Nothing
                }
            }
        } else if pdu.data.len() > LOGIN_SEGMENT_BYTES_MAX as usize {
            return Err(Fault::AheadWithData(opcode));
        } else {
            Held::Other(Box::new(pdu))
        };
        self.ahead.push((cmd_sn, held));
        Ok(())
    }

    /// Goes on with what was held and whose turn has come.
    pub(super) fn release_held(&mut self) {
        while let Some(held) = self.next_held() {
            self.window.advance();
            match held {
                Held::Nothing => {}
                Held::Other(pdu) => self.execute(*pdu),
                Held::Command(command) => {
                    self.window.occupy();
                    self.present(*command);
                }
            }
        }
    }

    fn next_held(&mut self) -> Option<Held> {
        let expected = self.window.expected();
        let at = self.ahead.iter().position(|(cmd_sn, _)| *cmd_sn == expected)?;
        Some(self.ahead.swap_remove(at).1)
    }

    /// The command of the number counts as having come, though it never will.
    pub(super) fn void(&mut self, cmd_sn: Serial) {
        self.ahead.push((cmd_sn, Held::Nothing));
        self.release_held();
    }

    /// Forgets a command that the caller does not know of.
    pub(super) fn forget_held(&mut self, id: TaskId) {
        self.parked.retain(|command| command.task != id);
        for (_, held) in &mut self.ahead {
            if matches!(held, Held::Command(command) if command.task == id) {
                *held = Held::Nothing;
            }
        }
    }

    /// Whether the window does not count the task, whose turn has not come.
    pub(super) fn is_ahead(&self, id: TaskId) -> bool {
        let is_it = |held: &Held| matches!(held, Held::Command(command) if command.task == id);
        self.ahead.iter().any(|(_, held)| is_it(held))
    }

    /// Gives commands that were kept back to the caller.
    pub(super) fn present_parked(&mut self) {
        for command in std::mem::take(&mut self.parked) {
            self.present(command);
        }
    }

    /// Gives the command, whose turn has come, to the caller.
    fn present(&mut self, command: Command) {
        match self.phase {
            Phase::Serving => {
                let task = self.tasks.get(command.task).expect("a command has its task");
                task.state = State::Running;
                let available = task.inflow.received();
                self.events.push_back(Event::Command(Command { available, ..command }));
            }
            Phase::Draining => self.parked.push_back(command),
            // The initiator has said that there would be no more commands.
            Phase::LoggingOut(_) | Phase::Closed => self.end(command.task),
        }
    }

    /// Gives the command a place, where it may have one.
    fn admit(&mut self, pdu: &Pdu) -> Result<Command, RejectReason> {
        let request = ScsiCommand::decode(&pdu.header);
        self.check(&request, pdu.data.len())?;
        let cdb = Cdb::with_ahs(request.cdb, &pdu.ahs).map_err(|bad| match bad {
            BadAhs::Malformed => RejectReason::INVALID_FIELD,
            BadAhs::Bidirectional => RejectReason::NOT_SUPPORTED,
        })?;
        let length = |has: bool| if has { request.expected_length } else { 0 };
        let (read_length, write_length) = (length(request.read), length(request.write));
        let parameters = &self.parameters;
        let mut inflow =
            Inflow::new(write_length, parameters.first_burst, !request.last, parameters.max_burst);
        inflow.begin(pdu.data.clone());
        let task = self.tasks.insert(Task {
            itt: request.itt,
            lun: request.lun,
            cmd_sn: request.cmd_sn,
            immediate: request.immediate,
            read_length,
            inflow,
            state: State::Held,
            reserved: None,
        });
        Ok(Command {
            task,
            lun: request.lun,
            cdb,
            attribute: request.attribute,
            immediate: request.immediate,
            read_length,
            write_length,
            available: 0,
        })
    }

    fn check(&self, request: &ScsiCommand, data_length: usize) -> Result<(), RejectReason> {
        if self.session_type() == SessionType::Discovery {
            return Err(RejectReason::PROTOCOL_ERROR);
        }
        if request.itt == Itt::NONE {
            return Err(RejectReason::INVALID_FIELD);
        }
        if self.tasks.find(request.itt).is_some() {
            return Err(RejectReason::TASK_IN_PROGRESS);
        }
        if request.read && request.write {
            return Err(RejectReason::NOT_SUPPORTED);
        }
        if !self.may_carry(request, data_length) {
            return Err(RejectReason::PROTOCOL_ERROR);
        }
        if request.immediate && self.tasks.immediate() >= usize::from(self.limits.immediate_max) {
            return Err(RejectReason::TOO_MANY_IMMEDIATE);
        }
        Ok(())
    }

    /// Whether the command may have the data that it carries and announces (RFC 7143 sections 11.3.4
    /// and 13.10 to 13.14).
    fn may_carry(&self, request: &ScsiCommand, data_length: usize) -> bool {
        let parameters = &self.parameters;
        let carried_max = match request.write && parameters.immediate_data {
            true => request.expected_length.min(parameters.first_burst) as usize,
            false => 0,
        };
        let more_may_follow = request.write && !parameters.initial_r2t;
        data_length <= carried_max && (request.last || more_may_follow)
    }
}
