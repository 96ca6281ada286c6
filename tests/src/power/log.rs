//! The log of dm-log-writes: a super block, then entries, each in a sector and followed by its data
//! (`Documentation/admin-guide/device-mapper/log-writes.rst`, `drivers/md/dm-log-writes.c` of Linux).
//! An entry stands in it once the disk had completed the request, and a write that is not durable by
//! itself stands before the flush that makes it so.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// Bytes of an entry's head.
const HEAD: usize = 32;

/// A request that the disk has completed, or a mark.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes on the disk.
    pub length: u64,
    /// Where the data is in the log; `None` for what reads as zeroes from now on.
    pub data: Option<u64>,
    /// Whether everything that stands before it is durable, and what it has written, too.
    pub flush: bool,
    /// Whether what it has written is durable.
    pub fua: bool,
    /// What a mark says.
    pub mark: Option<String>,
}

/// A whole log.
pub(super) struct WriteLog {
    file: File,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads a log.
    ///
    /// # Errors
    /// When the file is no log, or shorter than it says.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let entries = read(&file).with_context(|| format!("{}: no whole log", path.display()))?;
        Ok(Self { file, entries })
    }

    /// The data of an entry.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut data = vec![0; usize::try_from(entry.length)?];
        if let Some(at) = entry.data {
            self.file.read_exact_at(&mut data, at).context("an entry's data")?;
        }
        Ok(data)
    }

    /// Where the mark stands that says this.
    pub(super) fn mark(&self, words: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.mark.as_deref() == Some(words))
    }
}

fn read(file: &File) -> Result<Vec<Entry>> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0)?;
    let [magic, version, count, sector] = numbers(&head);
    ensure!((magic, version) == (MAGIC, VERSION), "magic {magic:x}, version {version}");
    // The super block ends in 32 bits.
    let sector = sector & u64::from(u32::MAX);
    ensure!(sector.is_power_of_two() && sector >= 512, "sectors of {sector} bytes");
    let mut entries = Vec::new();
    let mut at = sector;
    for _ in 0..count {
        let entry = entry(file, at, sector)?;
        at += sector + entry.data.map_or(0, |_| entry.length);
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(file: &File, at: u64, sector: u64) -> Result<Entry> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, at)?;
    let [first, count, flags, inline] = numbers(&head);
    let mark = if flags & MARK == 0 { None } else { Some(words(file, at, inline, sector)?) };
    Ok(Entry {
        offset: first * sector,
        length: count * sector,
        data: (flags & (DISCARD | MARK) == 0).then_some(at + sector),
        flush: flags & FLUSH != 0,
        fua: flags & FUA != 0,
        mark,
    })
}

fn words(file: &File, at: u64, length: u64, sector: u64) -> Result<String> {
    ensure!(length <= sector - HEAD as u64, "a mark of {length} bytes");
    let mut words = vec![0; usize::try_from(length)?];
    file.read_exact_at(&mut words, at + HEAD as u64)?;
    Ok(String::from_utf8_lossy(&words).trim_end_matches('\0').to_owned())
}

fn numbers(bytes: &[u8; HEAD]) -> [u64; 4] {
    std::array::from_fn(|index| {
        let number = bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(number)
    })
}

/// A log as the kernel lays it out: numbers of each entry, and what follows in its sector or the next.
#[cfg(test)]
pub(super) fn lay_out(path: &Path, entries: &[([u64; 3], &[u8])]) {
    let mut log = Vec::new();
    let mut sector = |bytes: &[u8]| {
        let mut sector = bytes.to_vec();
        sector.resize(512, 0);
        log.extend(sector);
    };
    let head = |numbers: [u64; 4]| numbers.map(u64::to_le_bytes).concat();
    sector(&head([MAGIC, VERSION, entries.len() as u64, 512]));
    for ([first, count, flags], bytes) in entries {
        let inline = if flags & MARK == 0 { &[][..] } else { bytes };
        sector(&[&head([*first, *count, *flags, inline.len() as u64])[..], inline].concat());
        if flags & (MARK | DISCARD) == 0 {
            (0..*count).for_each(|_| sector(bytes));
        }
    }
    std::fs::write(path, log).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("log");
        let write = ([8, 1, FUA], &[0xFF; 512][..]);
        let (mark, discard) = (([0, 0, MARK], &b"begun"[..]), ([16, 2, DISCARD], &[][..]));
        lay_out(&path, &[write, mark, discard, ([0, 0, FLUSH], &[])]);
        path
    }

    #[test]
    fn a_log_of_the_kernels_is_read_entry_by_entry() {
        let folder = tempfile::tempdir().unwrap();
        let log = WriteLog::open(&written(folder.path())).unwrap();
        let [write, mark, discard, flush] = &log.entries[..] else { panic!("four entries") };
        assert_eq!((write.offset, write.length, write.fua), (4096, 512, true));
        assert_eq!(log.data(write).unwrap(), [0xFF; 512]);
        assert_eq!((mark.mark.as_deref(), log.mark("begun")), (Some("begun"), Some(1)));
        assert_eq!((discard.offset, discard.length, discard.data), (8192, 1024, None));
        assert!(flush.flush && flush.length == 0);
    }

    #[test]
    fn what_is_no_whole_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 512]).unwrap();
        assert!(WriteLog::open(&path).is_err());
        std::fs::write(&path, vec![0; 4096]).unwrap();
        assert!(WriteLog::open(&path).is_err());
    }
}
