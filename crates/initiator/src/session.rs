//! A session of an initiator in full feature phase, without its socket: PDUs go in, PDUs come out.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use blockferry_iscsi::pdu::{
    AsyncEvent, AsyncMessage, Attribute, DataIn, DataOut, LogoutReason, LogoutRequest, NopIn,
    NopOut, R2t, Request, Response, ResponseCode, ScsiCommand, ScsiResponse, Status,
};
use blockferry_iscsi::{Cid, Itt, Lun, Outbox, Pdu, Sequence, Serial, Ttt};
use bytes::{Bytes, BytesMut};

use crate::command::{Command, Sense};
use crate::login::Established;
use crate::{Completion, Task};

/// A task was ended by another initiator (SAM-5 5.3.1).
const TASK_ABORTED: Status = Status(0x40);

/// The disk.
const LUN: Lun = Lun(0);

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection was closed or has failed.
    Lost,
    /// The target does not answer.
    Silent,
    /// The target has asked for a logout, and granted it.
    LoggedOut,
    /// Nobody is left who wants something.
    Unwanted,
    /// The target has broken the protocol.
    Fault(String),
}

pub(crate) struct Session {
    established: Established,
    cmd_sn: Serial,
    max_cmd_sn: Serial,
    expected_stat_sn: Serial,
    next_tag: u32,
    /// What the window keeps back, or a logout.
    waiting: VecDeque<Task>,
    sent: BTreeMap<u32, Sent>,
    pub(crate) outbox: Outbox,
    /// The target was asked for a sign of life.
    pub(crate) is_pinged: bool,
    is_leaving: bool,
}

struct Sent {
    task: Task,
    received: BytesMut,
}

impl Session {
    pub(crate) fn new(established: Established, unanswered: VecDeque<Task>) -> Self {
        Self {
            cmd_sn: established.cmd_sn,
            max_cmd_sn: established.max_cmd_sn,
            expected_stat_sn: established.expected_stat_sn,
            established,
            next_tag: 1,
            waiting: unanswered,
            sent: BTreeMap::new(),
            outbox: Outbox::new(),
            is_pinged: false,
            is_leaving: false,
        }
    }

    pub(crate) fn add(&mut self, task: Task) {
        self.waiting.push_back(task);
    }

    /// What has to be sent again in another session, in its order.
    pub(crate) fn into_unanswered(self) -> VecDeque<Task> {
        let again = |sent: Sent| Task { repeated: true, ..sent.task };
        self.sent.into_values().map(again).chain(self.waiting).collect()
    }

    /// Sends what the window lets pass.
    pub(crate) fn pump(&mut self) {
        while !self.is_leaving && !self.max_cmd_sn.precedes(self.cmd_sn) {
            let Some(task) = self.waiting.pop_front() else { return };
            self.send(task);
        }
    }

    fn send(&mut self, task: Task) {
        let Command { cdb, data_out, data_in_bytes } = &task.command;
        let (read, write) = (*data_in_bytes > 0, !data_out.is_empty());
        let itt = self.tag();
        let command = ScsiCommand {
            immediate: false,
            last: true,
            read,
            write,
            attribute: Attribute::Simple,
            lun: LUN,
            itt,
            expected_length: if write { length(data_out) } else { *data_in_bytes },
            cmd_sn: self.cmd_sn,
            expected_stat_sn: self.expected_stat_sn,
            cdb: *cdb,
        };
        self.cmd_sn = self.cmd_sn.next();
        let immediate = data_out.slice(..data_out.len().min(self.established.immediate_max));
        self.put(Request::ScsiCommand(command), &immediate);
        self.sent.insert(itt.0, Sent { task, received: BytesMut::new() });
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&mut self) {
        let itt = self.tag();
        self.is_pinged = true;
        self.nop(itt, Ttt::NONE, LUN);
    }

    fn nop(&mut self, itt: Itt, ttt: Ttt, lun: Lun) {
        let (cmd_sn, expected_stat_sn) = (self.cmd_sn, self.expected_stat_sn);
        let nop = NopOut { immediate: true, lun, itt, ttt, cmd_sn, expected_stat_sn };
        self.put(Request::NopOut(nop), &[]);
    }

    fn log_out(&mut self) {
        self.is_leaving = true;
        let logout = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_SESSION,
            itt: self.tag(),
            cid: Cid(0),
            cmd_sn: self.cmd_sn,
            expected_stat_sn: self.expected_stat_sn,
        };
        self.put(Request::Logout(logout), &[]);
    }

    /// Takes a PDU of the target.
    pub(crate) fn handle(&mut self, pdu: &Pdu) -> Result<(), End> {
        self.is_pinged = false;
        let response = Response::decode(&pdu.header)
            .ok_or_else(|| fault("a PDU that no target sends", &pdu.header))?;
        match response {
            Response::Scsi(response) => self.completed(&response, &pdu.data),
            Response::DataIn(data) => self.data_in(&data, &pdu.data),
            Response::R2t(r2t) => self.asked_for(&r2t),
            Response::NopIn(nop) => self.nop_in(&nop),
            Response::Async(message) => self.told(&message),
            Response::Logout(response) => {
                self.status(response.sequence)?;
                Err(End::LoggedOut)
            }
            other => Err(fault("nothing that was asked for", &other)),
        }
    }

    fn completed(&mut self, response: &ScsiResponse, data: &[u8]) -> Result<(), End> {
        self.status(response.sequence)?;
        if response.response != ResponseCode::COMPLETED {
            return Err(fault("a command was not completed", response));
        }
        self.end(response.itt, response.status, Sense::decode(data))
    }

    fn data_in(&mut self, part: &DataIn, data: &[u8]) -> Result<(), End> {
        self.window(part.sequence);
        let sent = self.sent.get_mut(&part.itt.0).ok_or_else(|| fault("of no task", part))?;
        let room = sent.task.command.data_in_bytes as usize - sent.received.len();
        if part.offset as usize != sent.received.len() || data.len() > room {
            return Err(fault("data that does not follow", part));
        }
        sent.received.extend_from_slice(data);
        let Some((status, _)) = part.end else { return Ok(()) };
        self.status(part.sequence)?;
        self.end(part.itt, status, Sense::default())
    }

    fn asked_for(&mut self, r2t: &R2t) -> Result<(), End> {
        self.window(r2t.sequence);
        let sent = self.sent.get(&r2t.itt.0).ok_or_else(|| fault("of no task", r2t))?;
        let data = sent.task.command.data_out.clone();
        let (from, to) = (r2t.offset as usize, r2t.offset as usize + r2t.length as usize);
        if to > data.len() || r2t.length == 0 {
            return Err(fault("more data than there is", r2t));
        }
        let mut at = from;
        for (data_sn, piece) in (0..).zip(data[from..to].chunks(self.established.segment_max)) {
            let part = DataOut {
                last: at + piece.len() == to,
                lun: r2t.lun,
                itt: r2t.itt,
                ttt: r2t.ttt,
                expected_stat_sn: self.expected_stat_sn,
                data_sn,
                offset: u32::try_from(at).unwrap_or(u32::MAX),
            };
            self.put(Request::DataOut(part), piece);
            at += piece.len();
        }
        Ok(())
    }

    fn nop_in(&mut self, nop: &NopIn) -> Result<(), End> {
        if nop.itt == Itt::NONE {
            self.window(nop.sequence);
            if nop.ttt != Ttt::NONE {
                self.nop(Itt::NONE, nop.ttt, nop.lun);
            }
            return Ok(());
        }
        self.status(nop.sequence)
    }

    fn told(&mut self, message: &AsyncMessage) -> Result<(), End> {
        self.status(message.sequence)?;
        // What is going to be dropped is used until it is.
        if message.event == AsyncEvent::LOGOUT_REQUEST && !self.is_leaving {
            self.log_out();
        }
        Ok(())
    }

    /// A command has ended. What says no more than that it was not executed is sent again.
    fn end(&mut self, itt: Itt, status: Status, sense: Sense) -> Result<(), End> {
        let Sent { task, received } =
            self.sent.remove(&itt.0).ok_or_else(|| fault("of no task", &itt))?;
        let again = match status {
            Status::BUSY | Status::TASK_SET_FULL | TASK_ABORTED => true,
            Status::CHECK_CONDITION => sense.key == Sense::UNIT_ATTENTION,
            _ => false,
        };
        let repeated = task.repeated;
        if again {
            let is_untouched = status == Status::CHECK_CONDITION;
            self.waiting.push_back(Task { repeated: repeated || !is_untouched, ..task });
            return Ok(());
        }
        if status == Status::GOOD && received.len() > task.command.data_in_bytes as usize {
            return Err(fault("more data than was asked for", &itt));
        }
        let completion = Completion { status, sense, data: received.freeze(), repeated };
        // Who does not wait any more need not know.
        let _ = task.answer.send(completion);
        Ok(())
    }

    fn tag(&mut self) -> Itt {
        self.next_tag += 1;
        Itt(self.next_tag)
    }

    fn put(&mut self, request: Request, data: &[u8]) {
        self.outbox.put_pdu(request.encode(), &[], data);
    }

    /// The numbers of a PDU with a status.
    fn status(&mut self, sequence: Sequence) -> Result<(), End> {
        if sequence.stat_sn != self.expected_stat_sn {
            return Err(fault("a status out of its order", &sequence));
        }
        self.expected_stat_sn = self.expected_stat_sn.next();
        self.window(sequence);
        Ok(())
    }

    fn window(&mut self, sequence: Sequence) {
        if self.max_cmd_sn.precedes(sequence.max_cmd_sn) {
            self.max_cmd_sn = sequence.max_cmd_sn;
        }
    }
}

fn length(data: &Bytes) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

fn fault(what: &str, told: &impl fmt::Debug) -> End {
    End::Fault(format!("{what}: {told:?}"))
}
