//! Volumes by their names on the command line.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use blockferry_checker::ImageFile;
use blockferry_device::Device;
use blockferry_initiator::{DiskUri, InOrder, Initiator, InitiatorSpec, Order};
use blockferry_nbd_session::{ConnectOptions, NbdUri, connect};
use tokio::time::timeout;

/// An initiator never gives up by itself; the first login has to succeed within this time.
const LOGIN_MAX: Duration = Duration::from_secs(20);

/// A path to a volume.
#[derive(Clone, Debug)]
pub(crate) enum VolumeUri {
    /// As an export.
    Nbd(NbdUri),
    /// As a disk.
    Iscsi(DiskUri),
}

impl FromStr for VolumeUri {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text.starts_with("iscsi://") {
            return Ok(Self::Iscsi(text.parse()?));
        }
        Ok(Self::Nbd(text.parse()?))
    }
}

/// Opens paths, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Opener {
    /// Overlapping writes of initiators wait for each other: what is sent again must not follow what was
    /// answered meanwhile.
    order: Arc<Order>,
    initiators: u16,
}

impl Opener {
    /// Connects to an export, or logs in to a disk.
    pub(crate) async fn open(&mut self, uri: &VolumeUri) -> anyhow::Result<Arc<dyn Device>> {
        match uri {
            VolumeUri::Nbd(uri) => {
                let options = ConnectOptions::new(uri.address.clone(), uri.export.as_str());
                let link = connect(&options).await.with_context(|| format!("cannot open {uri}"))?;
                Ok(Arc::new(link))
            }
            VolumeUri::Iscsi(disk) => {
                let spec = InitiatorSpec::new(disk, self.initiators);
                self.initiators += 1;
                let login = timeout(LOGIN_MAX, Initiator::log_in(spec)).await;
                let login = login.with_context(|| format!("cannot log in to {disk}"))?;
                let initiator = login.with_context(|| format!("cannot log in to {disk}"))?;
                Ok(Arc::new(InOrder::new(Arc::new(initiator), Arc::clone(&self.order))))
            }
        }
    }
}

/// Opens an export, a disk or a raw image file.
pub(crate) async fn open(name: &str) -> anyhow::Result<Arc<dyn Device>> {
    match name.parse() {
        Ok(uri) => Opener::default().open(&uri).await,
        Err(error) if name.contains("://") => Err(error),
        Err(_) => {
            let image = ImageFile::open(Path::new(name));
            Ok(Arc::new(image.with_context(|| format!("cannot open the image {name}"))?))
        }
    }
}
