//! Volumes by their names on the command line.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use blockferry_checker::ImageFile;
use blockferry_device::Device;
use blockferry_nbd_session::{ConnectOptions, NbdUri, connect};

/// Connects to an export.
pub(crate) async fn open_uri(uri: &NbdUri) -> anyhow::Result<Arc<dyn Device>> {
    let options = ConnectOptions::new(uri.address.clone(), uri.export.as_str());
    let link = connect(&options).await.with_context(|| format!("cannot open {uri}"))?;
    Ok(Arc::new(link))
}

/// Opens an export or a raw image file.
pub(crate) async fn open(name: &str) -> anyhow::Result<Arc<dyn Device>> {
    match name.parse() {
        Ok(uri) => open_uri(&uri).await,
        Err(error) if name.contains("://") => Err(error.into()),
        Err(_) => {
            let image = ImageFile::open(Path::new(name));
            Ok(Arc::new(image.with_context(|| format!("cannot open the image {name}"))?))
        }
    }
}
