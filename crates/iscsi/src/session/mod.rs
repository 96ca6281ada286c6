//! A session in full feature phase, the target's side, with its one connection (RFC 7143 section
//! 4.2).
//!
//! ```text
//!   Serving <--drain, resume--> Draining --+
//!      |                                   |
//!      +---------- logout -----------------+--> LoggingOut --> Closed
//! ```
//!
//! The caller feeds PDUs to [`Session::handle`], does what [`Session::poll_event`] says, answers
//! commands with [`Session::respond`] and sends what [`Session::output`] holds. A caller that feeds
//! all PDUs that have come before it sends anything sends the answers to all of them in one vectored
//! write.
//!
//! Memory is bounded: by the window of commands, by the data that R2Ts may ask for, by the data that
//! may come without one, and by [`Session::wants_input`], which is to be asked before bytes are taken
//! from the peer.

mod answer;
mod command;
mod data_out;
mod ending;
mod event;
mod fault;
mod inflow;
mod limits;
mod management;
mod nop;
mod task;
mod text;
mod window;

use std::collections::VecDeque;

pub use event::{
    Command, Delivery, Event, ManagementId, Notice, Outcome, QueryId, Reconnect, TargetEntry,
    TargetQuery,
};
pub use fault::Fault;
pub use limits::SessionLimits;
pub use task::TaskId;

use bytes::Buf;
use command::Held;
use data_out::Solicitor;
use management::Managements;
use task::Tasks;
use text::Exchange;
use window::{Place, Window};

use crate::frame::Pdu;
use crate::header::Header;
use crate::login::{Established, SessionKey};
use crate::numbers::{Cid, Itt, Serial, Ttt};
use crate::opcode::Opcode;
use crate::outbox::Outbox;
use crate::parameters::{Parameters, SessionType};
use crate::pdu::{Reject, RejectReason};

/// The place in a transfer tag of what belongs to no task.
const NO_SLOT: u8 = u8::MAX;

/// A session in full feature phase.
#[derive(Debug)]
pub struct Session {
    key: SessionKey,
    cid: Cid,
    parameters: Parameters,
    limits: SessionLimits,
    phase: Phase,
    window: Window,
    tasks: Tasks,
    /// What has come ahead of its turn, by its number.
    ahead: Vec<(Serial, Held)>,
    /// Commands that wait for the end of a drain.
    parked: VecDeque<Command>,
    solicitor: Solicitor,
    managements: Managements,
    exchange: Option<Exchange>,
    /// The ping that has not been answered.
    ping: Option<Ttt>,
    next_tag: u32,
    events: VecDeque<Event>,
    output: Outbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Commands are kept back.
    Draining,
    /// The initiator has asked to go; the answer waits for the commands under way.
    LoggingOut(Itt),
    Closed,
}

impl Session {
    /// The session that a login has made.
    pub fn new(established: Established, limits: SessionLimits) -> Self {
        let Established { key, cid, parameters, next_stat_sn, next_cmd_sn, .. } = established;
        let limits = limits.within_bounds();
        let mut output = Outbox::new();
        output.set_digests(parameters.digests);
        Self {
            key,
            cid,
            parameters,
            phase: Phase::Serving,
            window: Window::new(limits.window, next_cmd_sn, next_stat_sn),
            tasks: Tasks::new(),
            ahead: Vec::new(),
            parked: VecDeque::new(),
            solicitor: Solicitor::new(limits.solicited_bytes_max),
            managements: Managements::default(),
            exchange: None,
            ping: None,
            next_tag: 0,
            events: VecDeque::new(),
            output,
            limits,
        }
    }

    /// Which session it is.
    pub const fn key(&self) -> &SessionKey {
        &self.key
    }

    /// What was negotiated.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Takes the next PDU.
    ///
    /// # Errors
    /// When the session cannot go on: send the output and close the connection.
    pub fn handle(&mut self, pdu: Pdu) -> Result<(), Fault> {
        if self.phase == Phase::Closed {
            return Ok(());
        }
        match pdu.header.opcode() {
            Opcode::DATA_OUT => self.data_out(&pdu),
            Opcode::NOP_OUT
            | Opcode::SCSI_COMMAND
            | Opcode::MANAGEMENT_REQUEST
            | Opcode::TEXT_REQUEST
            | Opcode::LOGOUT_REQUEST => self.command(pdu),
            Opcode::SNACK => {
                self.reject(RejectReason::SNACK, &pdu.header);
                Ok(())
            }
            opcode if opcode == Opcode::LOGIN_REQUEST || is_of_target(opcode) => {
                Err(Fault::Unexpected(opcode))
            }
            _ => {
                self.reject(RejectReason::NOT_SUPPORTED, &pdu.header);
                Ok(())
            }
        }
    }

    /// The next thing to do; `None` when there is nothing. Nothing comes for a command that has been
    /// answered meanwhile.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            let event = self.events.pop_front()?;
            match event {
                Event::Data { task, .. } | Event::Aborted(task)
                    if self.tasks.get(task).is_none() => {}
                event => return Some(event),
            }
        }
    }

    /// What is to be sent to the initiator.
    pub const fn output(&mut self) -> &mut Outbox {
        &mut self.output
    }

    /// Whether more PDUs should be taken: not while the initiator does not take what it is sent.
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Closed && self.output.remaining() < self.limits.unsent_bytes_max
    }

    fn session_type(&self) -> SessionType {
        match self.key.target {
            Some(_) => SessionType::Normal,
            None => SessionType::Discovery,
        }
    }

    /// Does what a command says when its turn has come, which for an immediate one is at once.
    fn command(&mut self, pdu: Pdu) -> Result<(), Fault> {
        if pdu.header.is_immediate() {
            self.execute(pdu);
            return Ok(());
        }
        let cmd_sn = pdu.header.cmd_sn();
        match self.window.place(cmd_sn) {
            Place::Outside => {}
            Place::Ahead => self.hold(cmd_sn, pdu)?,
            Place::Next => {
                self.window.advance();
                self.execute(pdu);
                self.release_held();
            }
        }
        Ok(())
    }

    fn execute(&mut self, pdu: Pdu) {
        match pdu.header.opcode() {
            Opcode::SCSI_COMMAND => self.scsi_command(pdu),
            Opcode::MANAGEMENT_REQUEST => self.management_request(&pdu.header),
            Opcode::TEXT_REQUEST => self.text_request(&pdu),
            Opcode::LOGOUT_REQUEST => self.logout_request(&pdu.header),
            _ => self.nop_out(&pdu),
        }
    }

    fn reject(&mut self, reason: RejectReason, header: &Header) {
        let reject = Reject { reason, sequence: self.window.status(), data_sn: 0 };
        self.output.put_pdu(reject.encode(), &[], &header.0);
    }

    /// A transfer tag of what belongs to no task.
    fn new_ttt(&mut self) -> Ttt {
        self.next_tag = self.next_tag.wrapping_add(1);
        ttt(self.next_tag & 0x7f_ffff, NO_SLOT)
    }
}

/// The tag with the number, of which 24 bits count, and the place.
const fn ttt(number: u32, slot: u8) -> Ttt {
    Ttt(number << 8 | slot as u32)
}

/// Whether only targets send such PDUs.
fn is_of_target(opcode: Opcode) -> bool {
    opcode.0 & 0x20 != 0
}
