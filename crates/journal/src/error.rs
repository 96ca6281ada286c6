//! What can go wrong with a journal, each with the file, the reason and the way out.

use std::io;
use std::path::PathBuf;

/// A failed operation on a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("journal {path:?}: cannot {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process, or another part of this one, has the journal open.
    #[error(
        "journal {path:?} is in use by another process; stop that one first, or give this one \
         a state directory of its own"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file does not begin as a journal does.
    #[error(
        "{path:?} is not a journal of this program: {reason}; move it away, or restore it from a \
         copy"
    )]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The content is damaged where no crash damages it.
    #[error(
        "journal {path:?} is damaged at byte {offset}: {reason}; it was left untouched: restore \
         it from a copy, for what it recorded cannot be guessed"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged frame begins.
        offset: u64,
        /// What was found there.
        reason: String,
    },
    /// An undamaged record is not one of the expected kind.
    #[error(
        "journal {path:?}: the record at byte {offset} is undamaged but not understood: \
         {source}; was it written by a newer version, or for another program?"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where the frame begins.
        offset: u64,
        /// The parser's complaint.
        source: serde_json::Error,
    },
    /// The record cannot be written as JSON.
    #[error("journal {path:?}: the record cannot be written as JSON: {source}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The serializer's complaint.
        source: serde_json::Error,
    },
    /// The record is larger than any that would be read back.
    #[error("journal {path:?}: a record of {length} bytes is larger than the {max} allowed")]
    RecordTooLarge {
        /// The file.
        path: PathBuf,
        /// The payload's length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The file would outgrow its limit.
    #[error("journal {path:?} is full ({max} bytes); it has to be compacted first", max = crate::JOURNAL_MAX)]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// An earlier write failed, so what the disk holds is unknown.
    #[error(
        "journal {path:?} takes no more records since an earlier write to it failed; look after \
         the disk, then start the program again"
    )]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}
