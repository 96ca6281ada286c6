//! A side of a migration, a storage program with its volume and its records on one disk, after a loss
//! of power: the real program is started on what is left.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use blockferry_control::api::VolumeRole;

use super::disk::Disk;
use super::ext4::{Ext4, files_in};
use crate::cast::{Storage, StorageSpec, VOLUME};

/// Where the volumes are on the disks.
const POOL: &str = "pool";
const SOURCE_VOLUME: &str = "volume";

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// With its volume in a file.
    Source,
    /// With its volume in its pool.
    Destination,
}

/// What a side was found to be, by its records: many outages leave the same.
#[derive(Default)]
pub(super) struct Records(HashMap<BTreeMap<String, Vec<u8>>, Option<VolumeRole>>);

/// A side that has its power again.
pub(super) struct Survivor {
    /// Its part; `None` where it has no volume (yet, or any more).
    pub role: Option<VolumeRole>,
    /// Its volume's file.
    pub volume: PathBuf,
}

impl Side {
    /// Takes the files from the disk into `folder`, which is emptied, and starts the program on them.
    ///
    /// # Errors
    /// When the disk is damaged, or the program refuses what is on it.
    pub(super) async fn restarted(
        self,
        disk: &Disk,
        folder: &Path,
        records: &mut Records,
    ) -> Result<Survivor> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        let image = Ext4(disk.path());
        image.recover()?;
        image.extract(folder)?;
        let spec = self.spec(folder);
        let volume = self.volume(folder);
        let recorded = files_in(&spec.state)?;
        if let Some(role) = records.0.get(&recorded) {
            return Ok(Survivor { role: *role, volume });
        }
        let role = role_of(spec).await?;
        records.0.insert(recorded, role);
        Ok(Survivor { role, volume })
    }

    /// The program on the files in `folder`.
    pub(super) fn spec(self, folder: &Path) -> StorageSpec {
        match self {
            Self::Source => StorageSpec::new("target-src", folder)
                .without_pool()
                .volume(VOLUME, folder.join(SOURCE_VOLUME)),
            Self::Destination => StorageSpec::new("target-dst", folder),
        }
    }

    fn volume(self, folder: &Path) -> PathBuf {
        match self {
            Self::Source => folder.join(SOURCE_VOLUME),
            Self::Destination => folder.join(POOL).join(VOLUME),
        }
    }
}

impl Survivor {
    /// Whether it serves the volume on its own authority (I1).
    pub(super) fn serves(&self) -> bool {
        use VolumeRole::{Committing, Migrating, Owner};
        matches!(self.role, Some(Owner | Migrating | Committing))
    }
}

async fn role_of(spec: StorageSpec) -> Result<Option<VolumeRole>> {
    let mut storage = match Storage::try_start(spec).await {
        Ok(storage) => storage,
        Err(status) => bail!("it does not start again: {status}"),
    };
    let role = storage.status(VOLUME).await.map(|status| status.role);
    storage.kill9();
    Ok(role)
}
