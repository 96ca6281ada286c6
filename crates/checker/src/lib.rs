//! A checked load: every block is a register, every answer is proved.

mod event;
mod register;
mod registers;

pub use event::{Content, Fault, Outcome, Tick};
pub use registers::{Finding, ReadUnderWay, Registers, WriteUnderWay};
