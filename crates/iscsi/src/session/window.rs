//! Which commands are taken, and the numbers of what is sent (RFC 7143 section 4.2.2).

use crate::numbers::{Sequence, Serial};

/// The numbers of a session of one connection.
#[derive(Debug)]
pub(super) struct Window {
    /// How many commands are taken at a time.
    size: u32,
    /// The next command.
    expected: Serial,
    /// Commands that have been taken in their order and have not been answered. Those for immediate
    /// delivery do not count.
    in_use: u32,
    /// The next status.
    stat_sn: Serial,
}

/// Where a command's number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next one.
    Next,
    /// Others have to come before it.
    Ahead,
    /// It was there already, or may not come yet.
    Outside,
}

impl Window {
    pub(super) const fn new(size: u16, expected: Serial, stat_sn: Serial) -> Self {
        Self { size: size as u32, expected, in_use: 0, stat_sn }
    }

    pub(super) const fn expected(&self) -> Serial {
        self.expected
    }

    pub(super) fn place(&self, cmd_sn: Serial) -> Place {
        if cmd_sn.precedes(self.expected) || self.max().precedes(cmd_sn) {
            Place::Outside
        } else if cmd_sn == self.expected {
            Place::Next
        } else {
            Place::Ahead
        }
    }

    /// The next command has come.
    pub(super) fn advance(&mut self) {
        self.expected = self.expected.next();
    }

    /// What has come is a command that has to be answered.
    pub(super) fn occupy(&mut self) {
        self.in_use += 1;
        assert!(self.in_use <= self.size, "only commands inside the window are taken");
    }

    /// A command has been answered.
    pub(super) fn release(&mut self) {
        self.in_use -= 1;
    }

    /// The numbers of a PDU without a status.
    pub(super) const fn sequence(&self) -> Sequence {
        Sequence { stat_sn: self.stat_sn, expected_cmd_sn: self.expected, max_cmd_sn: self.max() }
    }

    /// The numbers of a PDU with a status.
    pub(super) fn status(&mut self) -> Sequence {
        let sequence = self.sequence();
        self.stat_sn = self.stat_sn.next();
        sequence
    }

    /// The last command that may come. It never goes back: a command that comes takes as much from
    /// the room as it moves the window.
    const fn max(&self) -> Serial {
        self.expected.plus(self.size - self.in_use).minus(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_between_the_expected_one_and_the_last() {
        let window = Window::new(4, Serial(u32::MAX), Serial(0));
        assert_eq!(window.place(Serial(u32::MAX - 1)), Place::Outside);
        assert_eq!(window.place(Serial(u32::MAX)), Place::Next);
        assert_eq!(window.place(Serial(0)), Place::Ahead);
        assert_eq!(window.place(Serial(2)), Place::Ahead);
        assert_eq!(window.place(Serial(3)), Place::Outside);
    }

    #[test]
    fn a_full_window_takes_nothing_until_a_command_is_answered() {
        let mut window = Window::new(2, Serial(1), Serial(0));
        for _ in 0..2 {
            window.advance();
            window.occupy();
            assert_eq!(window.sequence().max_cmd_sn, Serial(2));
        }
        assert_eq!(window.place(Serial(3)), Place::Outside);
        window.release();
        assert_eq!(window.place(Serial(3)), Place::Next);
        assert_eq!(window.place(Serial(4)), Place::Outside);
    }

    #[test]
    fn only_a_status_has_a_number_of_its_own() {
        let mut window = Window::new(1, Serial(0), Serial(7));
        assert_eq!(window.sequence().stat_sn, Serial(7));
        assert_eq!(window.status().stat_sn, Serial(7));
        assert_eq!(window.status().stat_sn, Serial(8));
    }
}
