//! How a user names a store: a path, `mem:SIZE`, or the URI of an NBD export.

use std::path::Path;
use std::sync::Arc;

use blockferry_nbd_session::NbdUri;

use crate::wrap::{Emulated, ReadOnly};
use crate::{FileStore, MemoryStore, RemoteStore, Store, StoreError};

/// What begins the description of a volume in memory.
const MEMORY: &str = "mem:";

/// Where the content of a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In a file or on a block device of this machine.
    Local,
    /// On an NBD server.
    Remote,
    /// In this program's memory, gone when it ends.
    Memory,
}

impl StoreKind {
    /// The kind of store that `spec` names.
    pub fn of(spec: &str) -> Self {
        match spec {
            _ if spec.starts_with(MEMORY) => Self::Memory,
            _ if spec.contains("://") => Self::Remote,
            _ => Self::Local,
        }
    }
}

/// Opens the store that `spec` names: `mem:SIZE` is a [`MemoryStore`], the URI of an NBD export
/// (`nbd://` or `nbd+unix://`) a [`RemoteStore`] with what its server lacks [`Emulated`], everything
/// without a scheme a [`FileStore`].
///
/// # Errors
/// When the description makes no sense, or what it names cannot be opened.
pub async fn open(spec: &str, read_only: bool) -> Result<Arc<dyn Store>, StoreError> {
    match StoreKind::of(spec) {
        StoreKind::Memory => memory(spec, read_only),
        StoreKind::Remote => remote(spec, read_only).await,
        StoreKind::Local if spec.is_empty() => {
            Err(StoreError::Spec { spec: spec.to_owned(), reason: "it is empty".to_owned() })
        }
        StoreKind::Local => Ok(Arc::new(FileStore::open(Path::new(spec), read_only)?)),
    }
}

fn memory(spec: &str, read_only: bool) -> Result<Arc<dyn Store>, StoreError> {
    let refused = |reason| StoreError::Spec { spec: spec.to_owned(), reason };
    let size = spec.strip_prefix(MEMORY).unwrap_or(spec);
    let size = blockferry_control::parse_size(size).map_err(|error| refused(error.to_string()))?;
    if i64::try_from(size).is_err() {
        return Err(refused("a volume has fewer than 2^63 bytes".to_owned()));
    }
    let store = MemoryStore::new(size);
    Ok(if read_only { Arc::new(ReadOnly::new(store)) } else { Arc::new(store) })
}

async fn remote(spec: &str, read_only: bool) -> Result<Arc<dyn Store>, StoreError> {
    let uri = spec
        .parse::<NbdUri>()
        .map_err(|error| StoreError::Spec { spec: spec.to_owned(), reason: error.to_string() })?;
    let store = Emulated::new(RemoteStore::connect(&uri).await?);
    Ok(if read_only { Arc::new(ReadOnly::new(store)) } else { Arc::new(store) })
}
