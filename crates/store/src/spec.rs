//! How a user names a store: a path, `mem:SIZE`, or the URI of an NBD export.

use std::path::Path;
use std::sync::Arc;

use blockferry_device::Device;
use blockferry_nbd_session::NbdUri;

use crate::wrap::ReadOnly;
use crate::{FileStore, MemoryStore, RemoteStore, StoreError};

/// Opens the store that `spec` names: `mem:SIZE` is a [`MemoryStore`], the URI of an NBD export
/// (`nbd://` or `nbd+unix://`) a [`RemoteStore`], everything without a scheme a [`FileStore`].
///
/// # Errors
/// When the description makes no sense, or what it names cannot be opened.
pub async fn open(spec: &str, read_only: bool) -> Result<Arc<dyn Device>, StoreError> {
    if let Some(size) = spec.strip_prefix("mem:") {
        return memory(spec, size, read_only);
    }
    if spec.contains("://") {
        return remote(spec, read_only).await;
    }
    if spec.is_empty() {
        return Err(StoreError::Spec { spec: spec.to_owned(), reason: "it is empty".to_owned() });
    }
    Ok(Arc::new(FileStore::open(Path::new(spec), read_only)?))
}

fn memory(spec: &str, size: &str, read_only: bool) -> Result<Arc<dyn Device>, StoreError> {
    let refused = |reason| StoreError::Spec { spec: spec.to_owned(), reason };
    let size = blockferry_control::parse_size(size).map_err(|error| refused(error.to_string()))?;
    if i64::try_from(size).is_err() {
        return Err(refused("a volume has fewer than 2^63 bytes".to_owned()));
    }
    let store = MemoryStore::new(size);
    Ok(if read_only { Arc::new(ReadOnly::new(store)) } else { Arc::new(store) })
}

async fn remote(spec: &str, read_only: bool) -> Result<Arc<dyn Device>, StoreError> {
    let uri = spec
        .parse::<NbdUri>()
        .map_err(|error| StoreError::Spec { spec: spec.to_owned(), reason: error.to_string() })?;
    let store = RemoteStore::connect(&uri).await?;
    Ok(if read_only { Arc::new(ReadOnly::new(store)) } else { Arc::new(store) })
}
