//! Rules that are broken on purpose, to show that the properties see it.

macro_rules! mutants {
    ($($id:ident $number:literal $text:literal),* $(,)?) => {
        /// A broken rule. Those of the failure catalogue have its numbers, others say where they are
        /// from.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Mutant { $($id),* }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// Its number.
            pub const fn number(self) -> &'static str {
                match self { $(Self::$id => $number),* }
            }

            /// What is wrong.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$id => $text),* }
            }
        }
    };
}

mutants! {
    ReadTooEarly "m1" "a claimed extent is read without a look at the updates under way",
    EarlyAdvance "m2" "`W` grows when a copy write begins, not when it has been executed",
    MirrorAfterAnswer "m3" "an update is mirrored after its answer, and dirty in no case",
    DirtyVolatile "m4" "a restarted source has forgotten what may be dirty",
    LogClearedAtAnswer "m5" "units leave the activity log when an update is answered",
    ResyncForgives "m6" "an extent is clean once its resync was sent",
    AddressOnly "m7" "the destination looks at the address of a copy write only, not at its epoch",
    ReplayWithoutFence "m8" "requests are sent again without a fence",
    ReplayAnswered "m9" "a request that was answered is sent again too",
    FuaDropped "m10" "a request that is sent again has lost its FUA flag",
    ReadyWithoutFlush "m11" "the destination promises to be ready without a flush",
    ForwardBeforeRecord "m12" "the source forwards before its commit record is durable",
    OwnedByPromise "m14" "a restarted destination takes its own promise for a proof of the commit",
    Unordered "m17" "overlapping updates are not ordered",
    FlushByProxy "m18" "the switch answers a flush itself",
    ShutdownForwarded "m19" "that a server shuts down is told to the client",
    ReadErrorIgnored "m20" "the copier ignores that a read has failed",
    MirrorAbove "m21" "the destination takes mirror writes above `W`",
    TermVolatile "m22" "restarted storage programs have forgotten the controllers' terms",
    SplitTooEarly "m24" "an update is split at the read cursor of a moment before it was recorded",
    TrimNotMirrored "m25" "trims are not mirrored",
    ShortEndSkipped "m26" "the last, short extent is not copied",
    BeginForgets "m27" "the sweep does not know of updates that were under way when it began",
    FenceVolatile "x1" "a restarted destination has forgotten its fences",
    ThroughByArrival "x2" "whether a mirror write has to be durable is asked before it is executed",
    OwnedWithMirrors "x3" "the destination becomes owner while mirror writes are under way",
    OwnedByPhase "x4" "a late attach takes back the promise that the commit relies on",
    FenceStaysHere "x5" "a restarted former owner confirms a fence for itself alone",
    AbortedBeforeRecord "x6" "the source ends the migration before the record of it is durable",
    CommitBesideAbort "x7" "a commit begins while the record of an abort is being written",
    NumbersAgain "x8" "the switch's next worker numbers its links as the one that died",
}
