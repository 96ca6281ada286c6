//! What a volume may hold when a load has ended, kept in a file so that it can be proved later, on
//! whichever server the volume is by then.
//!
//! The file has one JSON object a line: a header, the entries in ascending order, and their number,
//! so that a file that was cut short is refused.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use blockferry_block::Extent;
use serde::{Deserialize, Serialize};

use crate::value::Value;

const NAME: &str = "blockferry-check";
const VERSION: u32 = 1;

/// Longest line, in bytes: an entry has a value for each write that was under way at the same time.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A part of the volume, every block of which has one of the values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// What each of its blocks may hold, as a whole.
    pub values: Vec<Value>,
}

impl Entry {
    /// The bytes that it speaks of.
    pub const fn extent(&self) -> Extent {
        Extent::between(self.start, self.end)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    journal: String,
    version: u32,
    run: u64,
    size: u64,
    block_size: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Footer {
    entries: usize,
}

/// What every block that a load touched may hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    pub(crate) run: u64,
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    pub(crate) entries: Vec<Entry>,
}

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is none of ours, or damaged.
    #[error("line {line}: {what}")]
    Damaged {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

impl Journal {
    /// Keeps what the registers of a run tell; pieces that may hold anything are left out.
    pub(crate) fn new(
        run: u64,
        size: u64,
        block_size: u32,
        legal: Vec<(Extent, Vec<Value>)>,
    ) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for (piece, values) in legal {
            if values.iter().any(|value| value.is_open(piece)) {
                continue;
            }
            // What was there before is known by the digest of just this piece.
            let movable = !values.iter().any(|value| matches!(value, Value::Kept { .. }));
            match entries.last_mut() {
                Some(last) if movable && last.end == piece.start() && last.values == values => {
                    last.end = piece.end();
                }
                _ => entries.push(Entry { start: piece.start(), end: piece.end(), values }),
            }
        }
        Self { run, size, block_size, entries }
    }

    /// Its entries, in ascending order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many bytes it speaks of.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.extent().len()).sum()
    }

    /// Writes it to a file, which is replaced in one step.
    ///
    /// # Errors
    /// When the file, or the one beside it that becomes it, cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), JournalError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut file = BufWriter::new(File::create(&beside)?);
        self.write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(fs::rename(beside, path)?)
    }

    fn write(&self, to: &mut impl Write) -> Result<(), JournalError> {
        let header = Header {
            journal: NAME.to_owned(),
            version: VERSION,
            run: self.run,
            size: self.size,
            block_size: self.block_size,
        };
        write_line(to, &header)?;
        self.entries.iter().try_for_each(|entry| write_line(to, entry))?;
        write_line(to, &Footer { entries: self.entries.len() })
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// When the file cannot be read, was cut short, or is something else.
    pub fn load(path: &Path) -> Result<Self, JournalError> {
        Self::read(BufReader::new(File::open(path)?))
    }

    fn read(mut from: impl BufRead) -> Result<Self, JournalError> {
        let header: Header = parse(1, &next_line(&mut from, 1)?)?;
        if header.journal != NAME || header.version != VERSION {
            return Err(damaged(1, format!("not a {NAME} journal of version {VERSION}")));
        }
        if header.block_size == 0 {
            return Err(damaged(1, "a block has a size"));
        }
        let Header { run, size, block_size, .. } = header;
        let mut journal = Self { run, size, block_size, entries: Vec::new() };
        for line in 2.. {
            let text = next_line(&mut from, line)?;
            if let Ok(footer) = serde_json::from_str::<Footer>(&text) {
                return journal.complete(line, &footer);
            }
            journal.add(line, parse(line, &text)?)?;
        }
        Err(damaged(usize::MAX, "too many lines"))
    }

    fn add(&mut self, line: usize, entry: Entry) -> Result<(), JournalError> {
        let before = self.entries.last().map_or(0, |last| last.end);
        if entry.start < before || entry.end <= entry.start || entry.end > self.size {
            return Err(damaged(line, "the entry is out of order or beyond the volume"));
        }
        self.entries.push(entry);
        Ok(())
    }

    fn complete(self, line: usize, footer: &Footer) -> Result<Self, JournalError> {
        match self.entries.len() == footer.entries {
            true => Ok(self),
            false => Err(damaged(line, format!("{} entries were announced", footer.entries))),
        }
    }
}

fn damaged(line: usize, what: impl Into<String>) -> JournalError {
    JournalError::Damaged { line, what: what.into() }
}

fn write_line(to: &mut impl Write, value: &impl Serialize) -> Result<(), JournalError> {
    serde_json::to_writer(&mut *to, value).map_err(io::Error::from)?;
    Ok(to.write_all(b"\n")?)
}

fn next_line(from: &mut impl BufRead, line: usize) -> Result<String, JournalError> {
    let mut text = String::new();
    io::Read::take(&mut *from, LINE_BYTES_MAX).read_line(&mut text)?;
    match text.strip_suffix('\n') {
        Some(text) => Ok(text.to_owned()),
        None => Err(damaged(line, "the journal is cut short; the load did not end in order")),
    }
}

fn parse<T: for<'a> Deserialize<'a>>(line: usize, text: &str) -> Result<T, JournalError> {
    serde_json::from_str(text).map_err(|error| damaged(line, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    fn journal() -> Journal {
        let stamp = Value::Stamp(Stamp { run: u64::MAX, sequence: 2, writer: 1 });
        let kept = Value::kept(Extent::between(16384, 20480), &[7; 4096]);
        let block = |index: u64| Extent::between(index * 4096, (index + 1) * 4096);
        let legal = vec![
            (block(0), vec![stamp]),
            (block(1), vec![stamp]),
            (block(2), vec![stamp, Value::Zero]),
            (block(3), vec![Value::Unknown, Value::Zero]),
            (block(4), vec![kept]),
        ];
        Journal::new(u64::MAX, 1 << 20, 4096, legal)
    }

    #[test]
    fn equal_neighbours_are_one_entry_and_open_pieces_are_none() {
        let places: Vec<_> = journal().entries.iter().map(|e| (e.start, e.end)).collect();
        assert_eq!(places, [(0, 8192), (8192, 12288), (16384, 20480)]);
        assert_eq!(journal().bytes(), 16384);
    }

    #[test]
    fn a_journal_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        journal().save(&path).unwrap();
        assert_eq!(Journal::load(&path).unwrap(), journal());
    }

    #[test]
    fn a_journal_that_was_cut_short_anywhere_is_refused() {
        let mut bytes = Vec::new();
        journal().write(&mut bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(Journal::read(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_journal_without_one_of_its_entries_is_refused() {
        let mut bytes = Vec::new();
        journal().write(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let without: String = text
            .lines()
            .enumerate()
            .filter(|(i, _)| *i != 2)
            .map(|(_, l)| format!("{l}\n"))
            .collect();
        assert!(Journal::read(without.as_bytes()).is_err());
    }
}
