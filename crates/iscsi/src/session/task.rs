//! The commands that have not been answered.

use bytes::Bytes;

use crate::lun::Lun;
use crate::numbers::{Itt, Serial};
use crate::session::event::Outcome;
use crate::session::inflow::Inflow;

/// A command that has not been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskId {
    pub(super) slot: u8,
    generation: u32,
}

impl TaskId {
    /// A number below [`crate::limits::TASKS_MAX`] that no other command of the session has as long as
    /// this one is not answered.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// A command, as long as it is not answered.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) itt: Itt,
    pub(super) lun: Lun,
    pub(super) cmd_sn: Serial,
    pub(super) immediate: bool,
    /// How much the initiator expects to read, in bytes.
    pub(super) read_length: u32,
    pub(super) inflow: Inflow,
    pub(super) state: State,
    /// Data that R2Ts may ask for on its behalf, in bytes.
    pub(super) reserved: Option<u32>,
}

#[derive(Debug)]
pub(super) enum State {
    /// The caller does not know of it yet.
    Held,
    /// The caller has it.
    Running,
    /// The caller has it, and nobody wants its answer.
    Aborted,
    /// The caller has answered, and data that was asked for has not come.
    Answered(Outcome),
    /// Data has been lost, and the command ends with the condition once all data under way has come and
    /// the caller has let it go.
    Broken {
        condition: Condition,
        /// Whether the caller has.
        released: bool,
    },
}

/// Why a command is ended by the transport (RFC 7143 section 11.4.7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Data is missing in between, as if a digest had not fitted.
    ProtocolServiceCrcError,
    /// Less data came than was asked for.
    IncorrectAmountOfData,
}

impl Condition {
    /// Sense data in fixed format: ABORTED COMMAND with the additional codes.
    pub(super) fn sense(self) -> Bytes {
        let (code, qualifier) = match self {
            Self::ProtocolServiceCrcError => (0x47, 0x05),
            Self::IncorrectAmountOfData => (0x0c, 0x0d),
        };
        let sense = [0x70, 0, 0x0b, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0];
        Bytes::copy_from_slice(&sense)
    }
}

impl State {
    pub(super) const fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

/// All of them, each at its place.
#[derive(Debug)]
pub(super) struct Tasks {
    slots: Vec<Slot>,
    /// The tags, place by place, together so that one is found quickly; [`Itt::NONE`] where a place is
    /// free.
    tags: Vec<Itt>,
    free: Vec<u8>,
    immediate: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    task: Option<Task>,
}

impl Tasks {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), tags: Vec::new(), free: Vec::new(), immediate: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// How many were delivered outside the order of commands.
    pub(super) const fn immediate(&self) -> usize {
        self.immediate
    }

    /// Keeps the task. The caller sees to it that there are fewer than
    /// [`TASKS_MAX`](crate::limits::TASKS_MAX).
    pub(super) fn insert(&mut self, task: Task) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        self.immediate += usize::from(task.immediate);
        self.tags[usize::from(slot)] = task.itt;
        let place = &mut self.slots[usize::from(slot)];
        place.generation = place.generation.wrapping_add(1);
        place.task = Some(task);
        TaskId { slot, generation: place.generation }
    }

    fn grow(&mut self) -> u8 {
        let slot = u8::try_from(self.slots.len()).expect("fewer tasks than places");
        self.slots.push(Slot { generation: 0, task: None });
        self.tags.push(Itt::NONE);
        slot
    }

    pub(super) fn get(&mut self, id: TaskId) -> Option<&mut Task> {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation)?;
        slot.task.as_mut()
    }

    /// The task of the tag.
    pub(super) fn find(&self, itt: Itt) -> Option<TaskId> {
        if itt == Itt::NONE {
            return None;
        }
        let slot = self.tags.iter().position(|tag| *tag == itt)?;
        Some(TaskId { slot: slot as u8, generation: self.slots[slot].generation })
    }

    pub(super) fn remove(&mut self, id: TaskId) -> Option<Task> {
        self.get(id)?;
        let task = self.slots[id.slot()].task.take()?;
        self.tags[id.slot()] = Itt::NONE;
        self.free.push(id.slot);
        self.immediate -= usize::from(task.immediate);
        Some(task)
    }

    /// Every task, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        (0..).zip(&self.slots).filter_map(|(slot, place)| {
            let id = TaskId { slot, generation: place.generation };
            place.task.as_ref().map(|task| (id, task))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(itt: u32) -> Task {
        Task {
            itt: Itt(itt),
            lun: Lun(0),
            cmd_sn: Serial(0),
            immediate: itt % 2 == 1,
            read_length: 0,
            inflow: Inflow::new(0, 0, false, 1),
            state: State::Running,
            reserved: None,
        }
    }

    #[test]
    fn a_task_is_found_by_its_tag_until_it_is_removed() {
        let mut tasks = Tasks::new();
        let (first, second) = (tasks.insert(task(7)), tasks.insert(task(8)));
        assert_eq!((tasks.find(Itt(7)), tasks.find(Itt(8))), (Some(first), Some(second)));
        assert_eq!((tasks.immediate(), tasks.iter().count()), (1, 2));
        assert!(tasks.remove(first).is_some() && tasks.remove(first).is_none());
        assert_eq!((tasks.find(Itt(7)), tasks.find(Itt::NONE)), (None, None));
        assert_eq!((tasks.immediate(), tasks.is_empty()), (0, false));
    }

    #[test]
    fn a_place_is_used_again_and_an_old_name_for_it_is_not() {
        let mut tasks = Tasks::new();
        let old = tasks.insert(task(7));
        tasks.remove(old);
        let new = tasks.insert(task(7));
        assert_eq!(old.slot(), new.slot());
        assert!(tasks.get(old).is_none() && tasks.get(new).is_some());
    }
}
