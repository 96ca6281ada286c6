//! Answers to commands: data, status, and what was not transferred (RFC 7143 sections 11.4 and 11.7).

use super::task::{State, Task};
use super::{Outcome, Session, TaskId};
use crate::numbers::Ttt;
use crate::parts::{Cursor, DataPart};
use crate::pdu::{DataIn, Residual, ResponseCode, ScsiResponse, Status};

/// Sense data, in bytes (SPC-4 4.5.1).
const SENSE_BYTES_MAX: usize = 252;

impl Session {
    /// Answers a command: with what it read, and how it ended. The answer leaves when data that is
    /// still under way for the command has come. More data than the initiator expects is not sent.
    ///
    /// # Panics
    /// When the command was answered already.
    pub fn respond(&mut self, task: TaskId, outcome: Outcome, data: &[DataPart]) {
        let waits = !self.is_ending();
        let known = self.tasks.get(task).expect("a command that has not been answered");
        match known.state {
            State::Aborted => self.end(task),
            State::Running if waits && known.inflow.is_awaited() => {
                known.state = State::Answered(outcome);
            }
            State::Running => self.answer(task, &outcome, data),
            State::Broken { ref mut released, .. } => {
                *released = true;
                if !waits || !known.inflow.is_awaited() {
                    self.answer_late(task);
                }
            }
            State::Held | State::Answered(_) => panic!("a command that the caller has"),
        }
    }

    /// Sends the answer of a command whose data has come at last, or is given up. It has nothing to read.
    pub(super) fn answer_late(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else { return };
        let outcome = match std::mem::replace(&mut task.state, State::Aborted) {
            State::Answered(outcome) => outcome,
            State::Broken { condition, .. } => Outcome::check_condition(condition.sense()),
            State::Held | State::Running | State::Aborted => return,
        };
        self.answer(id, &outcome, &[]);
    }

    /// Takes the command off the session's lists, so that another may come.
    pub(super) fn end(&mut self, id: TaskId) {
        self.remove(id);
        self.after_end();
    }

    fn answer(&mut self, id: TaskId, outcome: &Outcome, data: &[DataPart]) {
        let task = self.remove(id);
        self.send_answer(&task, outcome, data);
        self.after_end();
    }

    fn remove(&mut self, id: TaskId) -> Task {
        let counted = !self.is_ahead(id);
        let task = self.tasks.remove(id).expect("a command that has not been answered");
        if counted && !task.immediate {
            self.window.release();
        }
        if let Some(length) = task.reserved {
            self.solicitor.release(length);
        }
        task
    }

    /// What may have waited for the end of a command.
    fn after_end(&mut self) {
        self.grant();
        self.settle_managements();
        self.settle_logout();
    }

    fn send_answer(&mut self, task: &Task, outcome: &Outcome, data: &[DataPart]) {
        let has: u64 = data.iter().map(DataPart::len).sum();
        let length = u32::try_from(has).unwrap_or(u32::MAX).min(task.read_length);
        let residual = residual(task, outcome, length);
        // Sense data has no place in a Data-In (RFC 7143 section 11.7.3).
        let end = outcome.sense.is_empty().then_some((outcome.status, residual));
        let pieces = self.send_data(task, data, length, end);
        if pieces == 0 || end.is_none() {
            self.send_status(task, outcome, residual, pieces + task.inflow.r2ts_sent());
        }
    }

    /// Sends the first `length` bytes of the data; says in how many pieces.
    fn send_data(
        &mut self,
        task: &Task,
        data: &[DataPart],
        length: u32,
        end: Option<(Status, Residual)>,
    ) -> u32 {
        let (segment_max, burst_max) =
            (self.parameters.initiator_segment_max, self.parameters.max_burst);
        let mut cursor = Cursor::new(data);
        let (mut offset, mut data_sn) = (0, 0);
        while offset < length {
            let left_of_burst = burst_max - offset % burst_max;
            let piece = (length - offset).min(segment_max).min(left_of_burst);
            let end = end.filter(|_| offset + piece == length);
            let header = DataIn {
                last: piece == left_of_burst || offset + piece == length,
                acknowledge: false,
                end,
                lun: Default::default(),
                itt: task.itt,
                ttt: Ttt::NONE,
                sequence: match end {
                    Some(_) => self.window.status(),
                    None => self.window.sequence(),
                },
                data_sn,
                offset,
            };
            let pieces = cursor.take(piece as usize);
            self.output.put_data_pdu(header.encode(), piece as usize, pieces);
            offset += piece;
            data_sn += 1;
        }
        data_sn
    }

    fn send_status(&mut self, task: &Task, outcome: &Outcome, residual: Residual, pdus: u32) {
        let response = ScsiResponse {
            residual,
            response: ResponseCode::COMPLETED,
            status: outcome.status,
            itt: task.itt,
            sequence: self.window.status(),
            expected_data_sn: pdus,
        };
        let sense = &outcome.sense[..outcome.sense.len().min(SENSE_BYTES_MAX)];
        if sense.is_empty() {
            return self.output.put_pdu(response.encode(), &[], &[]);
        }
        let mut segment = [0; 2 + SENSE_BYTES_MAX];
        segment[..2].copy_from_slice(&(sense.len() as u16).to_be_bytes());
        segment[2..2 + sense.len()].copy_from_slice(sense);
        self.output.put_pdu(response.encode(), &[], &segment[..2 + sense.len()]);
    }
}

/// What the command leaves undone of what its initiator expected, or would have done beyond.
/// `sent` is how much was read and is sent.
fn residual(task: &Task, outcome: &Outcome, sent: u32) -> Residual {
    if sent < task.read_length {
        return Residual::Underflow(task.read_length - sent);
    }
    // One of the two is 0.
    let expected = task.read_length + task.inflow.expected();
    Residual::of(expected, outcome.transfers.max(u64::from(sent)))
}
