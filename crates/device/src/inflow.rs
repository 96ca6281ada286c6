//! A write whose data comes while it is executed.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::Answer;

/// A write that has begun before its data is there.
pub struct Inflow {
    /// Where the data goes. Dropping it before all has come ends the write, which fails then.
    pub sink: Box<dyn PieceSink>,
    /// What becomes of the write. It may be known before all data has come.
    pub answer: Answer,
}

/// Takes the data of one write, in order and without gaps.
pub trait PieceSink: Send {
    /// Ready when there is room for one more piece. A sink has room for a few: what it keeps is memory
    /// that its giver answers for.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes the next piece, after [`PieceSink::poll_ready`] was ready. What comes after the write has
    /// failed is dropped.
    fn push(&mut self, piece: Bytes);
}
