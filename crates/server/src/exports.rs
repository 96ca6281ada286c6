//! The NBD side of a storage program: which export is which volume, and for whom.

use std::sync::Arc;

use blockferry_block::{Token, VolumeName};
use blockferry_nbd_session::{ExportEntry, Exports, FenceRequest, Hello, OpenError, Opened};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::volume::{Stage, Volume};
use crate::volumes::Volumes;

/// The volumes as exports.
pub(crate) struct VolumeExports(pub(crate) Arc<Volumes>);

impl VolumeExports {
    fn find(&self, name: &str) -> Result<Arc<Volume>, OpenError> {
        let unknown = || OpenError::Unknown(format!("there is no volume {name:?} here"));
        if name.is_empty() {
            let mut all = self.0.all();
            return if all.len() == 1 { all.pop().ok_or_else(unknown) } else { Err(unknown()) };
        }
        let parsed: VolumeName = name.parse().map_err(|_| unknown())?;
        self.0.get(&parsed).ok_or_else(unknown)
    }
}

impl Exports for VolumeExports {
    fn list(&self) -> Vec<ExportEntry> {
        let served = |volume: &Arc<Volume>| matches!(volume.stage(), Stage::Owner(_));
        let entry = |volume: &Arc<Volume>| ExportEntry {
            name: volume.name.to_string(),
            description: String::new(),
        };
        self.0.all().iter().filter(|volume| served(volume)).map(entry).collect()
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Opened, OpenError>> {
        async move {
            let (name, token) = split_role(name)?;
            let volume = self.find(name)?;
            let device = volume.connect(hello, token).await?;
            let cut = device.cut();
            Ok(Opened {
                name: volume.name.to_string(),
                description: String::new(),
                device: Arc::new(device),
                cut,
                kept: None,
            })
        }
        .boxed()
    }

    fn fence<'a>(&'a self, fence: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>> {
        async move {
            let volume = self.find(&fence.export)?;
            let fenced = volume.fence(&fence).await;
            fenced.map_err(|error| OpenError::Policy(format!("not fenced: {error:#}")))
        }
        .boxed()
    }
}

/// `NAME@copy.TOKEN`: the role of a stock tool that plays the controller's part.
fn split_role(name: &str) -> Result<(&str, Option<Token>), OpenError> {
    let Some((name, role)) = name.split_once('@') else { return Ok((name, None)) };
    let token = role.strip_prefix("copy.").and_then(|token| token.parse().ok());
    match token {
        Some(token) => Ok((name, Some(token))),
        None => Err(OpenError::Invalid(
            "a role in an export's name is written NAME@copy.TOKEN".to_owned(),
        )),
    }
}
