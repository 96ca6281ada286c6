//! What becomes of a volume's records when a call on their files fails, or when one comes too late.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;

use blockferry_journal::{Files, OsFiles};
use blockferry_migration::activity::{Batch, BatchId};
use blockferry_migration::record::{Party, VolumeRecord};
use blockferry_records::{ActivityFile, Book, RecordsError};

/// A call of which the next ones fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Create,
    Remove,
    SyncFolder,
}

/// The files of the operating system, of whose calls some fail.
#[derive(Clone, Debug, Default)]
struct Failing(Rc<RefCell<Vec<Call>>>);

impl Failing {
    fn fail(&self, calls: &[Call]) {
        self.0.borrow_mut().extend(calls);
    }

    fn check(&self, call: Call) -> io::Result<()> {
        let mut failing = self.0.borrow_mut();
        match failing.iter().position(|failing| *failing == call) {
            Some(at) => {
                failing.remove(at);
                Err(io::Error::from_raw_os_error(5))
            }
            None => Ok(()),
        }
    }
}

impl Files for Failing {
    type File = File;
    type Lock = File;

    fn lock(&self, path: &Path) -> io::Result<Option<File>> {
        OsFiles.lock(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsFiles.exists(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OsFiles.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.check(Call::Create)?;
        OsFiles.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Call::Remove)?;
        OsFiles.remove(path)
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        self.check(Call::SyncFolder)?;
        OsFiles.sync_folder_of(path)
    }
}

fn batch(number: u64, unit: u32) -> Batch {
    Batch { id: BatchId(number), remove: Vec::new(), add: vec![unit] }
}

fn owner() -> VolumeRecord {
    VolumeRecord::Owner { generation: 1, size: 1 << 30, backing: "a disk".to_owned() }
}

fn receiving() -> VolumeRecord {
    let address = || "unix:/".to_owned();
    VolumeRecord::Receiving {
        migration: "1".to_owned(),
        token: "2".to_owned(),
        source: Party { nbd: address(), control: address(), iscsi: None },
        size: 1 << 30,
        generation: 1,
        backing: "a disk".to_owned(),
        prepared: true,
    }
}

#[test]
fn a_log_whose_removal_did_not_become_durable_fails_one_batch_and_not_all() {
    let folder = tempfile::tempdir().unwrap();
    let files = Failing::default();
    let path = ActivityFile::path(folder.path(), "vol");
    let log = ActivityFile::create(files.clone(), path.clone()).unwrap();
    let mut log = log.with_compact_at(0);
    files.fail(&[Call::SyncFolder, Call::SyncFolder]);
    assert!(matches!(log.append(batch(1, 7)), Err(RecordsError::Activity { .. })));
    log.append(batch(2, 7)).expect("nothing fails any more");
    drop(log);
    let (_, units) = ActivityFile::reopen(files, path, 1 << 30).unwrap();
    assert!(units.len() > 1, "a log that is lost says that every unit may differ: {units:?}");
}

#[test]
fn a_log_that_cannot_be_removed_keeps_what_it_holds_and_fails_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let files = Failing::default();
    let path = ActivityFile::path(folder.path(), "vol");
    let log = ActivityFile::create(files.clone(), path.clone()).unwrap();
    let mut log = log.with_compact_at(0);
    log.append(batch(1, 3)).unwrap();
    files.fail(&[Call::SyncFolder, Call::Remove]);
    assert!(matches!(log.append(batch(2, 7)), Err(RecordsError::Activity { .. })));
    drop(log);
    assert_eq!(ActivityFile::reopen(files, path, 1 << 30).unwrap().1, [3, 7]);
}

#[test]
fn a_record_that_is_durable_counts_though_its_journal_cannot_be_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let files = Failing::default();
    let path = Book::path(folder.path(), "vol");
    let book = Book::open_in(files.clone(), path.clone(), Some(owner())).unwrap();
    let mut book = book.expect("a book").with_compact_at(0);
    let fence = |generation| VolumeRecord::Fence { session: "a".to_owned(), generation };
    files.fail(&[Call::Create]);
    book.append(fence(1)).expect("it is in the old file");
    book.append(fence(2)).expect("the journal is usable");
    files.fail(&[Call::SyncFolder]);
    book.append(fence(3)).expect("it is in the old file and in the new one");
    assert!(book.append(fence(4)).is_err(), "nobody knows which of the two a restart finds");
    drop(book);
    let book = Book::open_in(files, path, None).unwrap().expect("a book");
    assert_eq!(book.state().fences, [("a".to_owned(), 3)]);
}

#[test]
fn nothing_is_recorded_of_a_volume_behind_its_abort() {
    let folder = tempfile::tempdir().unwrap();
    let path = Book::path(folder.path(), "vol");
    let mut book = Book::open(path.clone(), Some(receiving())).unwrap().expect("a book");
    book.append(VolumeRecord::Aborted).unwrap();
    let late = book.append(VolumeRecord::Term { term: 2 });
    assert!(matches!(late, Err(RecordsError::Misplaced { .. })), "{late:?}");
    drop(book);
    assert!(Book::open(path.clone(), None).expect("records that fit").is_none());
    assert!(Book::aborted(&path).unwrap().is_some());
}
