//! Which commands may begin: in their order, as their attributes have it (SAM-5 8.6), and while there is
//! room for what they transfer.

use std::collections::VecDeque;

use blockferry_iscsi::pdu::Attribute;
use blockferry_iscsi::{Command, TaskId};

/// Commands that have not begun, and what those have that have.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Command>,
    /// What each command that has begun transfers at most, in bytes, by its place.
    charges: Vec<Option<u64>>,
    charged: u64,
    begun: usize,
    /// The command that has to end before others begin.
    ordered: Option<TaskId>,
}

impl Queue {
    pub(super) fn push(&mut self, command: Command) {
        if command.attribute == Attribute::HeadOfQueue {
            self.waiting.push_front(command);
        } else {
            self.waiting.push_back(command);
        }
    }

    /// Bytes that commands which have begun transfer at most.
    pub(super) const fn charged(&self) -> u64 {
        self.charged
    }

    /// What a command that has begun was charged, in bytes: as much as its initiator expects.
    pub(super) fn charge(&self, task: TaskId) -> u64 {
        self.charges.get(task.slot()).copied().flatten().unwrap_or_default()
    }

    /// The next command that may begin now; `room` is how many bytes may be charged.
    pub(super) fn next(&mut self, room: u64) -> Option<Command> {
        let command = self.waiting.front()?;
        let has_turn = match command.attribute {
            Attribute::HeadOfQueue => true,
            Attribute::Ordered => self.begun == 0,
            _ => self.ordered.is_none(),
        };
        let charge = u64::from(command.read_length.max(command.write_length));
        // One command has room however much it transfers.
        let has_room = self.begun == 0 || self.charged + charge <= room;
        if !has_turn || !has_room {
            return None;
        }
        let command = self.waiting.pop_front()?;
        self.begin(command.task, charge);
        if command.attribute == Attribute::Ordered {
            self.ordered = Some(command.task);
        }
        Some(command)
    }

    fn begin(&mut self, task: TaskId, charge: u64) {
        let place = task.slot();
        if self.charges.len() <= place {
            self.charges.resize(place + 1, None);
        }
        self.charges[place] = Some(charge);
        self.charged += charge;
        self.begun += 1;
    }

    /// A command has ended.
    pub(super) fn end(&mut self, task: TaskId) {
        if let Some(charge) = self.charges.get_mut(task.slot()).and_then(Option::take) {
            self.charged -= charge;
            self.begun -= 1;
        }
        self.ordered.take_if(|ordered| *ordered == task);
    }

    /// Forgets a command that has not begun; tells whether there was one.
    pub(super) fn forget(&mut self, task: TaskId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|command| command.task != task);
        self.waiting.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::reads;

    const ROOM: u64 = 10_000;

    fn queue(of: &[(Attribute, u32)]) -> (Queue, Vec<TaskId>) {
        let (mut queue, commands) = (Queue::default(), reads(of));
        let tasks = commands.iter().map(|command| command.task).collect();
        commands.into_iter().for_each(|command| queue.push(command));
        (queue, tasks)
    }

    /// The commands that may begin now.
    fn begun(queue: &mut Queue) -> Vec<TaskId> {
        std::iter::from_fn(|| queue.next(ROOM)).map(|command| command.task).collect()
    }

    #[test]
    fn commands_begin_in_their_order_and_one_for_the_head_of_the_queue_before_them() {
        let simple = (Attribute::Simple, 1);
        let (mut queue, tasks) = queue(&[simple, simple, (Attribute::HeadOfQueue, 1)]);
        assert_eq!(begun(&mut queue), [tasks[2], tasks[0], tasks[1]]);
    }

    #[test]
    fn an_ordered_command_waits_for_those_before_it_and_holds_back_those_behind_it() {
        let simple = (Attribute::Simple, 1);
        let (mut queue, tasks) = queue(&[simple, (Attribute::Ordered, 1), simple]);
        assert_eq!(begun(&mut queue), [tasks[0]]);
        queue.end(tasks[0]);
        assert_eq!(begun(&mut queue), [tasks[1]]);
        queue.end(tasks[1]);
        assert_eq!(begun(&mut queue), [tasks[2]]);
    }

    #[test]
    fn no_more_begins_than_there_is_room_for_and_one_always_does() {
        let of = |bytes| (Attribute::Simple, bytes);
        let (mut queue, tasks) = queue(&[of(50_000), of(6_000), of(4_000), of(1)]);
        assert_eq!(begun(&mut queue), [tasks[0]], "alone, however long");
        assert_eq!((queue.charged(), queue.charge(tasks[0])), (50_000, 50_000));
        queue.end(tasks[0]);
        assert_eq!(begun(&mut queue), tasks[1..3]);
        queue.end(tasks[1]);
        queue.end(tasks[1]);
        assert_eq!(queue.charged(), 4_000, "it has ended once");
        assert_eq!(begun(&mut queue), [tasks[3]]);
    }

    #[test]
    fn a_command_that_was_forgotten_never_begins() {
        let ordered = (Attribute::Ordered, 1);
        let (mut queue, tasks) = queue(&[ordered, ordered, (Attribute::Simple, 1)]);
        assert_eq!(begun(&mut queue), [tasks[0]]);
        assert!(queue.forget(tasks[1]) && !queue.forget(tasks[1]));
        assert!(!queue.forget(tasks[0]), "it has begun");
        queue.end(tasks[0]);
        assert_eq!(begun(&mut queue), [tasks[2]]);
    }
}
