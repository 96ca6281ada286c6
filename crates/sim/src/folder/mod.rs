//! A folder of a simulated host: a page cache over a medium, on which the real code of the journals
//! runs. The power may fail, a process may die in the middle of a call, and every call may fail.
//!
//! The real code calls and is answered at once, while the simulation takes time. So a call's steps
//! are noted, and count as done when its time is over. A crash before that leaves the first so many of
//! them, and of the next one a part.

mod state;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use blockferry_journal::{Files, OpenFile};

use crate::disk::{DiskError, Speed};
use crate::executor::{Lock, Micros, Sim};
use crate::frames;
use crate::mutation::Mutation;
use state::{Change, Content, FileId, Naming, State};

/// The names of the points before a call, between its writes and their syncs, and after it.
#[derive(Clone, Copy, Debug)]
pub struct Steps(pub &'static str, pub &'static str, pub &'static str);

/// What of a folder fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileCall {
    /// A write, or a new length.
    Write,
    /// A sync of a file.
    Sync,
    /// A new file, another name, or a name less.
    Name,
    /// A sync of the names.
    SyncNames,
}

/// How long a kind of call fails.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    error: DiskError,
    /// Up to this moment; the next call alone when there is none.
    until: Option<Micros>,
}

/// A folder. It outlives the processes that use it; clones are the same.
#[derive(Clone)]
pub struct Folder(Rc<Inner>);

struct Inner {
    sim: Sim,
    steps: Steps,
    speed: Speed,
    mutation: Option<Mutation>,
    state: RefCell<State>,
    call: RefCell<Option<RunningCall>>,
    turn: Lock,
    troubles: RefCell<BTreeMap<FileCall, Trouble>>,
    failures: Cell<u64>,
    locked: RefCell<BTreeSet<PathBuf>>,
    /// The last write was passed over, and its sync will be.
    passed_over: Cell<bool>,
}

/// What a call has done so far, and what was there before.
struct RunningCall {
    before: State,
    changes: Vec<Change>,
}

impl Folder {
    /// An empty folder. A test may have it break a rule.
    pub fn new(sim: &Sim, speed: Speed, steps: Steps, mutation: Option<Mutation>) -> Self {
        Self(Rc::new(Inner {
            sim: sim.clone(),
            steps,
            speed,
            mutation,
            state: RefCell::default(),
            call: RefCell::default(),
            turn: Lock::default(),
            troubles: RefCell::default(),
            failures: Cell::new(0),
            locked: RefCell::default(),
            passed_over: Cell::new(false),
        }))
    }

    /// Another folder that holds what this one shows.
    #[must_use]
    pub fn copied(&self) -> Self {
        let Inner { sim, speed, steps, mutation, .. } = &*self.0;
        let copy = Self::new(sim, *speed, *steps, *mutation);
        copy.0.state.replace(self.0.state.borrow().clone());
        copy
    }

    /// Lets real code make a call, which takes its time; `done` is told when all of it is.
    pub async fn perform<T>(&self, call: impl FnOnce() -> T, done: impl FnOnce(&T)) -> T {
        let Inner { sim, steps, turn, .. } = &*self.0;
        let _turn = turn.turn().await;
        sim.pass(steps.0);
        self.delay().await;
        let before = self.0.state.borrow().clone();
        self.0.call.replace(Some(RunningCall { before, changes: Vec::new() }));
        let outcome = call();
        sim.pass(steps.1);
        self.delay().await;
        self.0.call.take();
        done(&outcome);
        sim.pass(steps.2);
        self.delay().await;
        outcome
    }

    async fn delay(&self) {
        let Speed(low, high) = self.0.speed;
        self.0.sim.sleep(self.0.sim.between(low, high)).await;
    }

    /// The process that used it is dead, perhaps in the middle of a call; the power may have failed.
    pub fn die(&self, power: bool) {
        if let Some(call) = self.0.call.take() {
            self.cut_off(call);
        }
        if power {
            self.0.sim.draw(|random| self.0.state.borrow_mut().lose_power(random));
        }
    }

    fn cut_off(&self, RunningCall { before, changes }: RunningCall) {
        let mut state = self.0.state.borrow_mut();
        *state = before;
        self.0.sim.draw(|random| {
            let done = random.between(0, changes.len() as u64) as usize;
            changes[..done].iter().for_each(|change| state.apply(change));
            if let Some(Change::Content(id, content)) = changes.get(done)
                && let Some(part) = state::beginning(content, random)
            {
                state.apply(&Change::Content(*id, part));
            }
        });
    }

    /// Calls of the kind fail for so long from now on; the next one alone for a length of 0.
    pub fn fail(&self, call: FileCall, error: DiskError, length: Micros) {
        let until = (length > 0).then_some(self.0.sim.now() + length);
        self.0.troubles.borrow_mut().insert(call, Trouble { error, until });
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        self.0.troubles.borrow_mut().clear();
    }

    /// How many calls have failed so far.
    pub fn failures(&self) -> u64 {
        self.0.failures.get()
    }

    fn trouble(&self, call: FileCall) -> io::Result<()> {
        let mut troubles = self.0.troubles.borrow_mut();
        let Some(Trouble { error, until }) = troubles.get(&call).copied() else { return Ok(()) };
        let now = self.0.sim.now();
        if until.is_none_or(|until| now >= until) {
            troubles.remove(&call);
        }
        if until.is_some_and(|until| now >= until) {
            return Ok(());
        }
        self.0.failures.set(self.0.failures.get() + 1);
        self.0.sim.trace(|| format!("{call:?} of a file fails: {error:?}"));
        Err(io::Error::from_raw_os_error(match error {
            DiskError::Io => 5,
            DiskError::Full => 28,
        }))
    }

    /// Prints one line, when the run is traced.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        self.0.sim.trace(line);
    }

    /// The present moment.
    pub fn now(&self) -> Micros {
        self.0.sim.now()
    }

    fn change(&self, change: Change) {
        self.0.state.borrow_mut().apply(&change);
        if let Some(call) = &mut *self.0.call.borrow_mut() {
            call.changes.push(change);
        }
    }

    fn breaks(&self, rule: Mutation) -> bool {
        self.0.mutation == Some(rule)
    }

    fn name(&self, naming: Naming) -> io::Result<()> {
        let trouble = self.trouble(FileCall::Name);
        // A rename that failed may be there all the same.
        if trouble.is_ok() || self.0.sim.draw(|random| random.one_in(2)) {
            self.change(Change::Name(naming));
        }
        trouble
    }

    fn find(&self, path: &Path) -> io::Result<FileId> {
        let found = self.0.state.borrow().find(path);
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Folder").field(&self.0.steps).finish()
    }
}

/// The right to be the only opener of a file.
#[derive(Debug)]
pub struct FolderLock(Folder, PathBuf);

impl Drop for FolderLock {
    fn drop(&mut self) {
        self.0.0.locked.borrow_mut().remove(&self.1);
    }
}

impl Files for Folder {
    type File = FolderFile;
    type Lock = FolderLock;

    fn lock(&self, path: &Path) -> io::Result<Option<FolderLock>> {
        let free = self.0.locked.borrow_mut().insert(path.to_owned());
        Ok(free.then(|| FolderLock(self.clone(), path.to_owned())))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.find(path).is_ok())
    }

    fn open(&self, path: &Path) -> io::Result<FolderFile> {
        Ok(FolderFile { folder: self.clone(), id: self.find(path)? })
    }

    fn create(&self, path: &Path) -> io::Result<FolderFile> {
        if let Ok(file) = self.open(path) {
            file.set_length(0)?;
            return Ok(file);
        }
        let id = self.0.state.borrow().next_id();
        self.name(Naming::Create(path.to_owned(), id))?;
        Ok(FolderFile { folder: self.clone(), id })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.find(from)?;
        self.name(Naming::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.name(Naming::Remove(path.to_owned()))
    }

    fn sync_folder_of(&self, _: &Path) -> io::Result<()> {
        self.trouble(FileCall::SyncNames)?;
        // Now and then a kernel does it by itself.
        let broken = self.breaks(Mutation::NamesNotSynced);
        if !broken || self.0.sim.draw(|random| random.one_in(8)) {
            self.change(Change::SyncNames);
        }
        Ok(())
    }
}

/// An open file of a folder.
#[derive(Debug)]
pub struct FolderFile {
    folder: Folder,
    id: FileId,
}

impl FolderFile {
    fn put(&self, content: Content) -> io::Result<()> {
        let Folder(inner) = &self.folder;
        let trouble = self.folder.trouble(FileCall::Write);
        let arrives = match trouble {
            Ok(()) => Some(content),
            Err(_) => inner.sim.draw(|random| state::beginning(&content, random)),
        };
        inner.passed_over.set(false);
        arrives.into_iter().for_each(|c| self.folder.change(Change::Content(self.id, c)));
        trouble
    }

    fn sync(&self, broken: bool) -> io::Result<()> {
        let Folder(inner) = &self.folder;
        if let Err(error) = self.folder.trouble(FileCall::Sync) {
            let (arrived, written_off) = inner
                .sim
                .draw(|random| (inner.state.borrow().torn(self.id, random), random.one_in(2)));
            self.folder.change(Change::FailedSync(self.id, arrived, written_off));
            return Err(error);
        }
        if !broken {
            self.folder.change(Change::Sync(self.id));
        }
        Ok(())
    }

    /// Whether the bytes are there already, as they are when a journal is settled.
    fn shows(&self, bytes: &[u8], offset: u64) -> bool {
        let state = self.folder.0.state.borrow();
        let there = state.content(self.id).get(offset as usize..);
        there.is_some_and(|there| there.starts_with(bytes))
    }
}

impl OpenFile for FolderFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.folder.0.state.borrow().content(self.id).len() as u64)
    }

    fn read_all(&self, max: u64) -> io::Result<Vec<u8>> {
        let mut content = self.folder.0.state.borrow().content(self.id).to_vec();
        content.truncate(max as usize);
        if self.folder.breaks(Mutation::ChecksumsIgnored) {
            frames::make_checksums_right(&mut content);
        }
        Ok(content)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.folder.breaks(Mutation::NotSettled) && self.shows(bytes, offset) {
            self.folder.0.passed_over.set(true);
            return Ok(());
        }
        self.put(Content::Bytes(offset as usize, bytes.into()))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        if self.length()? == length {
            return Ok(());
        }
        self.put(Content::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.folder.0.passed_over.replace(false) {
            return Ok(());
        }
        self.sync(self.folder.breaks(Mutation::AppendNotSynced))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(self.folder.breaks(Mutation::ContentNotSynced))
    }
}
