//! What a host makes durable of its volume, by the code of `blockferry-records`: its records, and at
//! the source the activity log. Both outlive the processes that write them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;

use blockferry_block::{Attempt, BootId};
use blockferry_journal::{Files, JournalError};
use blockferry_migration::Faults;
use blockferry_migration::activity::Batch;
use blockferry_migration::record::{Part, VolumeRecord, VolumeState};
use blockferry_records::{ActivityFile, Book, RecordsError, Restarted, restart};

use crate::executor::Micros;
use crate::folder::Folder;
use crate::message::{Generation, Session};

/// Bits of a recorded generation that count the paths below a client's.
const PATH_BITS: u32 = 20;

/// A record could not be made durable, or it does not fit. Nobody knows whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrecorded;

/// The records of a host's volume.
pub struct Records {
    /// Where they lie.
    pub folder: Folder,
    path: PathBuf,
    compact_at: u64,
    /// Failed records count as written, when a test wants it.
    unnoticed: bool,
    book: RefCell<Option<Book<Folder>>>,
    /// What is known to be durable.
    state: RefCell<Option<VolumeState>>,
    /// The attempts for which a promise was durable.
    promised: RefCell<BTreeSet<Attempt>>,
    /// A record has failed since the program was started.
    unrecorded: Cell<bool>,
    poisoned: Cell<bool>,
}

impl Records {
    /// Nothing is recorded yet.
    pub fn new(folder: Folder, compact_at: u64, unnoticed: bool) -> Self {
        Self {
            folder,
            path: PathBuf::from("vol.journal"),
            compact_at,
            unnoticed,
            book: RefCell::default(),
            state: RefCell::default(),
            promised: RefCell::default(),
            unrecorded: Cell::new(false),
            poisoned: Cell::new(false),
        }
    }

    /// A program opens them; new ones begin with `first`. `None` when there is nothing of a volume.
    ///
    /// # Errors
    /// Those of [`Book::open_in`].
    pub async fn open(
        &self,
        first: Option<VolumeRecord>,
    ) -> Result<Option<VolumeState>, RecordsError> {
        self.unrecorded.set(false);
        self.poisoned.set(false);
        let open = || match first.is_none() && !self.folder.exists(&self.path).unwrap_or(true) {
            true => Ok(None),
            false => Book::open_in(self.folder.clone(), self.path.clone(), first),
        };
        let opened = self.folder.perform(open, |opened| {
            if let Ok(opened) = opened {
                self.note_durable(opened.as_ref().map(Book::state));
            }
        });
        let book = opened.await?.map(|book| book.with_compact_at(self.compact_at));
        let state = book.as_ref().map(|book| book.state().clone());
        self.book.replace(book);
        Ok(state)
    }

    fn note_durable(&self, state: Option<&VolumeState>) {
        let ready = state.and_then(|state| state.migration.as_ref()?.ready);
        self.promised.borrow_mut().extend(ready);
        self.state.replace(state.cloned());
    }

    /// Makes a record durable.
    ///
    /// # Errors
    /// [`Unrecorded`].
    pub async fn append(&self, record: VolumeRecord) -> Result<(), Unrecorded> {
        let append = || match &mut *self.book.borrow_mut() {
            Some(book) => book.append(record).map(|()| book.state().clone()),
            None => Err(RecordsError::Misplaced { record: format!("{record:?}") }),
        };
        let appended = self.folder.perform(append, |appended| match appended {
            Ok(state) => self.note_durable(Some(state)),
            Err(error) => self.note_failed(error),
        });
        match appended.await {
            Err(_) if !self.unnoticed => Err(Unrecorded),
            _ => Ok(()),
        }
    }

    fn note_failed(&self, error: &RecordsError) {
        self.folder.trace(|| format!("a record fails: {error}"));
        if !self.unnoticed {
            self.unrecorded.set(true);
            self.poisoned.set(self.poisoned.get() || matches!(error, RecordsError::Journal(_)));
        }
    }

    /// Closes and removes them: there is nothing left of the volume.
    pub async fn remove(&self) {
        self.book.take();
        let remove = || drop(self.folder.remove(&self.path));
        self.folder.perform(remove, |()| {}).await;
    }

    /// The program is dead; the power may have failed.
    pub fn die(&self, power: bool) {
        self.book.take();
        self.folder.die(power);
        if power {
            self.note_durable(self.found().as_ref());
        }
    }

    /// What a restart would find now.
    fn found(&self) -> Option<VolumeState> {
        Book::open_in(self.folder.copied(), self.path.clone(), None)
            .ok()?
            .map(|b| b.state().clone())
    }

    /// What is known to be durable.
    pub fn state(&self) -> Option<VolumeState> {
        self.state.borrow().clone()
    }

    /// The part that the volume is known to play.
    pub fn part(&self) -> Option<Part> {
        self.state.borrow().as_ref().map(|state| state.part)
    }

    /// Whether a restart may find it in another part than it is known to play: its program died in the
    /// middle of a record.
    pub fn is_in_doubt(&self) -> bool {
        self.book.borrow().is_none() && self.found().map(|state| state.part) != self.part()
    }

    /// Whether a promise for the attempt was durable.
    pub fn has_promised(&self, attempt: Attempt) -> bool {
        self.promised.borrow().contains(&attempt)
    }

    /// Whether a record has failed since the program was started.
    pub fn is_unrecorded(&self) -> bool {
        self.unrecorded.get()
    }

    /// Whether nothing is recorded any more until the program is started again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.get()
    }
}

/// The activity log of the source.
pub struct Log {
    /// Where it lies.
    pub folder: Folder,
    path: PathBuf,
    compact_at: u64,
    file: RefCell<Option<ActivityFile<Folder>>>,
    failed: RefCell<Vec<Micros>>,
}

impl Log {
    /// No log yet.
    pub fn new(folder: Folder, compact_at: u64) -> Self {
        let (file, failed) = (RefCell::default(), RefCell::default());
        Self { folder, path: PathBuf::from("vol.activity"), compact_at, file, failed }
    }

    /// A migration begins.
    ///
    /// # Errors
    /// Those of [`ActivityFile::create`].
    pub async fn create(&self) -> Result<(), RecordsError> {
        self.file.take();
        let create = || ActivityFile::create(self.folder.clone(), self.path.clone());
        let created = self.folder.perform(create, |_| {}).await?;
        self.keep(Some(created));
        Ok(())
    }

    /// A program goes on from what the records and the log say; a test may want the log forgotten.
    ///
    /// # Errors
    /// Those of [`restart`].
    pub async fn restart(
        &self,
        state: &VolumeState,
        boot: BootId,
        faults: Faults,
        forgotten: bool,
    ) -> Result<Restarted<Folder>, RecordsError> {
        let reopen = || {
            let (file, units) =
                ActivityFile::reopen(self.folder.clone(), self.path.clone(), state.size)?;
            Ok((file, if forgotten { Vec::new() } else { units }))
        };
        let go_on = || restart(state, boot, faults, reopen);
        self.folder.perform(go_on, |_| {}).await
    }

    /// The log that a restart has opened.
    pub fn keep(&self, file: Option<ActivityFile<Folder>>) {
        self.file.replace(file.map(|file| file.with_compact_at(self.compact_at)));
    }

    /// Makes a batch durable, or removes the log.
    ///
    /// # Errors
    /// [`Unrecorded`] when neither can be done.
    pub async fn append(&self, batch: Batch) -> Result<(), Unrecorded> {
        let before = self.folder.failures();
        let append = || match &mut *self.file.borrow_mut() {
            Some(file) => file.append(batch).map_err(|error| error.to_string()),
            None => Err("there is none".to_owned()),
        };
        let appended = self.folder.perform(append, |_| {}).await;
        let Err(error) = appended else { return Ok(()) };
        self.folder.trace(|| format!("the activity log fails: {error}"));
        if self.folder.failures() > before {
            self.failed.borrow_mut().push(self.folder.now());
        }
        Err(Unrecorded)
    }

    /// The migration is over.
    pub async fn remove(&self) {
        self.file.take();
        self.folder.perform(|| ActivityFile::remove(&self.folder, &self.path), |()| {}).await;
    }

    /// The program is dead; the power may have failed.
    pub fn die(&self, power: bool) {
        self.file.take();
        self.folder.die(power);
    }

    /// Whether a batch has come to nothing since, because a call failed.
    pub fn has_failed(&self, since: Micros) -> bool {
        self.failed.borrow().iter().any(|failed| *failed >= since)
    }
}

/// A fence as it is recorded.
pub fn fence(session: Session, generation: Generation) -> VolumeRecord {
    let Generation { client, path } = generation;
    let generation = client << PATH_BITS | path;
    VolumeRecord::Fence { session: format!("{:x}", session.0), generation }
}

/// The fences that the records tell of.
pub fn fences(state: &VolumeState) -> impl Iterator<Item = (Session, Generation)> + '_ {
    state.fences.iter().filter_map(|(session, generation)| {
        let session = u64::from_str_radix(session, 16).ok()?;
        let (client, path) = (generation >> PATH_BITS, generation & ((1 << PATH_BITS) - 1));
        Some((Session(session), Generation { client, path }))
    })
}

/// Whether nobody can have expected to read what is there: what a crash leaves must always be readable.
pub fn is_damage(error: &RecordsError) -> bool {
    !matches!(
        error,
        RecordsError::Journal(JournalError::Io { .. } | JournalError::Poisoned { .. })
            | RecordsError::Activity { .. }
    )
}
