//! Protocol faults that a test seeds to show that its checker sees them.

/// Faults to commit on purpose. All are off unless a test turns them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Claims are read without waiting for the updates in flight (breaks I5).
    pub claim_without_waiting: bool,
    /// Writes below the read cursor are applied at the source only (breaks I7).
    pub skip_mirror: bool,
    /// The destination applies mirror writes above its reserved address (breaks I3).
    pub mirror_above_reserved: bool,
    /// Updates that overlap do not wait for one another (breaks I6).
    pub unordered_updates: bool,
    /// A refused mirror write does not make its extent dirty (breaks I7).
    pub forget_dirty: bool,
    /// The copy does not wait for updates from before the migration (breaks I5).
    pub begin_unseen: bool,
    /// The destination calls durable what it has not flushed (breaks I8); only programs do.
    pub skip_flush: bool,
    /// The destination is not told what initiators have set of a disk (breaks I8); only programs do.
    pub forget_disk: bool,
}
