//! Reading a journal's content: which records it holds, and whether what follows them is the end of
//! a crash or damage.
//!
//! A frame is written only after the one before it was durable. So a crash can spoil one frame,
//! and nothing can stand behind it. A frame with an older sequence than expected is no record
//! either (the file may have grown over blocks that held an older journal).

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::JournalError;
use crate::frame::{self, FRAME_MAX};
use crate::header::{HEADER_LENGTH, Header};

/// What a crash left behind the last record, and was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where it began.
    pub offset: u64,
    /// How many bytes it had.
    pub length: u64,
    /// Why it was no record.
    pub reason: String,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, length, reason } = self;
        write!(f, "cut {length} bytes at byte {offset} that a crash left unfinished: {reason}")
    }
}

/// A journal's content.
pub(crate) struct Replay<R> {
    pub(crate) records: Vec<R>,
    /// Where the last record ends.
    pub(crate) end: usize,
    /// The bytes of the last record, or of the header where there is none.
    pub(crate) last_frame: Range<usize>,
    pub(crate) next_sequence: u64,
    pub(crate) cut: Option<TornTail>,
}

/// Reads the whole content of a journal.
pub(crate) fn replay<R: DeserializeOwned>(
    path: &Path,
    content: &[u8],
) -> Result<Replay<R>, JournalError> {
    let header = Header::decode(content)
        .map_err(|reason| JournalError::NotAJournal { path: path.to_owned(), reason })?;
    let mut replay = Replay {
        records: Vec::new(),
        end: HEADER_LENGTH,
        last_frame: 0..HEADER_LENGTH,
        next_sequence: header.first_sequence,
        cut: None,
    };
    while replay.end < content.len() {
        let at = replay.end;
        match next_record(path, at, &content[at..], replay.next_sequence)? {
            Next::Record(record, length) => {
                replay.records.push(record);
                replay.end += length;
                replay.last_frame = at..replay.end;
                replay.next_sequence += 1;
            }
            Next::Torn(reason) => {
                let length = (content.len() - at) as u64;
                replay.cut = Some(TornTail { offset: at as u64, length, reason });
                break;
            }
        }
    }
    Ok(replay)
}

enum Next<R> {
    /// A record, and the length of its frame.
    Record(R, usize),
    /// The rest is what a crash left, and why it is no record.
    Torn(String),
}

fn next_record<R: DeserializeOwned>(
    path: &Path,
    at: usize,
    rest: &[u8],
    expected: u64,
) -> Result<Next<R>, JournalError> {
    let offset = at as u64;
    let damaged = |reason| JournalError::Damaged { path: path.to_owned(), offset, reason };
    let spoiled = match frame::decode(rest) {
        Ok(frame) if frame.sequence == expected => {
            let record = serde_json::from_slice(frame.payload).map_err(|source| {
                JournalError::Unreadable { path: path.to_owned(), offset, source }
            })?;
            return Ok(Next::Record(record, frame.length()));
        }
        Ok(frame) if frame.sequence > expected => {
            let found = frame.sequence;
            return Err(damaged(format!("found record {found} where {expected} should be")));
        }
        Ok(frame) => format!("found the older record {} in place of {expected}", frame.sequence),
        Err(reason) => reason,
    };
    if rest.len() > FRAME_MAX {
        return Err(damaged(format!("{spoiled}, and more follows than a crash can leave")));
    }
    if let Some((distance, sequence)) = later_record(rest, expected) {
        return Err(damaged(format!(
            "{spoiled}, yet record {sequence} follows {distance} bytes on"
        )));
    }
    Ok(Next::Torn(spoiled))
}

/// The first intact record behind a spoiled one whose sequence is not an older one's. The spoiled
/// frame's length cannot be trusted, so every byte may be where the next one begins.
fn later_record(rest: &[u8], expected: u64) -> Option<(usize, u64)> {
    (1..rest.len()).find_map(|distance| {
        let frame = frame::decode(&rest[distance..]).ok()?;
        (frame.sequence >= expected).then_some((distance, frame.sequence))
    })
}
