//! Data of writes: what the caller takes, what R2Ts ask for, and what comes (RFC 7143 sections 11.7
//! and 11.8).

use std::collections::VecDeque;

use super::inflow::Portion;
use super::task::{Condition, State};
use super::{Delivery, Event, Fault, Session, TaskId, ttt};
use crate::frame::Pdu;
use crate::header::Header;
use crate::numbers::Ttt;
use crate::opcode::Opcode;
use crate::parts::Pieces;
use crate::pdu::{DataOut, R2t};

/// Which writes may send R2Ts: as many as have room together, in the order in which they asked.
///
/// A write has room for all that its R2Ts ask for, from the first of them until it is answered. So
/// every write that has begun can go on, and what has not begun holds nothing.
#[derive(Debug)]
pub(super) struct Solicitor {
    /// How much may be asked for, in bytes.
    room: u64,
    reserved: u64,
    waiting: VecDeque<TaskId>,
    next_tag: u32,
}

impl Solicitor {
    pub(super) const fn new(room: u64) -> Self {
        Self { room, reserved: 0, waiting: VecDeque::new(), next_tag: 0 }
    }

    pub(super) fn release(&mut self, length: u32) {
        self.reserved -= u64::from(length);
    }

    /// Whether there is room. One alone always has it.
    fn reserve(&mut self, length: u32) -> bool {
        let length = u64::from(length);
        let fits = self.reserved == 0 || self.reserved + length <= self.room;
        if fits {
            self.reserved += length;
        }
        fits
    }
}

impl Session {
    /// Takes the first `length` bytes of a command's data, or all that the initiator has where that
    /// is less. Returns them when they are all here; else they follow as [`Event::Data`]. What is not
    /// taken is never asked for, and not kept.
    ///
    /// # Panics
    /// When the command's data was taken already, or the command was answered.
    pub fn take(&mut self, task: TaskId, length: u32, delivery: Delivery) -> Option<Pieces> {
        let known = self.tasks.get(task).expect("a command that has not been answered");
        match known.state {
            State::Running => known.inflow.take(length, delivery),
            State::Aborted | State::Broken { .. } => return None,
            State::Held | State::Answered(_) => panic!("a command that the caller has"),
        }
        if let Some(Portion { offset, data, last }) = known.inflow.portion() {
            if last {
                return Some(data);
            }
            self.events.push_back(Event::Data { task, offset, data, last });
        }
        if self.is_ending() {
            self.abort(task);
        } else {
            self.solicit(task);
        }
        None
    }

    /// Where the data of a Data-Out belongs that has begun to come: to which command, and from which
    /// byte of the command's data on. `None` where nobody wants it. For a caller that receives data
    /// into memory of its own; the whole PDU still has to be handled.
    pub fn place_of(&mut self, header: &Header) -> Option<(TaskId, u32)> {
        if header.opcode() != Opcode::DATA_OUT {
            return None;
        }
        let piece = DataOut::decode(header);
        let id = self.tasks.find(piece.itt)?;
        let task = self.tasks.get(id)?;
        let wanted = matches!(task.state, State::Running) && piece.offset == task.inflow.received();
        wanted.then_some((id, piece.offset))
    }

    pub(super) fn data_out(&mut self, pdu: &Pdu) -> Result<(), Fault> {
        let piece = DataOut::decode(&pdu.header);
        // Data of a command that was aborted may still be under way: it is dropped.
        let Some(id) = self.tasks.find(piece.itt) else { return Ok(()) };
        let Some(task) = self.tasks.get(id) else { return Ok(()) };
        match task.state {
            State::Aborted => return Ok(()),
            State::Answered(_) | State::Broken { .. } => task.inflow.skip(&piece),
            State::Held | State::Running => {
                let taken = match piece.ttt {
                    Ttt::NONE => task.inflow.unsolicited(&piece, pdu.data.clone()),
                    Ttt(tag) if tag as u8 == id.slot => {
                        task.inflow.solicited(&piece, tag >> 8, pdu.data.clone())
                    }
                    _ => Err(Fault::UnexpectedData(piece.itt)),
                };
                match (taken, task.state.is_running()) {
                    (Err(Fault::DataOutOfOrder(_)), true) => {
                        self.break_off(id, &piece, Condition::ProtocolServiceCrcError);
                    }
                    (Err(Fault::MissingData(_)), true) => {
                        self.break_off(id, &piece, Condition::IncorrectAmountOfData);
                    }
                    (taken, _) => taken?,
                }
            }
        }
        self.arrived(id);
        Ok(())
    }

    /// Data of a command has been lost: it ends with the condition, but not before everything that is
    /// under way for it has come (RFC 7143 section 7.8).
    fn break_off(&mut self, id: TaskId, piece: &DataOut, condition: Condition) {
        let Some(task) = self.tasks.get(id) else { return };
        task.inflow.skip(piece);
        task.state = State::Broken { condition, released: false };
        self.events.push_back(Event::Aborted(id));
    }

    /// Goes on with a command for which data has come.
    fn arrived(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        match &task.state {
            State::Running => {
                if let Some(Portion { offset, data, last }) = task.inflow.portion() {
                    self.events.push_back(Event::Data { task: id, offset, data, last });
                }
                self.solicit(id);
            }
            State::Answered(_) | State::Broken { released: true, .. }
                if !task.inflow.is_awaited() =>
            {
                self.answer_late(id);
            }
            State::Answered(_) | State::Broken { .. } | State::Held | State::Aborted => {}
        }
    }

    /// Asks for data that the command takes and that will not come unasked.
    fn solicit(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        if task.reserved.is_some() {
            self.send_r2ts(id);
        } else if task.inflow.to_solicit() > 0 {
            self.solicitor.waiting.push_back(id);
            self.grant();
        }
    }

    /// Lets writes begin that have room now.
    pub(super) fn grant(&mut self) {
        while let Some(id) = self.solicitor.waiting.front().copied() {
            if let Some(task) = self.tasks.get(id).filter(|task| task.state.is_running()) {
                let length = task.inflow.to_solicit();
                if !self.solicitor.reserve(length) {
                    return;
                }
                task.reserved = Some(length);
                let bursts = task.inflow.begin_soliciting(self.solicitor.next_tag);
                self.solicitor.next_tag = self.solicitor.next_tag.wrapping_add(bursts);
            }
            self.solicitor.waiting.pop_front();
            self.send_r2ts(id);
        }
    }

    fn send_r2ts(&mut self, id: TaskId) {
        let sequence = self.window.sequence();
        let Some(task) = self.tasks.get(id).filter(|task| task.state.is_running()) else { return };
        while let Some(burst) = task.inflow.next_burst(self.parameters.max_outstanding_r2t) {
            let r2t = R2t {
                lun: task.lun,
                itt: task.itt,
                ttt: ttt(burst.tag, id.slot),
                sequence,
                r2t_sn: burst.number,
                offset: burst.offset,
                length: burst.length,
            };
            self.output.put_pdu(r2t.encode(), &[], &[]);
        }
    }
}
