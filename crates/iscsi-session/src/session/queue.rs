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
