//! A seeded world of clock, network, disks and files that runs the state machines and the code that
//! makes their records durable.

pub mod client;
pub mod compare;
pub mod content;
pub mod controller;
pub mod destination;
pub mod disk;
pub mod executor;
pub mod exhaust;
pub mod fault;
pub mod fences;
pub mod folder;
mod frames;
pub mod initiator;
pub mod link;
pub mod message;
pub mod mutants;
pub mod mutation;
pub mod network;
pub mod plan;
pub mod random;
pub mod records;
pub mod registers;
pub mod route;
pub mod source;
pub mod terms;
pub mod unit;
pub mod volume;
pub mod witness;
pub mod world;

pub use exhaust::Strike;
pub use mutation::{Mutation, Mutations};
pub use plan::{Plan, Trouble};
pub use world::{Outcome, run, run_plan};
