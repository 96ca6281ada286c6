//! The migration protocol as models that are explored to the last state.
#![allow(clippy::cast_possible_truncation)]

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
