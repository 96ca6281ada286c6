//! The way of a command: begun at the unit, given its data, done on the medium, answered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use blockferry_block::Extent;
use blockferry_iscsi::pdu::Status;
use blockferry_iscsi::{Cdb, Command, DataPart, Delivery, Outcome, Pieces, TaskId};
use blockferry_scsi::{
    Begun, Failure as WorkFailure, Medium as Wanted, Outcome as WorkOutcome, Response, Step, Work,
    answer_absent,
};
use bytes::Bytes;

use super::Engine;
use super::queue::Queue;
use super::running::{Ended, Settled, Worked};
use crate::execute::{Executed, execute, execute_now};

/// The shortest block of a disk, in bytes.
const BLOCK_BYTES_MIN: u64 = 512;

/// The commands of a session that are not answered.
#[derive(Debug, Default)]
pub(super) struct Commands {
    queue: Queue,
    /// Those whose data has not come.
    awaiting: HashMap<TaskId, Awaiting>,
    /// Those that nobody wants any more, and that go on.
    aborted: HashSet<TaskId>,
}

/// What a command does when its data is there.
#[derive(Debug)]
enum Awaiting {
    Parameters(Cdb),
    Work(Wanted),
}

impl Commands {
    /// Whether nothing goes on that nobody wants any more.
    pub(super) fn has_ended_what_was_aborted(&self) -> bool {
        self.aborted.is_empty()
    }

    pub(super) const fn charged(&self) -> u64 {
        self.queue.charged()
    }
}

impl Engine {
    pub(super) fn queue(&mut self, command: Command) {
        self.commands.queue.push(command);
        self.begin_commands();
    }

    /// Begins what may begin.
    pub(super) fn begin_commands(&mut self) {
        while let Some(command) = self.commands.queue.next(self.limits.buffered_bytes_max) {
            self.begin(&command);
        }
    }

    fn begin(&mut self, command: &Command) {
        let Command { task, cdb, lun, write_length, .. } = command;
        let begun = match &self.disk {
            Some(disk) if lun.number() == Some(0) => {
                disk.membership.begin(cdb, u64::from(*write_length))
            }
            _ => return self.respond(*task, answer_absent(cdb), Vec::new()),
        };
        self.go_on(*task, cdb, begun);
    }

    fn go_on(&mut self, task: TaskId, cdb: &Cdb, begun: Begun) {
        let Begun { step, changed, abort } = begun;
        let Some(disk) = self.disk.as_ref().filter(|_| changed || !abort.is_empty()) else {
            return self.step(task, cdb, step);
        };
        let (settling, cdb) = (disk.membership.settle(abort, changed), cdb.clone());
        self.settling.push(Box::pin(async move {
            let settled = settling.await;
            Ended::Settled(Box::new(Settled { task, cdb, step, settled }))
        }));
    }

    /// What a command has changed is kept, or cannot be.
    pub(super) fn settled(&mut self, settled: Settled) {
        let Settled { task, cdb, step, settled } = settled;
        match settled {
            Ok(()) => self.step(task, &cdb, step),
            Err(failure) => {
                tracing::error!(%failure, "what an initiator has changed of a disk cannot be kept");
                self.answer(task, Outcome { status: Status::BUSY, ..Outcome::good(0) }, &[]);
            }
        }
    }

    fn step(&mut self, task: TaskId, cdb: &Cdb, step: Step) {
        match step {
            Step::Answer(response) => self.respond(task, response, Vec::new()),
            Step::Parameters { bytes } => match self.session.take(task, bytes, Delivery::Whole) {
                Some(list) => self.parameters(task, cdb, list),
                None => self.await_data(task, Awaiting::Parameters(cdb.clone())),
            },
            Step::Medium(wanted) => self.work(task, wanted),
        }
    }

    fn parameters(&mut self, task: TaskId, cdb: &Cdb, list: Pieces) {
        let Some(disk) = &self.disk else { return };
        let begun = disk.membership.parameters(cdb, &list.into_bytes());
        self.go_on(task, cdb, begun);
    }

    fn work(&mut self, task: TaskId, mut wanted: Wanted) {
        expected_alone(&mut wanted.work, self.commands.queue.charge(task));
        let length = u32::try_from(wanted.work.data_out()).unwrap_or(u32::MAX);
        if length == 0 {
            return self.run(task, wanted, Pieces::default());
        }
        match self.session.take(task, length, Delivery::Whole) {
            Some(data) => self.run(task, wanted, data),
            None => self.await_data(task, Awaiting::Work(wanted)),
        }
    }

    fn await_data(&mut self, task: TaskId, what: Awaiting) {
        self.commands.awaiting.insert(task, what);
    }

    /// Data for which a command waits is there.
    pub(super) fn data(&mut self, task: TaskId, data: Pieces) {
        match self.commands.awaiting.remove(&task) {
            Some(Awaiting::Parameters(cdb)) => self.parameters(task, &cdb, data),
            Some(Awaiting::Work(wanted)) => self.run(task, wanted, data),
            None => {}
        }
    }

    fn run(&mut self, task: TaskId, wanted: Wanted, data: Pieces) {
        let Some(disk) = &self.disk else { return };
        let data = match execute_now(&*disk.medium, &wanted.work, data) {
            Ok(executed) => return self.finish(Worked { task, wanted, executed }),
            Err(data) => data,
        };
        let medium = Arc::clone(&disk.medium);
        self.running.push(Box::pin(async move {
            let executed = execute(medium, wanted.work.clone(), data).await;
            Ended::Work(Box::new(Worked { task, wanted, executed }))
        }));
    }

    /// The medium has done what a command wanted.
    pub(super) fn finish(&mut self, worked: Worked) {
        let Worked { task, wanted, executed: Executed { outcome, data } } = worked;
        let Some(disk) = &self.disk else { return };
        if matches!(outcome, WorkOutcome::Failed(WorkFailure::Medium { .. })) {
            tracing::warn!(work = ?wanted.work, "the medium failed");
        }
        let response = disk.membership.unit().with(|unit| unit.finish(&wanted, &outcome));
        self.respond(task, response, data);
    }

    /// The initiator does not want the command any more.
    pub(super) fn aborted(&mut self, task: TaskId) {
        let is_idle =
            self.commands.queue.forget(task) || self.commands.awaiting.remove(&task).is_some();
        if is_idle {
            self.answer(task, Outcome::good(0), &[]);
        } else {
            self.commands.aborted.insert(task);
        }
    }

    fn respond(&mut self, task: TaskId, response: Response, mut data: Vec<DataPart>) {
        let Response { status, sense, data_in, transfer } = response;
        if !data_in.is_empty() {
            data.push(DataPart::Bytes(data_in));
        }
        let sense = sense.map_or_else(Bytes::new, |sense| Bytes::copy_from_slice(sense.as_bytes()));
        let transfers = transfer.data_in.max(transfer.data_out);
        let outcome = Outcome { status: Status(status.code()), sense, transfers };
        self.answer(task, outcome, &data);
    }

    fn answer(&mut self, task: TaskId, outcome: Outcome, data: &[DataPart]) {
        self.commands.queue.end(task);
        self.commands.aborted.remove(&task);
        self.session.respond(task, outcome, data);
    }
}

/// What an initiator does not expect is not sent, so it need not be read: the memory for it would be
/// charged to nobody.
fn expected_alone(work: &mut Work, expected: u64) {
    if let Work::Read { extent, .. } = work
        && expected < extent.len()
    {
        let length = expected.next_multiple_of(BLOCK_BYTES_MIN).min(extent.len());
        *extent = Extent::between(extent.start(), extent.start() + length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_initiator_expects() {
        let read = |end: u64| Work::Read { extent: Extent::between(4096, 4096 + end), fua: false };
        for (described, expected, wanted) in
            [(1 << 25, 512, 512), (1 << 25, 513, 1024), (4096, 1 << 25, 4096), (4096, 0, 0)]
        {
            let mut work = read(described);
            expected_alone(&mut work, expected);
            assert_eq!(work, read(wanted), "{described} described, {expected} expected");
        }
    }
}
