//! One volume at one storage program: its store, its records, its part in a migration.

mod activity;
mod arrangement;
mod attach;
mod carry;
mod client;
mod connect;
mod copy_in;
mod copy_out;
mod destination_steps;
mod device;
mod disk;
mod forward;
mod governor;
mod lanes;
mod mirror_in;
mod mirror_out;
mod modify;
mod outgoing;
mod owner;
mod plain;
mod promotion;
mod receiver;
mod resync;
mod sessions;
mod setbacks;
mod source_steps;
mod status;
mod steps;
#[cfg(test)]
mod testing;
mod thin;
mod throttle;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blockferry_block::{Generation, SessionId, VolumeName};
use blockferry_device::{DeviceInfo, Errno, Failure};
use blockferry_journal::OsFiles;
use blockferry_migration::Faults;
use blockferry_migration::record::{Part, VolumeRecord, VolumeState};
use blockferry_migration::source::Source;
pub(crate) use blockferry_records::{ActivityFile, Book};
use blockferry_records::{Restarted, restart};
use blockferry_store::Store;

use crate::program::Context as Program;
use disk::Disk;
pub(crate) use disk::VolumeMedium;
use lanes::Lanes;
use outgoing::Outgoing;
use owner::Owner;
use receiver::Receiver;
use sessions::Sessions;
pub(crate) use status::{features, party};
pub(crate) use steps::Refused;
use tokio::sync::Notify;

/// What begins a refusal to serve a client here; the switch then asks where the owner is.
const NOT_THE_OWNER: &str = "not the owner";

/// What the volume does here.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Owner, source of a migration, or forwarding after its commit.
    Owner(Arc<Owner>),
    /// Destination of a migration.
    Receiver(Arc<Receiver>),
    /// Former owner that serves nobody.
    Retired,
    /// Removed by an abort.
    Gone,
}

/// One volume.
pub(crate) struct Volume {
    pub(crate) name: VolumeName,
    pub(crate) info: DeviceInfo,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) program: Arc<Program>,
    pub(crate) sessions: Sessions,
    stage: RwLock<Stage>,
    stage_changed: Notify,
    outgoing: RwLock<Option<Arc<Outgoing>>>,
    book: tokio::sync::Mutex<Option<Book>>,
    state: RwLock<VolumeState>,
    /// A record failed: what the journal holds, only a restart can tell.
    unrecorded: AtomicBool,
    /// One controller takes over after the other.
    terms: tokio::sync::Mutex<()>,
    /// The beginning and the end of a migration exclude one another.
    ending: tokio::sync::Mutex<()>,
    faults: Faults,
    lanes: Lanes,
    disk: Disk,
    /// Logins of initiators that were sent on to where the volume is.
    pub(crate) sent_on: AtomicU64,
    /// When a former owner that forwards was found after a restart.
    forwards_again_since: Option<Instant>,
}

impl Volume {
    /// A volume as its records tell, over its opened store. A migration away that was under way goes
    /// on.
    pub(crate) fn open(
        program: Arc<Program>,
        name: VolumeName,
        store: Arc<dyn Store>,
        book: Book,
    ) -> Result<Arc<Self>> {
        let state = book.state().clone();
        let info = exported(*store.info());
        let fences = state.fences.iter().filter_map(|(session, generation)| {
            Some((session.parse::<SessionId>().ok()?, Generation(*generation)))
        });
        let faults = program.faults;
        let reopen = || {
            let path = ActivityFile::path(&program.state_dir, name.as_str());
            ActivityFile::reopen(OsFiles, path, state.size)
        };
        let restarted = restart(&state, program.boot, faults, reopen)?;
        let (stage, log) = stage_of(restarted);
        let volume = Arc::new(Self {
            info,
            store,
            sessions: Sessions::with_fences(fences),
            stage: RwLock::new(stage),
            stage_changed: Notify::new(),
            outgoing: RwLock::new(None),
            book: tokio::sync::Mutex::new(Some(book)),
            state: RwLock::new(state.clone()),
            unrecorded: AtomicBool::new(false),
            terms: tokio::sync::Mutex::default(),
            ending: tokio::sync::Mutex::default(),
            faults,
            name,
            program,
            lanes: Lanes::default(),
            disk: Disk::new(),
            sent_on: AtomicU64::new(0),
            forwards_again_since: (state.part == Part::Forwarding).then(Instant::now),
        });
        volume.reopen_disk()?;
        if state.part == Part::Owner {
            volume.sessions.allow_plain_way();
        }
        if matches!(state.part, Part::Source | Part::Forwarding) {
            volume.start_outgoing(&state, log)?;
        }
        Ok(volume)
    }

    /// A volume that was just created to be received: it reads as zeroes everywhere.
    pub(crate) fn open_created(
        program: Arc<Program>,
        name: VolumeName,
        store: Arc<dyn Store>,
        book: Book,
    ) -> Result<Arc<Self>> {
        let volume = Self::open(program, name, store, book)?;
        let created = Receiver::created(volume.program.boot, volume.info.size, volume.faults);
        volume.set_stage(Stage::Receiver(Arc::new(created)));
        Ok(volume)
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = stage;
        self.stage_changed.notify_waiters();
    }

    /// Waits so long for this side to own a volume that it receives; tells whether it does.
    pub(crate) async fn owned_within(&self, longest: Duration) -> bool {
        let owned = async {
            loop {
                let mut changed = std::pin::pin!(self.stage_changed.notified());
                changed.as_mut().enable();
                match self.stage() {
                    Stage::Owner(_) => return true,
                    Stage::Receiver(_) => changed.await,
                    Stage::Retired | Stage::Gone => return false,
                }
            }
        };
        tokio::time::timeout(longest, owned).await.unwrap_or(false)
    }

    /// What the records say.
    pub(crate) fn state(&self) -> VolumeState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn outgoing(&self) -> Option<Arc<Outgoing>> {
        self.outgoing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_outgoing(&self, outgoing: Option<Arc<Outgoing>>) {
        *self.outgoing.write().unwrap_or_else(PoisonError::into_inner) = outgoing;
    }

    /// This side owns the volume from now on, and nobody migrates it.
    fn owns(self: &Arc<Self>) {
        // What initiators have set binds whoever comes first.
        self.take_over_disk();
        let source = Source::new(self.info.size, self.faults());
        self.set_stage(Stage::Owner(Arc::new(Owner::new(source))));
        self.sessions.allow_plain_way();
    }

    fn faults(&self) -> Faults {
        self.faults
    }

    pub(crate) fn owner(&self) -> Option<Arc<Owner>> {
        match self.stage() {
            Stage::Owner(owner) => Some(owner),
            _ => None,
        }
    }

    pub(crate) fn receiver(&self) -> Option<Arc<Receiver>> {
        match self.stage() {
            Stage::Receiver(receiver) => Some(receiver),
            _ => None,
        }
    }

    /// Makes a record durable before anybody acts on it. Once begun it is made, even if whoever
    /// waits for it does not any more.
    pub(crate) async fn record(self: &Arc<Self>, record: VolumeRecord) -> Result<()> {
        let volume = Arc::clone(self);
        let recorded = tokio::spawn(async move { volume.append(record).await });
        recorded.await.context("the record's task failed")?
    }

    async fn append(&self, record: VolumeRecord) -> Result<()> {
        let mut guard = self.book.lock().await;
        let mut book = guard.take().context("the volume's journal is closed")?;
        let appended = tokio::task::spawn_blocking(move || {
            let result = book.append(record);
            (book, result)
        });
        let (book, result) = appended.await.context("the journal's writer failed")?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = book.state().clone();
        *guard = Some(book);
        if result.is_err() {
            self.unrecorded.store(true, Ordering::SeqCst);
        }
        Ok(result?)
    }

    /// Closes the journal for good, so that its file may be removed.
    pub(crate) async fn close_book(&self) {
        self.book.lock().await.take();
    }
}

/// What clients are told: whatever the store needs, a volume takes requests of any alignment.
fn exported(mut info: DeviceInfo) -> DeviceInfo {
    info.block_size_min = 1;
    info.payload_max = blockferry_device::PAYLOAD_MAX;
    info.features.multi_conn = true;
    info
}

fn stage_of(restarted: Restarted) -> (Stage, Option<ActivityFile>) {
    match restarted {
        Restarted::Owner(source, log) => (Stage::Owner(Arc::new(Owner::new(source))), log),
        Restarted::Receiver(destination) => {
            (Stage::Receiver(Arc::new(Receiver::new(destination))), None)
        }
        Restarted::Retired => (Stage::Retired, None),
    }
}

/// What a client is told by a program that does not own the volume.
fn not_the_owner(name: &VolumeName) -> Failure {
    Failure::new(
        Errno::Shutdown,
        format!("{NOT_THE_OWNER} of {name}: ask the other storage program of its migration"),
    )
}
