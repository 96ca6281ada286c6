//! The volumes of a storage program, and how they are opened at its start: those that are named, and
//! those that the state folder tells of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, Result, bail};
use blockferry_block::VolumeName;
use blockferry_control::folder;
use blockferry_migration::record::{Part, VolumeRecord, VolumeState};
use blockferry_store::StoreKind;

use crate::prepared::PreparedStore;
use crate::program::Context;
use crate::volume::{Book, Volume};

/// All volumes.
pub(crate) struct Volumes {
    pub(crate) program: Arc<Context>,
    table: RwLock<BTreeMap<VolumeName, Arc<Volume>>>,
    /// What `--receive` names, with or without a volume in it.
    pub(crate) prepared: BTreeMap<VolumeName, PreparedStore>,
    /// Volumes come and go one at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

/// A volume that the command line names.
#[derive(Clone, Debug)]
pub(crate) struct VolumeSpec {
    pub(crate) name: VolumeName,
    pub(crate) backing: String,
    pub(crate) read_only: bool,
}

impl Volumes {
    /// Opens the named volumes and those that the state folder tells of, and looks at the stores
    /// that are prepared for others.
    pub(crate) async fn open(
        program: Arc<Context>,
        specs: &[VolumeSpec],
        receive: Vec<VolumeSpec>,
    ) -> Result<Arc<Self>> {
        let prepared = receive.into_iter().map(|s| (s.name, PreparedStore::new(s.backing)));
        let volumes = Arc::new(Self {
            program,
            table: RwLock::new(BTreeMap::new()),
            prepared: prepared.collect(),
            changing: tokio::sync::Mutex::new(()),
        });
        for spec in specs {
            let opened = volumes.open_named(spec).await;
            let volume =
                opened.with_context(|| format!("volume {} ({})", spec.name, spec.backing))?;
            volumes.insert(volume);
        }
        for name in volumes.recorded()? {
            if volumes.get(&name).is_none() {
                let opened = volumes.open_recorded(&name).await;
                if let Some(volume) = opened.with_context(|| format!("volume {name}"))? {
                    volumes.insert(volume);
                }
            }
        }
        volumes.check_prepared().await?;
        Ok(volumes)
    }

    async fn check_prepared(&self) -> Result<()> {
        for (name, prepared) in &self.prepared {
            if self.get(name).is_some() {
                continue;
            }
            let backing = prepared.backing();
            let checked = prepared.check().await;
            let size = checked.with_context(|| format!("--receive {name}={backing}"))?;
            tracing::info!(volume = %name, backing, size,
                "prepared: a migration of the volume will overwrite it; nothing is served yet");
        }
        Ok(())
    }

    async fn open_named(&self, spec: &VolumeSpec) -> Result<Arc<Volume>> {
        let store = blockferry_store::open(&spec.backing, spec.read_only).await?;
        let size = store.info().size;
        let first = VolumeRecord::Owner { generation: 1, size, backing: spec.backing.clone() };
        let path = Book::path(&self.program.state_dir, spec.name.as_str());
        let book = Book::open(path, Some(first))?.context("its records say that it was removed")?;
        let recorded = book.state();
        if recorded.part == Part::Destination && recorded.backing != spec.backing {
            bail!("its records say that it is being received into {}; name that", recorded.backing);
        }
        if recorded.size != size {
            bail!(
                "it has {size} bytes, and its records say {}; it was resized or exchanged: \
                 restore it, or remove its journal to begin anew",
                recorded.size
            );
        }
        Volume::open(Arc::clone(&self.program), spec.name.clone(), store, book)
    }

    async fn open_recorded(&self, name: &VolumeName) -> Result<Option<Arc<Volume>>> {
        let path = Book::path(&self.program.state_dir, name.as_str());
        let Some(book) = Book::open(path.clone(), None)? else {
            if let Some(gone) = Book::aborted(&path)? {
                self.finish_removing(name, &gone);
            }
            remove(&path);
            return Ok(None);
        };
        let state = book.state();
        let named = self.prepared.get(name).map(PreparedStore::backing);
        if let Some(why) = is_over(state, named.is_some()) {
            tracing::warn!(volume = %name, backing = state.backing, "its records are removed: {why}");
            drop(book);
            remove(&path);
            return Ok(None);
        }
        if let Some(named) = named.filter(|named| *named != state.backing) {
            let backing = &state.backing;
            bail!(
                "its records say that it is in {backing}, and --receive names {named}; name that"
            );
        }
        if state.part == Part::Owner && named.is_none() && self.is_given_by_hand(name, state) {
            tracing::info!(volume = %name, backing = state.backing,
                "not served: name it with --volume to serve it again");
            return Ok(None);
        }
        self.finish_creating(name, state)?;
        let store = blockferry_store::open(&state.backing, false).await?;
        if store.info().size != state.size {
            bail!("its store has {} bytes, its records say {}", store.info().size, state.size);
        }
        Volume::open(Arc::clone(&self.program), name.clone(), store, book).map(Some)
    }

    /// Whether a person named the store, so that a person decides about serving it, too.
    fn is_given_by_hand(&self, name: &VolumeName, state: &VolumeState) -> bool {
        let elsewhere = || self.pool_path(name).is_none_or(|pooled| pooled != state.backing);
        state.prepared || (state.migration.is_none() && elsewhere())
    }

    fn recorded(&self) -> Result<Vec<VolumeName>> {
        let dir = &self.program.state_dir;
        let entries = std::fs::read_dir(dir)
            .with_context(|| format!("the state folder {} cannot be read", dir.display()))?;
        let mut names = Vec::new();
        for entry in entries {
            let file = entry?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".journal"));
            names.extend(name.and_then(|name| name.parse().ok()));
        }
        Ok(names)
    }

    /// A volume by its name.
    pub(crate) fn get(&self, name: &VolumeName) -> Option<Arc<Volume>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(name).cloned()
    }

    /// All volumes, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Volume>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn insert(&self, volume: Arc<Volume>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(volume.name.clone(), volume);
    }

    /// Takes a volume off the table; false when it was not there any more.
    pub(crate) fn forget(&self, volume: &Arc<Volume>) -> bool {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let known = table.get(&volume.name).is_some_and(|known| Arc::ptr_eq(known, volume));
        known && table.remove(&volume.name).is_some()
    }

    /// Where a volume is that is created in the pool.
    pub(crate) fn pool_path(&self, name: &VolumeName) -> Option<String> {
        let path = self.program.pool.as_ref()?.join(name.as_str());
        path.into_os_string().into_string().ok()
    }
}

/// Why nothing is left to open of what the records tell of, if that is so.
fn is_over(state: &VolumeState, prepared: bool) -> Option<&'static str> {
    let in_memory = StoreKind::of(&state.backing) == StoreKind::Memory;
    match state.part {
        Part::Retired if prepared => Some("it was retired here, and is to be received again"),
        Part::Destination | Part::Owner | Part::Source if state.prepared && in_memory => {
            Some("it was received into memory, and is gone with the program that had it")
        }
        _ => None,
    }
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a file could not be removed");
        }
        _ => {}
    }
}

/// The pool and state folders have to exist, also after a loss of power; they are made.
pub(crate) fn prepare_folders(state_dir: &Path, pool: Option<&PathBuf>) -> Result<()> {
    folder::make_durably(state_dir)
        .with_context(|| format!("the state folder {} cannot be made", state_dir.display()))?;
    if let Some(pool) = pool {
        folder::make_durably(pool)
            .with_context(|| format!("the pool {} cannot be made", pool.display()))?;
    }
    Ok(())
}
