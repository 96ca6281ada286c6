//! The volumes of a storage program: opened at start, created on request, removed by an abort.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, Result, bail};
use blockferry_block::{MigrationId, Token, VolumeName};
use blockferry_control::api::{ReceiveReply, ReceiveRequest};
use blockferry_device::Device;
use blockferry_migration::record::{Part, Party, VolumeRecord};
use blockferry_store::FileStore;

use crate::program::Context;
use crate::volume::{ActivityFile, Book, Refused, Stage, Volume};

/// All volumes.
pub(crate) struct Volumes {
    pub(crate) program: Arc<Context>,
    table: RwLock<BTreeMap<VolumeName, Arc<Volume>>>,
    creating: tokio::sync::Mutex<()>,
}

/// A volume that the command line names.
#[derive(Clone, Debug)]
pub(crate) struct VolumeSpec {
    pub(crate) name: VolumeName,
    pub(crate) backing: String,
    pub(crate) read_only: bool,
}

impl Volumes {
    /// Opens the named volumes and those that the state folder tells of.
    pub(crate) async fn open(program: Arc<Context>, specs: Vec<VolumeSpec>) -> Result<Arc<Self>> {
        let volumes = Arc::new(Self {
            program,
            table: RwLock::new(BTreeMap::new()),
            creating: tokio::sync::Mutex::new(()),
        });
        for spec in &specs {
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
        Ok(volumes)
    }

    async fn open_named(&self, spec: &VolumeSpec) -> Result<Arc<Volume>> {
        let store = blockferry_store::open(&spec.backing, spec.read_only).await?;
        let size = store.info().size;
        let first = VolumeRecord::Owner { generation: 1, size, backing: spec.backing.clone() };
        let path = Book::path(&self.program.state_dir, spec.name.as_str());
        let book = Book::open(path, Some(first))?.context("its records say that it was removed")?;
        let recorded = book.state();
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
            remove(&path);
            return Ok(None);
        };
        let state = book.state();
        let given_by_hand = self.pool_path(name).is_none_or(|pooled| pooled != state.backing);
        if given_by_hand && state.part == Part::Owner && state.migration.is_none() {
            tracing::info!(volume = %name, backing = state.backing,
                "not served: name it with --volume to serve it again");
            return Ok(None);
        }
        let store = blockferry_store::open(&state.backing, false).await?;
        if store.info().size != state.size {
            bail!("its store has {} bytes, its records say {}", store.info().size, state.size);
        }
        Volume::open(Arc::clone(&self.program), name.clone(), store, book).map(Some)
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

    fn insert(&self, volume: Arc<Volume>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(volume.name.clone(), volume);
    }

    fn pool_path(&self, name: &VolumeName) -> Option<String> {
        let path = self.program.pool.as_ref()?.join(name.as_str());
        path.into_os_string().into_string().ok()
    }

    /// `/receive`: creates the volume of exactly the size asked for (D2.1).
    pub(crate) async fn receive(
        &self,
        name: &VolumeName,
        request: &ReceiveRequest,
    ) -> Result<ReceiveReply, Refused> {
        let _creating = self.creating.lock().await;
        let boot = self.program.boot.0;
        if let Some(volume) = self.get(name) {
            return match volume.state().migration {
                Some(known) if known.migration == request.migration && !request.dry_run => {
                    let reserved_address = volume.status().reserved_address;
                    Ok(ReceiveReply { boot, reserved_address, problems: Vec::new() })
                }
                _ if request.dry_run => {
                    let problems = vec![exists(&volume)];
                    Ok(ReceiveReply { boot, reserved_address: 0, problems })
                }
                _ => Err(Refused::Conflict(exists(&volume))),
            };
        }
        let problems = self.problems(name, request);
        if request.dry_run {
            return Ok(ReceiveReply { boot, reserved_address: 0, problems });
        }
        if let Some(problem) = problems.into_iter().next() {
            return Err(Refused::Conflict(problem));
        }
        let volume = self.create(name, request).await?;
        self.insert(volume);
        Ok(ReceiveReply { boot, reserved_address: 0, problems: Vec::new() })
    }

    /// Every reason why the volume cannot be received here.
    fn problems(&self, name: &VolumeName, request: &ReceiveRequest) -> Vec<String> {
        let mut problems = Vec::new();
        let Some(pool) = &self.program.pool else {
            return vec!["this program has no --pool, so it cannot create volumes".to_owned()];
        };
        if pool.join(name.as_str()).exists() {
            let path = pool.join(name.as_str());
            problems.push(format!("{} exists and belongs to no migration", path.display()));
        }
        if Book::path(&self.program.state_dir, name.as_str()).exists() {
            problems.push(format!("the state folder has records of another volume {name}"));
        }
        if let Err(problem) = FileStore::check_room(pool, request.allocated) {
            problems.push(problem.to_string());
        }
        let offered =
            ["flush", "fua", "trim", "write_zeroes", "cache", "block_status", "multi_conn"];
        for feature in &request.features {
            if !offered.contains(&feature.as_str()) && feature != "fast_zero" {
                problems.push(format!("the source offers {feature}, which this program does not"));
            }
        }
        problems
    }

    async fn create(&self, name: &VolumeName, request: &ReceiveRequest) -> Result<Arc<Volume>> {
        let pool = self.program.pool.as_ref().context("this program has no --pool")?;
        let _: MigrationId = request.migration.parse().context("the migration's identity")?;
        let _: Token = request.token.parse().context("the migration's token")?;
        // The file first and the record after it: a crash between leaves a file that the next try
        // names, never a record of a volume that is not there.
        let store: Arc<dyn Device> =
            Arc::new(FileStore::create(pool, name, request.size, request.allocated)?);
        let backing = self.pool_path(name).context("the pool's path is not UTF-8")?;
        let first = VolumeRecord::Receiving {
            migration: request.migration.clone(),
            token: request.token.clone(),
            source: Party {
                nbd: request.source.nbd.clone(),
                control: request.source.control.clone(),
            },
            size: request.size,
            generation: request.generation,
            backing,
        };
        let path = Book::path(&self.program.state_dir, name.as_str());
        let book = Book::open(path, Some(first))?.context("a new journal has a first record")?;
        Volume::open_created(Arc::clone(&self.program), name.clone(), store, book)
    }

    /// Removes what an aborted migration created.
    pub(crate) fn remove_gone(&self, volume: &Volume) {
        if !matches!(volume.stage(), Stage::Gone) {
            return;
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(&volume.name);
        remove(Path::new(&volume.state().backing));
        remove(&Book::path(&self.program.state_dir, volume.name.as_str()));
        remove(&ActivityFile::path(&self.program.state_dir, volume.name.as_str()));
    }
}

fn exists(volume: &Volume) -> String {
    let status = volume.status();
    let (name, size) = (&status.name, status.size);
    let role = format!("{:?}", status.role).to_lowercase();
    format!(
        "a volume {name} of {size} bytes exists here (role {role}) and was not made by this \
         migration; remove it, or abort its own migration"
    )
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a file could not be removed");
        }
        _ => {}
    }
}

/// The pool and state folders have to exist; the state folder is made.
pub(crate) fn prepare_folders(state_dir: &Path, pool: Option<&PathBuf>) -> Result<()> {
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("the state folder {} cannot be made", state_dir.display()))?;
    if let Some(pool) = pool {
        std::fs::create_dir_all(pool)
            .with_context(|| format!("the pool {} cannot be made", pool.display()))?;
    }
    Ok(())
}
