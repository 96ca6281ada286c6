//! The invariants of the design, and which of them a run has broken.

macro_rules! invariants {
    ($($id:ident $text:literal),* $(,)?) => {
        /// What must hold in every state. The numbers are those of the architecture.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum Invariant { $($id),* }

        impl Invariant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// Number and text, as a property is named.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$id => concat!(stringify!($id), ": ", $text)),* }
            }
        }
    };
}

invariants! {
    I1 "one side at a time acknowledges on its own authority",
    I2 "a copy write is executed at W only, and all below W_durable is durable",
    I3 "before the commit a mirror write ends at or below W",
    I4 "W is never beyond R",
    I5 "a claimed extent is read when its local-only writes have ended",
    I6 "overlapping writes are applied in one order",
    I7 "an acknowledged write below W is at the destination or dirty",
    I8 "what was promised durable is durable at the owner",
    I9 "what a crash may have made unequal is in the activity log",
    I10 "the commit happens only when everything is there and durable",
    I11 "no mirror failure is acknowledged as dirty while the commit is unknown",
    I12 "nothing that was fenced is executed",
    I13 "a replay is executed when its older copy can no longer be",
    I14 "at the commit both volumes are equal but for the unanswered",
    I15 "each extent is a register",
    L1 "without failures every extent is copied once",
    Errors "a client sees no error but its own disk's",
}

/// The invariants that something has broken on the way to a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken(u32);

impl Broken {
    /// Notes that it does not hold.
    pub fn note(&mut self, invariant: Invariant) {
        self.0 |= 1 << invariant as u32;
    }

    /// Notes it unless it holds.
    pub fn unless(&mut self, holds: bool, invariant: Invariant) {
        if !holds {
            self.note(invariant);
        }
    }

    /// Whether it has been broken.
    pub fn has(self, invariant: Invariant) -> bool {
        self.0 & 1 << invariant as u32 != 0
    }
}
