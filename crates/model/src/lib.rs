//! The migration protocol as models that are explored to the last state.
//!
//! A [`world::World`] has the real machines of `blockferry-migration` and `blockferry-path` in it; what
//! the programs do around them (records, connections, disks) is written again, as small as it can be.
//! [`Migration`] makes it a model for `stateright`; [`search::Graph`] explores it too, and answers what
//! `stateright` does not: whether something can be reached from every state.
//!
//! The README says what the models leave out, and which broken rules they see.

pub mod action;
pub mod client;
pub mod controller;
pub mod destination;
pub mod disk;
pub mod invariant;
pub mod laws;
pub mod live;
pub mod model;
pub mod mutant;
pub mod operation;
pub mod path;
pub mod place;
pub mod proof;
pub mod request;
pub mod scope;
pub mod scopes;
pub mod search;
pub mod skip;
pub mod source;
pub mod switch;
pub mod wire;
pub mod world;

pub use model::Migration;
pub use mutant::Mutant;
pub use scope::Scope;
