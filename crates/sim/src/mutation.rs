//! Rules of the programs that a test breaks on purpose, to show that the checks see it.

use blockferry_migration::Faults;

/// What is broken in a run; nothing unless a test says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutations {
    /// In the machines.
    pub machine: Faults,
    /// In the programs around them.
    pub program: Option<Mutation>,
}

/// A rule that a program breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// An attach is answered while the record of a checkpoint is being written.
    AttachDuringCheckpoint,
    /// The destination flushes for Ready before it writes through.
    FlushBeforeWriteThrough,
    /// The destination does not write through from Ready on.
    NoWriteThrough,
    /// The destination answers a checkpoint without having flushed.
    CheckpointWithoutFlush,
    /// The destination goes on after a flush that failed.
    FailedFlushUnnoticed,
    /// The activity log is not durable before the write goes anywhere.
    LogBehindWrites,
    /// The source forwards before its commit record is durable.
    ForwardBeforeRecord,
    /// A mirror connection is opened again without having fenced the one before.
    MirrorWithoutFence,
    /// What failed on a mirror or forward connection is forwarded without a fence.
    ForwardWithoutFence,
    /// A client's requests are sent again without a fence.
    ReplayWithoutFence,
    /// A restarted source begins with an empty activity log.
    LogForgotten,
    /// `W` passes a copy write before it is executed.
    AddressBeforeWrite,
    /// A mirror write counts as executed when it is sent.
    AnswerBeforeMirror,
    /// A checkpoint lets units leave the activity log without a flush of the source.
    LogWithoutFlush,
    /// A resync counts as done when it is sent.
    CleanAtSend,
    /// The destination knows copy writes by their address alone.
    EpochIgnored,
    /// A client sends its last answered update once more when its path is replaced.
    AnsweredSentAgain,
    /// What is sent again has lost its force-unit-access flag.
    FuaDropped,
    /// A restarted destination that was ready owns the volume.
    OwnerWithoutProof,
    /// The switch answers flushes itself.
    FlushInSwitch,
    /// The destination's disk error reaches the client of the source.
    MirrorErrorToClient,
    /// What the copier could not read counts as zeroes.
    ReadErrorIgnored,
    /// Trims stay at the source.
    TrimNotMirrored,
    /// The copy ends with the last whole leaf.
    LastLeafSkipped,
    /// Controllers' terms are not recorded.
    TermNotDurable,
    /// Two controllers that take over at the same time get the same term.
    TermsTakenTogether,
    /// The source gives a migration up before that is durable.
    AbortBeforeRecord,
    /// A record that could not be written counts as durable.
    FailedRecordUnnoticed,
    /// Frames of a journal count as records whatever their checksum is.
    ChecksumsIgnored,
    /// The last record of a journal that is opened is not written again.
    NotSettled,
    /// The names in a folder are not made durable.
    NamesNotSynced,
    /// What is appended to a journal is not made durable.
    AppendNotSynced,
    /// The new content of a journal is not made durable before it takes the old one's place.
    ContentNotSynced,
    /// Nothing is compared before the commit.
    NotCompared,
    /// A new worker of the switch sends again without a fence.
    SuccessorWithoutFence,
    /// A login is answered while commands of the older session may go on.
    EndedSessionExecutes,
    /// The commit does not wait for initiators' commands.
    CommitWithoutHush,
    /// A source that has committed goes on taking initiators in.
    LoginAfterCommit,
    /// The destination is not told what initiators have set.
    DiskNotSent,
    /// A COMPARE AND WRITE compares before it has its block for itself.
    CompareBeforeTurn,
}

impl From<Faults> for Mutations {
    fn from(machine: Faults) -> Self {
        Self { machine, program: None }
    }
}

impl From<Mutation> for Mutations {
    fn from(mutation: Mutation) -> Self {
        Self { machine: Faults::default(), program: Some(mutation) }
    }
}
