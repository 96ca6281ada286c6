//! Trials: the real programs move a volume under a checked load, and one of them is struck at a named
//! point of its course: killed and restarted, stopped for a while, or cut off from the others. In the
//! end the migration has to be complete, with one owner, nothing lost and no client error.
//!
//! A trial is a line of text, and that line repeats it. [`matrix`] makes the trials of all labels,
//! [`calls`] those of all system calls, and the runner runs several at a time.

pub mod calls;
pub mod matrix;

mod disk;
mod figures;
mod network;
mod play;
mod relays;
mod runner;
mod stage;
mod strike;
mod trial;
mod verdict;

pub use figures::Figures;
pub use network::enter as enter_own_network;
pub use relays::Relays;
pub use runner::{Bounds, Shown, Verdict, run_all, run_one};
pub use stage::Setting;
pub use trial::{Blow, Fault, Party, Point, Trial};
