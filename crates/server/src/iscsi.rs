//! The iSCSI side of a storage program: which target is which volume, and who may use it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blockferry_iscsi::{Chap, Inquiry, IscsiName, PortalAddress, Refusal, TargetEntry};
use blockferry_iscsi_session::{Opened, PORTAL_GROUP, Targets, is_target_of, target_of};
use blockferry_nbd_session::{Hello, Purpose};
use blockferry_net::Peer;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::accounts::Accounts;
use crate::redirects::Redirects;
use crate::volume::{Stage, Volume, VolumeMedium};
use crate::volumes::Volumes;

/// An initiator that comes before its volume does waits so long.
const OWN_WAIT: Duration = Duration::from_secs(5);

/// The volumes as targets.
pub(crate) struct VolumeTargets {
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) redirects: Redirects,
    /// Where initiators are told to come; to where they have come already without it.
    pub(crate) portal: Option<PortalAddress>,
}

impl VolumeTargets {
    fn find(&self, target: &IscsiName, who: &Inquiry) -> Result<Arc<Volume>, Refusal> {
        let mut volumes = self.volumes.all().into_iter();
        let volume = volumes
            .find(|volume| is_target_of(target, volume.name.as_str()))
            .ok_or(Refusal::NotFound)?;
        if let Some(portal) = volume.moved_to() {
            let portal = portal.and_then(|portal| portal.parse().ok()).ok_or(Refusal::Removed)?;
            blockferry_label::reached("source.disk.redirecting");
            volume.sent_on.fetch_add(1, Ordering::Relaxed);
            return Err(self.redirects.tell(who, portal));
        }
        match volume.stage() {
            // Whoever was sent here early waits until the volume has followed.
            Stage::Owner(_) | Stage::Receiver(_) => Ok(volume),
            Stage::Retired | Stage::Gone => Err(Refusal::Removed),
        }
    }
}

impl Targets for VolumeTargets {
    fn list(&self, _: &IscsiName) -> Vec<TargetEntry> {
        let volumes = self.volumes.all();
        let served = volumes.iter().filter(|volume| matches!(volume.stage(), Stage::Owner(_)));
        let named = served.filter_map(|volume| target_of(volume.name.as_str()));
        let portals: Vec<_> =
            self.portal.iter().map(|portal| (portal.clone(), PORTAL_GROUP)).collect();
        named.map(|name| TargetEntry { name, portals: portals.clone() }).collect()
    }

    fn admit(&self, who: &Inquiry) -> Result<Option<Chap>, Refusal> {
        if let Some(target) = &who.target {
            self.find(target, who)?;
        }
        Ok(self.volumes.program.accounts.as_ref().and_then(Accounts::chap))
    }

    fn open<'a>(
        &'a self,
        target: &'a IscsiName,
        who: &'a Inquiry,
    ) -> BoxFuture<'a, Result<Opened, Refusal>> {
        async move {
            let volume = self.find(target, who)?;
            if !volume.owned_within(OWN_WAIT).await {
                return Err(Refusal::Busy);
            }
            let unit = volume.disk().await.map_err(|error| {
                tracing::error!(volume = %volume.name, error = format!("{error:#}"),
                    "the volume cannot be a disk");
                Refusal::Busy
            })?;
            blockferry_label::reached("storage.disk.opened");
            let hello = Hello { purpose: Purpose::Go, role: None, peer: Peer::Unix };
            let device = volume.connect(&hello, None).await.map_err(|_| Refusal::Busy)?;
            let device = Arc::new(device.of_initiator());
            let cut = device.cut();
            Ok(Opened { unit, medium: Arc::new(VolumeMedium(device)), cut })
        }
        .boxed()
    }
}
