//! Unit attentions: what a nexus has to hear before its next command is executed (SAM-5 5.14).

use std::collections::VecDeque;

use crate::codes::SenseCode;
use crate::limits::ATTENTIONS_MAX;

/// What waits for one nexus, oldest first, each thing once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attentions(VecDeque<SenseCode>);

impl Attentions {
    /// Adds something, unless it waits already.
    pub(crate) fn push(&mut self, code: SenseCode) {
        if !self.0.contains(&code) && self.0.len() < ATTENTIONS_MAX {
            self.0.push_back(code);
        }
    }

    /// Leaves nothing but a reset, which covers everything before it.
    pub(crate) fn reset(&mut self, code: SenseCode) {
        self.0.clear();
        self.0.push_back(code);
    }

    /// The oldest, which is told now.
    pub(crate) fn take(&mut self) -> Option<SenseCode> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_twice_is_told_once_and_in_order() {
        let mut attentions = Attentions::default();
        attentions.push(SenseCode::MODE_PARAMETERS_CHANGED);
        attentions.push(SenseCode::RESERVATIONS_RELEASED);
        attentions.push(SenseCode::MODE_PARAMETERS_CHANGED);
        assert_eq!(attentions.take(), Some(SenseCode::MODE_PARAMETERS_CHANGED));
        assert_eq!(attentions.take(), Some(SenseCode::RESERVATIONS_RELEASED));
        assert_eq!(attentions.take(), None);
    }

    #[test]
    fn a_reset_covers_what_came_before_and_nothing_after() {
        let mut attentions = Attentions::default();
        attentions.push(SenseCode::MODE_PARAMETERS_CHANGED);
        attentions.reset(SenseCode::DEVICE_RESET);
        attentions.push(SenseCode::RESERVATIONS_PREEMPTED);
        assert_eq!(attentions.take(), Some(SenseCode::DEVICE_RESET));
        assert_eq!(attentions.take(), Some(SenseCode::RESERVATIONS_PREEMPTED));
        assert_eq!(attentions.take(), None);
    }
}
