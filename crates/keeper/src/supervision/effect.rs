//! What comes of the rules: what the shell does with which worker.

/// A worker's number; they are counted from one.
pub(crate) type Run = u64;

/// What a worker is started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// What there is on disk now.
    OnDisk,
    /// The very one that the keeper runs, though it may be on no disk any more.
    Own,
}

/// What the shell has to do once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Start a process under this number.
    Start(Run, Program),
    /// Tell it to begin.
    Begin(Run),
    /// Give it the clients.
    Serve(Run),
    /// Tell it to hand over.
    HandOver(Run),
    /// Tell it to end everything.
    ShutDown(Run),
    /// Kill it.
    Kill(Run),
    /// The new one is none; the present one goes on.
    Refused(Run),
    /// All is over.
    Finish,
    /// The very first worker has ended before it could serve.
    GiveUp,
}

/// What becomes of the clients at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Their connections end, too.
    ForGood,
    /// Another keeper goes on with them.
    ToAnother,
}

impl Program {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::OnDisk => Self::Own,
            Self::Own => Self::OnDisk,
        }
    }
}
