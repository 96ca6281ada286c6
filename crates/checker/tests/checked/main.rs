//! Loads on volumes in memory: honest ones, and others.

mod load;
mod program;
mod volume;
