//! Measures blockferry beside its peers on one machine, and writes down what came of it.
//!
//! Everything that is measured is another process, ours as well as the peers', so that none of them
//! is favoured; rounds are interleaved, and figures are compared within their round. Results are kept
//! as JSON lines, from which the page and its charts can be made again.
//!
//! It judges nothing but figures: that no data was lost is for the tests to prove.

mod bench;
mod callgrind;
mod child;
pub mod cli;
mod controller;
mod fio;
mod goals;
mod image;
mod initiators;
mod interrupt;
mod link;
pub mod load;
mod machine;
mod noise;
mod ours;
mod parts;
mod peers;
mod qmp;
mod record;
mod report;
mod requests;
mod statistics;
mod tgt;
