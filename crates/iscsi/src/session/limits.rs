//! How much a session may have under way.

use crate::limits::TASKS_MAX;

/// Most commands for immediate delivery that are taken at a time.
const IMMEDIATE_MAX: u16 = 64;

/// How much a session may have under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Commands at a time, beside those for immediate delivery: 1 to 191.
    pub window: u16,
    /// Commands for immediate delivery at a time: 1 to 64.
    pub immediate_max: u16,
    /// Data that R2Ts may ask for, for all commands that have not been answered, in bytes. A single
    /// command may have more.
    pub solicited_bytes_max: u64,
    /// Output that may wait to be sent before no more input is wanted, in bytes.
    pub unsent_bytes_max: usize,
}

impl Default for SessionLimits {
    /// What keeps a fast device busy: as many commands as Linux sends at most (`node.session.cmds_max`
    /// is 128), and 8 MiB of their data.
    fn default() -> Self {
        Self {
            window: 128,
            immediate_max: 16,
            solicited_bytes_max: 8 << 20,
            unsent_bytes_max: 4 << 20,
        }
    }
}

impl SessionLimits {
    /// The limits with every value inside its bounds.
    #[must_use]
    pub fn within_bounds(self) -> Self {
        Self {
            window: self.window.clamp(1, TASKS_MAX - IMMEDIATE_MAX),
            immediate_max: self.immediate_max.clamp(1, IMMEDIATE_MAX),
            solicited_bytes_max: self.solicited_bytes_max,
            unsent_bytes_max: self.unsent_bytes_max.max(1),
        }
    }
}
