//! The events of a migration. Their JSON form is part of the outside contract: fields are added,
//! never renamed.

use serde::Serialize;

use crate::report::Report;

/// What a migration is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Everything is checked, nothing is touched.
    Preflight,
    /// The destination creates the volume, the source attaches.
    Begin,
    /// The switches learn the destination.
    Announce,
    /// The ordered copy.
    Copy,
    /// Both sides are read and compared.
    Verify,
    /// The last differences go over, everything becomes durable.
    Settle,
    /// The change of owner.
    Commit,
    /// The destination becomes owner.
    Own,
    /// Every path moves.
    Move,
}

impl Phase {
    /// The phase in a sentence's place.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Preflight => "checking",
            Self::Begin => "creating the volume at the destination",
            Self::Announce => "announcing the destination to the switches",
            Self::Copy => "copying",
            Self::Verify => "comparing both sides",
            Self::Settle => "settling",
            Self::Commit => "committing",
            Self::Own => "the destination becomes owner",
            Self::Move => "moving the paths",
        }
    }
}

/// The truth at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Progress {
    /// What is being done.
    pub(crate) phase: Phase,
    /// Bytes that the phase has dealt with.
    pub(crate) done_bytes: u64,
    /// Bytes that it has to deal with.
    pub(crate) total_bytes: u64,
    /// Over the last seconds; absent until it is known, and while nothing moves.
    pub(crate) bytes_per_second: Option<u64>,
    /// From what is left and the rate; absent without one.
    pub(crate) seconds_left: Option<u64>,
    /// What the slowest hundredth of the clients' requests took lately, in milliseconds; absent without
    /// requests.
    pub(crate) client_p99_ms: Option<f64>,
    /// Bytes a second that the source holds the copy to for the clients' sake; absent when it does not.
    pub(crate) held_to_bytes_per_second: Option<u64>,
    /// `W`.
    pub(crate) reserved_address: u64,
    /// `R`.
    pub(crate) read_cursor: u64,
    /// Client writes carried by the mirror.
    pub(crate) mirrored_bytes: u64,
    /// What only a resync makes equal again.
    pub(crate) dirty_bytes: u64,
    /// Entries of the source's in-flight record.
    pub(crate) in_flight_updates: u64,
    /// Whether an operator paused the copy.
    pub(crate) paused: bool,
    /// What keeps it from going on.
    pub(crate) trouble: Option<String>,
}

/// Something to show.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// What would be done (`--dry-run`).
    Plan {
        /// The volume.
        volume: String,
        /// Its size.
        size: u64,
        /// What would be done, a line each.
        steps: Vec<String>,
    },
    /// A phase begins.
    Phase {
        /// The volume.
        volume: String,
        /// Which.
        phase: Phase,
    },
    /// How far it is.
    Progress(Progress),
    /// Something worth a line: a wait, a reconnection, a switch that needs longer.
    Note {
        /// The line.
        message: String,
    },
    /// Another tool carries the data.
    Copier {
        /// The volume.
        volume: String,
        /// What to read from.
        source: String,
        /// What to write to, in ascending order.
        destination: String,
    },
    /// Everything is equal and waits for `commit`.
    Held {
        /// The volume.
        volume: String,
    },
    /// The end.
    Done(Box<Report>),
}
