//! Volumes that come: created in the pool, or taken into a store that was prepared for them; and
//! what an abort leaves.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use blockferry_block::{MigrationId, Token, VolumeName};
use blockferry_control::api::{AbortRequest, ReceiveReply, ReceiveRequest};
use blockferry_migration::record::{Part, VolumeRecord, VolumeState};
use blockferry_store::{FileStore, Store};

use crate::volume::{ActivityFile, Book, Refused, Stage, Volume, party};
use crate::volumes::{Volumes, remove};

/// What a volume in the pool offers its clients.
const POOL_OFFERS: [&str; 8] =
    ["flush", "fua", "trim", "write_zeroes", "fast_zero", "cache", "block_status", "multi_conn"];

/// What is wrong with a program that would get a volume with initiators.
const NO_ISCSI: &str = "iSCSI initiators use the volume, and this program serves none, or at an address that \
                        it does not tell: start it with --iscsi, and --iscsi-advertise where that is \
                        0.0.0.0, or log them out";

impl Volumes {
    /// `/receive`: creates the volume of exactly the size asked for (D2.1), or takes it into the
    /// store that was prepared for it.
    pub(crate) async fn receive(
        &self,
        name: &VolumeName,
        request: &ReceiveRequest,
    ) -> Result<ReceiveReply, Refused> {
        let _changing = self.changing.lock().await;
        if let Some(volume) = self.get(name) {
            return self.received_before(&volume, request);
        }
        let prepared = self.prepared.get(name);
        let (store, mut problems) = match prepared {
            Some(prepared) => prepared.open_for(request).await,
            None => (None, self.pool_problems(name, request)),
        };
        problems.extend(self.left_behind(name));
        problems.extend(self.initiators_problems(request));
        if request.dry_run || !problems.is_empty() {
            if let (Some(prepared), Some(store)) = (prepared, store) {
                prepared.keep(store);
            }
            let overwrites = prepared.map(|prepared| prepared.backing().to_owned());
            return match problems.first() {
                Some(problem) if !request.dry_run => Err(Refused::Conflict(problem.clone())),
                _ => Ok(ReceiveReply { overwrites, ..self.reply(0, problems) }),
            };
        }
        blockferry_label::reached("destination.receive.asked");
        let volume = match (prepared, store) {
            (Some(prepared), Some(store)) => self.take_in(name, request, prepared.backing(), store),
            _ => self.create(name, request),
        };
        self.insert(volume?);
        blockferry_label::reached("destination.receive.served");
        Ok(self.reply(0, problems))
    }

    fn received_before(
        &self,
        volume: &Volume,
        request: &ReceiveRequest,
    ) -> Result<ReceiveReply, Refused> {
        match volume.state().migration {
            Some(known) if known.migration == request.migration && !request.dry_run => {
                Ok(self.reply(volume.status().reserved_address, Vec::new()))
            }
            _ if request.dry_run => Ok(self.reply(0, vec![self.exists(volume)])),
            _ => Err(Refused::Conflict(self.exists(volume))),
        }
    }

    fn exists(&self, volume: &Volume) -> String {
        let status = volume.status();
        let (name, size) = (&status.name, status.size);
        let role = format!("{:?}", status.role).to_lowercase();
        let way_out = match volume.stage() {
            Stage::Retired if self.prepared.contains_key(&volume.name) => {
                "start this program again, and its store is prepared again"
            }
            _ => "remove it, or abort its own migration",
        };
        format!(
            "a volume {name} of {size} bytes exists here (role {role}) and was not made by this \
             migration; {way_out}"
        )
    }

    fn reply(&self, reserved_address: u64, problems: Vec<String>) -> ReceiveReply {
        let boot = self.program.boot.0;
        ReceiveReply { boot, reserved_address, problems, overwrites: None }
    }

    fn left_behind(&self, name: &VolumeName) -> Option<String> {
        let path = Book::path(&self.program.state_dir, name.as_str());
        path.exists().then(|| format!("the state folder has records of another volume {name}"))
    }

    /// Why the volume's initiators could not log in here.
    fn initiators_problems(&self, request: &ReceiveRequest) -> Vec<String> {
        let Some(source) = &request.initiators else { return Vec::new() };
        if source.logged_in > 0 && self.program.address.iscsi.is_none() {
            return vec![NO_ISCSI.to_owned()];
        }
        self.program.accounts.iter().flat_map(|accounts| accounts.problems(source)).collect()
    }

    /// Every reason why the volume cannot be created in the pool.
    fn pool_problems(&self, name: &VolumeName, request: &ReceiveRequest) -> Vec<String> {
        let mut problems = Vec::new();
        let Some(pool) = &self.program.pool else {
            return vec![format!(
                "this program has no --pool, so it cannot create volumes, and no --receive {name} \
                 prepares a store"
            )];
        };
        let path = pool.join(name.as_str());
        if path.exists() {
            problems.push(format!("{} exists and belongs to no migration", path.display()));
        }
        if let Err(problem) = FileStore::check_room(pool, request.allocated) {
            problems.push(problem.to_string());
        }
        let missing = request.features.iter().filter(|f| !POOL_OFFERS.contains(&f.as_str()));
        problems
            .extend(missing.map(|feature| {
                format!("the source offers {feature}, which this program does not")
            }));
        problems
    }

    fn create(&self, name: &VolumeName, request: &ReceiveRequest) -> Result<Arc<Volume>> {
        let pool = self.program.pool.as_ref().context("this program has no --pool")?;
        let backing = self.pool_path(name).context("the pool's path is not UTF-8")?;
        let first = first_record(request, backing, false)?;
        // The record first and the file after it: a crash between leaves no file that nobody knows.
        let book = self.new_book(name, first)?;
        blockferry_label::reached("destination.receive.recorded");
        let store = FileStore::create(pool, name, request.size, request.allocated)
            .inspect_err(|_| remove(&Book::path(&self.program.state_dir, name.as_str())))?;
        blockferry_label::reached("destination.receive.created");
        Volume::open_created(Arc::clone(&self.program), name.clone(), Arc::new(store), book)
    }

    /// Makes the file of a volume that was recorded just before a crash. Nothing of it is durable, so
    /// nothing can be lost: it is not there, or has not got its size yet.
    pub(crate) fn finish_creating(&self, name: &VolumeName, state: &VolumeState) -> Result<()> {
        let Some(pool) = &self.program.pool else { return Ok(()) };
        let begun = state.part == Part::Destination
            && state.migration.as_ref().is_some_and(|migration| migration.durable == 0)
            && self.pool_path(name).as_ref() == Some(&state.backing);
        let length = std::fs::metadata(&state.backing).map_or(0, |found| found.len());
        if begun && length == 0 && state.size > 0 {
            remove(Path::new(&state.backing));
            FileStore::create(pool, name, state.size, 0)?;
        }
        Ok(())
    }

    /// Removes what a crash left of a volume that was created here and aborted. A file of another
    /// size is somebody else's.
    pub(crate) fn finish_removing(&self, name: &VolumeName, gone: &VolumeState) {
        let length = std::fs::metadata(&gone.backing).map_or(0, |found| found.len());
        let created = !gone.prepared && self.pool_path(name).as_ref() == Some(&gone.backing);
        if created && length == gone.size {
            remove(Path::new(&gone.backing));
        }
        remove(&ActivityFile::path(&self.program.state_dir, name.as_str()));
    }

    /// The volume begins in a store whose old content is overwritten, holes included.
    fn take_in(
        &self,
        name: &VolumeName,
        request: &ReceiveRequest,
        backing: &str,
        store: Arc<dyn Store>,
    ) -> Result<Arc<Volume>> {
        let book = self.new_book(name, first_record(request, backing.to_owned(), true)?)?;
        tracing::info!(volume = %name, backing, "received into the store prepared for it");
        Volume::open(Arc::clone(&self.program), name.clone(), store, book)
    }

    fn new_book(&self, name: &VolumeName, first: VolumeRecord) -> Result<Book> {
        let path = Book::path(&self.program.state_dir, name.as_str());
        Book::open(path, Some(first))?.context("a new journal has a first record")
    }

    /// `/abort` on either side. What a migration created here goes with it; a store that was
    /// prepared is prepared again.
    pub(crate) async fn abort(
        &self,
        name: &VolumeName,
        request: &AbortRequest,
    ) -> Result<(), Refused> {
        let Some(volume) = self.get(name) else { return Ok(()) };
        volume.abort(request).await?;
        let _changing = self.changing.lock().await;
        if matches!(volume.stage(), Stage::Gone) && self.forget(&volume) {
            self.remove_gone(&volume);
            blockferry_label::reached("destination.abort.removed");
        }
        Ok(())
    }

    fn remove_gone(&self, volume: &Volume) {
        let (name, state) = (&volume.name, volume.state());
        if !state.prepared {
            remove(Path::new(&state.backing));
        }
        // The records last: a crash before that leaves them, and they tell of the file.
        remove(&ActivityFile::path(&self.program.state_dir, name.as_str()));
        remove(&Book::path(&self.program.state_dir, name.as_str()));
        if !state.prepared {
            return;
        }
        if let Some(prepared) = self.prepared.get(name) {
            prepared.keep(Arc::clone(&volume.store));
            tracing::info!(volume = %name, backing = state.backing, "aborted; prepared again");
        }
    }
}

fn first_record(request: &ReceiveRequest, backing: String, prepared: bool) -> Result<VolumeRecord> {
    let _: MigrationId = request.migration.parse().context("the migration's identity")?;
    let _: Token = request.token.parse().context("the migration's token")?;
    Ok(VolumeRecord::Receiving {
        migration: request.migration.clone(),
        token: request.token.clone(),
        source: party(request.source.clone()),
        size: request.size,
        generation: request.generation,
        backing,
        prepared,
    })
}
