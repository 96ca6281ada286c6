//! A store that exists already and waits for a volume: `--receive NAME=BACKING`.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blockferry_control::api::ReceiveRequest;
use blockferry_device::{Device, DeviceInfo};
use blockferry_store::{Store, StoreError, StoreKind};

use crate::volume;

/// One prepared store. Nothing is written to it before a migration of its volume arrives.
pub(crate) struct PreparedStore {
    backing: String,
    /// A file or device while no volume is in it, so that nobody else opens it.
    held: Mutex<Option<Arc<dyn Store>>>,
}

impl PreparedStore {
    pub(crate) fn new(backing: String) -> Self {
        Self { backing, held: Mutex::new(None) }
    }

    /// What `--receive` names.
    pub(crate) fn backing(&self) -> &str {
        &self.backing
    }

    /// Opens it only to see that it can be; gives its size in bytes.
    pub(crate) async fn check(&self) -> Result<u64, StoreError> {
        let store = blockferry_store::open(&self.backing, false).await?;
        let size = store.info().size;
        self.keep(store);
        Ok(size)
    }

    /// Opens it for a volume, and tells all that speaks against that.
    pub(crate) async fn open_for(
        &self,
        request: &ReceiveRequest,
    ) -> (Option<Arc<dyn Store>>, Vec<String>) {
        match self.open().await {
            Ok(store) => {
                let problems = self.problems(store.info(), request);
                (Some(store), problems)
            }
            Err(error) => (None, vec![format!("the store prepared for the volume: {error}")]),
        }
    }

    /// Opened anew, since it may have got another size. Where the connections of an aborted migration
    /// are still being closed, nobody else had it meanwhile, and theirs serves as well.
    async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let held = self.lock().take();
        let closing = held.as_ref().map(Arc::downgrade);
        drop(held);
        match (blockferry_store::open(&self.backing, false).await, closing) {
            (Err(StoreError::InUse { .. }), Some(closing)) => match closing.upgrade() {
                Some(store) => Ok(store),
                None => blockferry_store::open(&self.backing, false).await,
            },
            (opened, _) => opened,
        }
    }

    /// Holds the store for the next migration. A server's export is opened when it is needed: the
    /// server may be restarted meanwhile, and may take one client only.
    pub(crate) fn keep(&self, store: Arc<dyn Store>) {
        if StoreKind::of(&self.backing) == StoreKind::Local {
            *self.lock() = Some(store);
        }
    }

    fn problems(&self, info: &DeviceInfo, request: &ReceiveRequest) -> Vec<String> {
        let store = format!("the store prepared for the volume ({})", self.backing);
        let mut problems = Vec::new();
        if info.size != request.size {
            let (wanted, found, advice) = (request.size, info.size, self.resize(request.size));
            problems.push(format!("the source has {wanted} bytes, {store} {found}: {advice}"));
        }
        if info.features.read_only {
            problems.push(format!("{store} is read-only; make it writable, or name another"));
            return problems;
        }
        if !info.features.flush {
            problems.push(format!(
                "{store} cannot flush, so nothing on it would ever be durable; name another"
            ));
        }
        let offered = volume::features(&info.features);
        let missing = request.features.iter().filter(|feature| !offered.contains(feature));
        problems.extend(missing.filter(|feature| *feature != "flush").map(|feature| {
            format!("the source offers {feature}, {store} does not; name one that does")
        }));
        problems
    }

    fn resize(&self, wanted: u64) -> String {
        let backing = &self.backing;
        match StoreKind::of(backing) {
            StoreKind::Memory => format!("name mem:{wanted}"),
            StoreKind::Remote => format!(
                "have its server offer exactly as many (nbdkit: --filter=truncate \
                 truncate={wanted}), or name another"
            ),
            StoreKind::Local if Path::new(backing).is_file() => {
                format!("resize it (truncate --size={wanted} {backing}), or name another")
            }
            StoreKind::Local => {
                format!("name a partition or a logical volume of exactly {wanted} bytes")
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Store>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
