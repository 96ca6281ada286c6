//! The registers as all writers of a run share them: one lock, held for the bookkeeping only. What
//! is written is made, and what was read is looked at, outside it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use blockferry_block::Extent;
use bytes::Bytes;

use crate::config::{Initial, LoadConfig};
use crate::content::{Bytewise, Tearing};
use crate::event::{Outcome, Tick};
use crate::registers::{ReadUnderWay, Registers, WriteUnderWay};
use crate::stamp::Stamp;
use crate::value::Value;
use crate::violation::{Violation, Violations};

#[derive(Debug)]
pub(crate) struct Proof {
    run: u64,
    tearing: Tearing,
    block_size: u32,
    state: Mutex<State>,
    violations: Mutex<Violations>,
}

#[derive(Debug)]
struct State {
    registers: Registers<Value>,
    now: Tick,
    sequence: u64,
}

impl State {
    fn tick(&mut self) -> Tick {
        self.now = self.now.next();
        self.now
    }
}

impl Proof {
    pub(crate) fn new(run: u64, config: &LoadConfig) -> Self {
        let initial = match config.initial {
            Initial::Unknown => Value::Unknown,
            Initial::Zero => Value::Zero,
        };
        let registers = Registers::new(config.block_size, initial);
        Self {
            run,
            tearing: config.tearing,
            block_size: config.block_size,
            state: Mutex::new(State { registers, now: Tick::START, sequence: 0 }),
            violations: Mutex::default(),
        }
    }

    /// A write by a connection is about to be sent; it is to be filled from the stamp.
    pub(crate) fn begin_write(&self, extent: Extent, writer: u32) -> (WriteUnderWay, Stamp) {
        let mut state = self.state();
        let at = state.tick();
        state.sequence += 1;
        let stamp = Stamp { run: self.run, sequence: state.sequence, writer };
        (state.registers.begin_write(at, extent, Value::Stamp(stamp)), stamp)
    }

    /// A trim or a zeroing is about to be sent.
    pub(crate) fn begin_zeroing(&self, extent: Extent) -> WriteUnderWay {
        let mut state = self.state();
        let at = state.tick();
        state.registers.begin_write(at, extent, Value::Zero)
    }

    /// The write has been answered or given up.
    pub(crate) fn end_write(&self, write: WriteUnderWay, acknowledged: bool) {
        let outcome = if acknowledged { Outcome::Acknowledged } else { Outcome::Unknown };
        let mut state = self.state();
        let at = state.tick();
        let findings = state.registers.end_write(at, write, outcome);
        debug_assert!(findings.is_empty(), "only a refused write can turn out to be wrong");
    }

    /// A read is about to be sent.
    pub(crate) fn begin_read(&self, extent: Extent) -> ReadUnderWay {
        let mut state = self.state();
        let at = state.tick();
        state.registers.begin_read(at, extent)
    }

    /// The read has returned these bytes, as many as it asked for. `request` names it.
    pub(crate) fn end_read(&self, read: ReadUnderWay, bytes: Bytes, request: impl Fn() -> String) {
        let content = Bytewise::new(read.extent(), bytes, self.run, self.tearing, self.block_size);
        let findings = {
            let mut state = self.state();
            let at = state.tick();
            state.registers.end_read(at, read, &content)
        };
        for finding in findings {
            let bytes = content.bytes_of(finding.piece);
            let violation = Violation::new(&finding, bytes, self.run, request());
            self.lock_violations().push(violation);
        }
    }

    /// The read has failed.
    pub(crate) fn abandon_read(&self, read: ReadUnderWay) {
        let mut state = self.state();
        let at = state.tick();
        state.registers.abandon_read(at, read);
    }

    /// What every block that was touched may hold now.
    pub(crate) fn legal(&self) -> Vec<(Extent, Vec<Value>)> {
        self.state().registers.legal().collect()
    }

    pub(crate) fn violations(&self) -> Violations {
        self.lock_violations().clone()
    }

    /// How many violations there were.
    pub(crate) fn violations_total(&self) -> u64 {
        self.lock_violations().total
    }

    pub(crate) const fn run(&self) -> u64 {
        self.run
    }

    fn lock_violations(&self) -> MutexGuard<'_, Violations> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
