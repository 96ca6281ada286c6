//! What was wrong with an answer, told so that a person can find the fault.

use std::fmt;

use blockferry_block::Extent;
use serde::Serialize;

use crate::content::full_cells;
use crate::event::Fault;
use crate::registers::Finding;
use crate::stamp::{CELL, Stamp};
use crate::value::{Value, is_zero};

/// Violations that are kept with all their details; of the others only the number is.
pub const KEPT_MAX: usize = 64;

/// Legal values of one block that are named.
const LEGAL_MAX: usize = 4;

/// Different contents of one block that are named.
const RUNS_MAX: usize = 4;

/// How a content is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// An acknowledged write is not there, and has never been seen: lost, or hidden by older data.
    Lost,
    /// A newer content had been read before.
    WentBack,
    /// A block shows parts of several writes, which no write that was under way explains.
    Torn,
    /// A write of this run, some bytes of which are of none.
    Damaged,
    /// What was written for another place.
    Misdirected,
    /// Nothing that this run wrote there.
    Foreign,
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost or stale",
            Self::WentBack => "went back in time",
            Self::Torn => "torn",
            Self::Damaged => "damaged",
            Self::Misdirected => "misdirected",
            Self::Foreign => "foreign content",
        })
    }
}

/// One piece of a block that held what it may not hold (I15).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Violation {
    /// How it is wrong.
    pub kind: ViolationKind,
    /// First byte of the piece.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// What was read.
    pub found: String,
    /// What would have been legal.
    pub legal: String,
    /// Which request read it, and when.
    pub request: String,
}

impl Violation {
    /// Describes a finding by the bytes that were read.
    pub(crate) fn new(finding: &Finding<Value>, bytes: &[u8], run: u64, request: String) -> Self {
        let piece = finding.piece;
        let runs = runs(piece, bytes);
        let legal = finding.legal.iter().take(LEGAL_MAX);
        let mut legal: Vec<_> = legal.map(ToString::to_string).collect();
        if let Some(more) = finding.legal.len().checked_sub(LEGAL_MAX).filter(|more| *more > 0) {
            legal.push(format!("one of {more} more"));
        }
        Self {
            kind: kind(&runs, run, finding),
            start: piece.start(),
            end: piece.end(),
            found: describe(&runs, run),
            legal: legal.join(", or "),
            request,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, start, end, found, legal, request } = self;
        write!(f, "[{start}, {end}) {kind}: holds {found}; expected {legal} ({request})")
    }
}

/// What a run of bytes shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Zero,
    /// A write, and how far from its place, in bytes.
    Write(Stamp, i128),
    Other,
}

/// The piece as runs of equal kind.
fn runs(piece: Extent, bytes: &[u8]) -> Vec<(Extent, Shown)> {
    let mut runs: Vec<(Extent, Shown)> = Vec::new();
    let mut add = |part: Extent, shown| match runs.last_mut() {
        Some((last, same)) if *same == shown => *last = Extent::between(last.start(), part.end()),
        _ if part.is_empty() => {}
        _ => runs.push((part, shown)),
    };
    let mut at = piece.start();
    for cell in full_cells(piece) {
        add(Extent::between(at, cell.start()), Shown::Other);
        let offset = usize::try_from(cell.start() - piece.start()).unwrap_or(usize::MAX);
        add(cell, show(cell, bytes.get(offset..).unwrap_or_default()));
        at = cell.end();
    }
    add(Extent::between(at, piece.end()), Shown::Other);
    if is_zero(bytes) { vec![(piece, Shown::Zero)] } else { without_edges(runs) }
}

fn show(cell: Extent, bytes: &[u8]) -> Shown {
    let Some(bytes) = bytes.get(..CELL) else { return Shown::Other };
    match Stamp::decode(bytes) {
        Some((stamp, offset)) => Shown::Write(stamp, i128::from(cell.start()) - i128::from(offset)),
        None if is_zero(bytes) => Shown::Zero,
        None => Shown::Other,
    }
}

/// Parts of cells at the edges of a piece tell nothing, unless there is nothing else.
fn without_edges(runs: Vec<(Extent, Shown)>) -> Vec<(Extent, Shown)> {
    let short =
        |(part, shown): &(Extent, Shown)| *shown == Shown::Other && part.len() < CELL as u64;
    let long: Vec<_> = runs.iter().copied().filter(|run| !short(run)).collect();
    if long.is_empty() { runs } else { long }
}

fn kind(runs: &[(Extent, Shown)], run: u64, finding: &Finding<Value>) -> ViolationKind {
    let went_back = finding.fault == Fault::WentBack || finding.newer_was_seen;
    let ours = |shown: Shown| matches!(shown, Shown::Write(stamp, _) if stamp.run == run);
    let moved = |shown: Shown| ours(shown) && !matches!(shown, Shown::Write(_, 0));
    let older = if went_back { ViolationKind::WentBack } else { ViolationKind::Lost };
    let several = runs.len() > 1;
    if runs.iter().any(|(_, shown)| moved(*shown)) {
        ViolationKind::Misdirected
    } else if several && runs.iter().any(|(_, shown)| ours(*shown)) {
        let mut whole = runs.iter().map(|(_, shown)| *shown).filter(|s| *s != Shown::Other);
        let first = whole.next();
        match whole.any(|shown| Some(shown) != first) {
            true => ViolationKind::Torn,
            false => ViolationKind::Damaged,
        }
    } else if finding.fault != Fault::NoCandidate
        || runs.iter().all(|(_, shown)| ours(*shown) || *shown == Shown::Zero)
    {
        older
    } else {
        ViolationKind::Foreign
    }
}

fn describe(runs: &[(Extent, Shown)], run: u64) -> String {
    let one = |shown: Shown| match shown {
        Shown::Zero => "zeroes".to_owned(),
        Shown::Other => "bytes that no run wrote".to_owned(),
        Shown::Write(stamp, moved) => {
            let of = if stamp.run == run { "" } else { " of another run" };
            match moved {
                0 => format!("{stamp}{of}"),
                1.. => format!("{stamp}{of} that belongs {moved} bytes lower"),
                _ => format!("{stamp}{of} that belongs {} bytes higher", -moved),
            }
        }
    };
    if let [(_, shown)] = runs {
        return one(*shown);
    }
    let shown = runs.iter().take(RUNS_MAX);
    let mut parts: Vec<_> =
        shown.map(|(part, shown)| format!("{} at {part}", one(*shown))).collect();
    if runs.len() > RUNS_MAX {
        parts.push(format!("{} parts more", runs.len() - RUNS_MAX));
    }
    parts.join(", ")
}

/// All violations of a run: the first of them, and their number.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Violations {
    /// How many there were.
    pub total: u64,
    /// The first of them, [`KEPT_MAX`] at most.
    pub first: Vec<Violation>,
}

impl Violations {
    /// Adds one.
    pub fn push(&mut self, violation: Violation) {
        self.total += 1;
        if self.first.len() < KEPT_MAX {
            self.first.push(violation);
        }
    }

    /// Whether there was none.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether one of the first is of this kind.
    pub fn has(&self, kind: ViolationKind) -> bool {
        self.first.iter().any(|violation| violation.kind == kind)
    }
}
