//! What a journal's owner may rely on after a crash.

use std::fs;
use std::path::{Path, PathBuf};

use blockferry_journal::{Journal, JournalError, PAYLOAD_MAX};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    address: u64,
}

fn entry(address: u64) -> Entry {
    Entry { name: format!("volume-{address}"), address }
}

/// A journal with `count` records, its path, and the offsets where its records begin and end.
struct Written {
    _dir: tempfile::TempDir,
    path: PathBuf,
    content: Vec<u8>,
    bounds: Vec<usize>,
}

fn written(count: u64) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vol.journal");
    let (mut journal, old) = Journal::open(&path).unwrap();
    assert_eq!(old, []);
    let mut bounds = vec![usize::try_from(journal.size()).unwrap()];
    for address in 0..count {
        journal.append(&entry(address)).unwrap();
        bounds.push(usize::try_from(journal.size()).unwrap());
    }
    drop(journal);
    let content = fs::read(&path).unwrap();
    Written { _dir: dir, path, content, bounds }
}

fn open(path: &Path) -> Result<(Journal<Entry>, Vec<Entry>), JournalError> {
    Journal::open(path)
}

fn entries(count: usize) -> Vec<Entry> {
    (0..count as u64).map(entry).collect()
}

#[test]
fn records_come_back_in_order_and_appending_goes_on() {
    let Written { path, _dir, .. } = written(3);
    let (mut journal, records) = open(&path).unwrap();
    assert_eq!(records, entries(3));
    assert_eq!(journal.cut(), None);
    journal.append(&entry(3)).unwrap();
    drop(journal);
    assert_eq!(open(&path).unwrap().1, entries(4));
}

#[test]
fn a_file_cut_at_any_byte_of_its_last_two_records_yields_the_whole_ones_before() {
    let Written { path, content, bounds, _dir } = written(4);
    for length in bounds[2]..content.len() {
        fs::write(&path, &content[..length]).unwrap();
        let (mut journal, records) = open(&path).unwrap();
        let whole = bounds.iter().filter(|end| **end <= length).count() - 1;
        assert_eq!(records, entries(whole), "cut at byte {length}");
        assert_eq!(journal.cut().is_some(), length != bounds[whole], "cut at byte {length}");
        journal.append(&entry(whole as u64)).unwrap();
        drop(journal);
        let (journal, records) = open(&path).unwrap();
        assert_eq!(records, entries(whole + 1), "after a cut at byte {length}");
        assert_eq!(journal.cut(), None);
    }
}

#[test]
fn a_flipped_byte_in_a_middle_record_is_refused_and_the_file_left_untouched() {
    let Written { path, content, bounds, _dir } = written(4);
    for at in bounds[1]..bounds[2] {
        let mut damaged = content.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        match open(&path) {
            Err(JournalError::Damaged { offset, .. }) => assert_eq!(offset, bounds[1] as u64),
            other => panic!("a flip of byte {at} gave {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), damaged, "a flip of byte {at}");
    }
}

#[test]
fn a_flipped_byte_in_the_last_record_costs_that_record_only() {
    let Written { path, content, bounds, _dir } = written(3);
    for at in bounds[2]..bounds[3] {
        let mut damaged = content.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        let (journal, records) = open(&path).unwrap();
        assert_eq!(records, entries(2), "a flip of byte {at}");
        assert!(journal.cut().is_some());
    }
}

#[test]
fn a_tail_of_zeroes_is_cut() {
    let Written { path, content, bounds, _dir } = written(3);
    for kept in bounds[2]..=bounds[3] {
        let mut torn = content[..kept].to_vec();
        torn.resize(kept + 4096, 0);
        fs::write(&path, &torn).unwrap();
        let (journal, records) = open(&path).unwrap();
        // A record whose last bytes were zeroes would be whole; JSON's never are.
        let whole = if kept == bounds[3] { 3 } else { 2 };
        assert_eq!(records, entries(whole), "zeroes from byte {kept} on");
        assert!(journal.cut().is_some());
    }
}

#[test]
fn a_record_written_twice_counts_once_at_the_end_and_is_damage_in_the_middle() {
    let Written { path, content, bounds, _dir } = written(3);
    let last = content[bounds[2]..].to_vec();
    fs::write(&path, [&content[..], &last].concat()).unwrap();
    let (journal, records) = open(&path).unwrap();
    assert_eq!(records, entries(3));
    assert_eq!(journal.cut().map(|cut| cut.offset), Some(bounds[3] as u64));
    drop(journal);

    let middle = &content[bounds[1]..bounds[2]];
    fs::write(&path, [&content[..bounds[2]], middle, &last].concat()).unwrap();
    assert!(matches!(open(&path), Err(JournalError::Damaged { .. })));
}

#[test]
fn a_missing_record_is_damage() {
    let Written { path, content, bounds, _dir } = written(3);
    fs::write(&path, [&content[..bounds[1]], &content[bounds[2]..]].concat()).unwrap();
    let error = open(&path).unwrap_err().to_string();
    assert!(error.contains("found record 3 where 2 should be"), "{error}");
}

#[test]
fn more_garbage_than_one_append_can_leave_is_damage() {
    let Written { path, mut content, _dir, .. } = written(1);
    content.resize(content.len() + PAYLOAD_MAX + 17, 0);
    fs::write(&path, content).unwrap();
    assert!(matches!(open(&path), Err(JournalError::Damaged { .. })));
}

#[test]
fn an_intact_record_of_another_kind_is_refused() {
    let Written { path, .. } = &written(1);
    assert!(matches!(Journal::<u32>::open(path), Err(JournalError::Unreadable { .. })));
    assert_eq!(open(path).unwrap().1, entries(1));
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letter");
    for content in
        [&b""[..], b"Dear reader,\nthis is no journal.\n", b"BFJRNL\0\x02 a newer one, 20"]
    {
        fs::write(&path, content).unwrap();
        assert!(matches!(open(&path), Err(JournalError::NotAJournal { .. })));
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let mut wrong_header = written(1).content;
    wrong_header[9] ^= 1;
    fs::write(&path, &wrong_header).unwrap();
    assert!(matches!(open(&path), Err(JournalError::NotAJournal { .. })));
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let Written { path, _dir, .. } = written(1);
    let (mut first, _) = open(&path).unwrap();
    assert!(matches!(open(&path), Err(JournalError::Locked { .. })));
    first.compact(&entries(1)).unwrap();
    assert!(matches!(open(&path), Err(JournalError::Locked { .. })), "after a compaction");
    drop(first);
    open(&path).unwrap();
}

#[test]
fn a_compaction_replaces_the_records_and_sequences_go_on() {
    let Written { path, _dir, .. } = written(5);
    let (mut journal, _) = open(&path).unwrap();
    let before = journal.size();
    journal.compact(&entries(1)).unwrap();
    assert!(journal.size() < before);
    journal.append(&entry(1)).unwrap();
    drop(journal);
    let (journal, records) = open(&path).unwrap();
    assert_eq!(records, entries(2));
    drop(journal);
    // An older journal's record behind the last one is no record of this one.
    let mut content = fs::read(&path).unwrap();
    let Written { content: older, bounds, .. } = written(2);
    content.extend(&older[bounds[0]..]);
    fs::write(&path, &content).unwrap();
    let (journal, records) = open(&path).unwrap();
    assert_eq!(records, entries(2));
    assert!(journal.cut().is_some());
}

#[test]
fn what_an_interrupted_compaction_left_is_removed() {
    let Written { path, _dir, .. } = written(2);
    let left = path.with_extension("journal.new");
    fs::write(&left, "half of it").unwrap();
    assert_eq!(open(&path).unwrap().1, entries(2));
    assert!(!left.exists());
}

#[test]
fn a_compaction_that_cannot_be_written_leaves_the_journal_usable() {
    let Written { path, _dir, .. } = written(1);
    let (mut journal, _) = open(&path).unwrap();
    let obstacle = path.with_extension("journal.new");
    fs::create_dir(&obstacle).unwrap();
    assert!(matches!(journal.compact(&[]), Err(JournalError::Io { .. })));
    fs::remove_dir(&obstacle).unwrap();
    journal.append(&entry(1)).unwrap();
    drop(journal);
    assert_eq!(open(&path).unwrap().1, entries(2));
}

#[test]
fn a_record_too_large_to_be_read_back_is_refused_and_changes_nothing() {
    let Written { path, _dir, .. } = written(1);
    let (mut journal, _) = open(&path).unwrap();
    let large = Entry { name: "x".repeat(PAYLOAD_MAX), address: 0 };
    assert!(matches!(journal.append(&large), Err(JournalError::RecordTooLarge { .. })));
    assert!(matches!(journal.compact(&[large]), Err(JournalError::RecordTooLarge { .. })));
    journal.append(&entry(1)).unwrap();
    drop(journal);
    assert_eq!(open(&path).unwrap().1, entries(2));
}
