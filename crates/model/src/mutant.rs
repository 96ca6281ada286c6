//! Rules that are broken on purpose, to show that the properties see it.

/// One broken rule, by its number in the catalogue of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// m1: a claimed extent is read without a look at the updates under way.
    ReadTooEarly,
    /// m2: `W` grows when a copy write begins, not when it has been executed.
    EarlyAdvance,
    /// m3: an update is mirrored after its answer, and dirty in no case.
    MirrorAfterAnswer,
    /// m4: a restarted source has forgotten its activity log.
    DirtyVolatile,
    /// m5: units leave the activity log when an update is answered.
    LogClearedAtAnswer,
    /// m6: an extent is clean when its resync has been sent.
    ResyncForgives,
    /// m7: the destination looks at the address of a copy write only, not at its epoch.
    AddressOnly,
    /// m8: requests are sent again without a fence.
    ReplayWithoutFence,
    /// m9: a request that was answered is sent again too.
    ReplayAnswered,
    /// m10: a request that is sent again has lost its FUA flag.
    FuaDropped,
    /// m11: the destination promises to be ready without a flush.
    ReadyWithoutFlush,
    /// m12: the source forwards before its commit record is durable.
    ForwardBeforeRecord,
    /// m14: a restarted destination takes its own promise for a proof of the commit.
    OwnedByPromise,
    /// m17: overlapping updates are not ordered.
    Unordered,
    /// m18: the switch answers a flush itself.
    FlushByProxy,
    /// m19: that a server shuts down is told to the client.
    ShutdownForwarded,
    /// m20: the copier ignores that a read has failed.
    ReadErrorIgnored,
    /// m21: the destination takes mirror writes above `W`.
    MirrorAbove,
    /// m24: an update is split at the read cursor of a moment before it was recorded.
    SplitTooEarly,
    /// m25: trims are not mirrored.
    TrimNotMirrored,
    /// m26: the last, short extent is not copied.
    ShortEndSkipped,
    /// m27: the sweep does not know of updates that were under way when it began.
    BeginForgets,
    /// A restarted destination has forgotten its fences.
    FenceVolatile,
    /// Found here: whether a mirror write has to be durable is asked before it is executed.
    ThroughByArrival,
    /// Found here: the destination becomes owner while mirror writes are under way.
    OwnedWithMirrors,
    /// Found here: a late attach takes back the promise on which the commit relies.
    OwnedByPhase,
    /// Found here: a former owner that was restarted confirms a fence for itself alone.
    FenceStaysHere,
}
