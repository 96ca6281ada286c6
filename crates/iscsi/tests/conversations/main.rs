//! Whole conversations between an initiator and the target, in memory.

mod chap;
mod commands;
mod discovery;
mod endings;
mod login;
mod management;
mod refusals;
mod shapes;
mod talk;
mod window;
mod writes;
