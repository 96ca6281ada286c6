//! Asks storage programs whether they own a volume.

use std::time::Duration;

use blockferry_block::{Generation, VolumeName};
use blockferry_control::api::{PartyAddress, ProgramStatus, VolumeRole, VolumeStatus};
use blockferry_control::{BearerToken, ControlAddress, ControlClient, ControlError};
use blockferry_iscsi::PortalAddress;
use blockferry_nbd_session::NbdUri;

use crate::placement::{Placement, control, portal, upstream};

/// How long one storage program may take to say.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Forwarding servers that are followed one after another: longer chains are a loop.
const HOPS_MAX: usize = 4;

/// What a storage program says of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It owns it.
    Owner(Generation),
    /// It gave it away to another.
    Forwards(Generation, PartyAddress),
    /// Neither; its role, for a message.
    Other(String),
}

/// A storage program that may know where a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    /// The volume there.
    pub(crate) uri: NbdUri,
    /// Where it can be asked.
    pub(crate) control: ControlAddress,
    /// Where it serves iSCSI, where that is known.
    pub(crate) iscsi: Option<PortalAddress>,
}

/// Asks with the switch's secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerQuery {
    token: Option<BearerToken>,
}

impl OwnerQuery {
    /// Asks with this secret.
    pub(crate) const fn new(token: Option<BearerToken>) -> Self {
        Self { token }
    }

    /// What the program at an address says of an export.
    ///
    /// # Errors
    /// That it did not answer, or has no such volume.
    pub(crate) async fn ask(
        &self,
        at: &ControlAddress,
        export: &str,
    ) -> Result<Claim, ControlError> {
        let Ok(name) = export.parse::<VolumeName>() else {
            return Ok(Claim::Other(format!("{export:?} is no volume's name")));
        };
        let client = ControlClient::new(at.clone(), self.token.as_ref());
        let path = format!("/v1/volumes/{name}");
        let status: VolumeStatus = client.get_within(&path, ANSWER_TIMEOUT).await?;
        Ok(claim(status))
    }

    /// Where the program at an address serves iSCSI; `None` where it does not, or does not answer.
    pub(crate) async fn portal(&self, at: &ControlAddress) -> Option<PortalAddress> {
        let client = ControlClient::new(at.clone(), self.token.as_ref());
        let status: ProgramStatus = client.get_within("/v1/status", ANSWER_TIMEOUT).await.ok()?;
        portal(&status.address).ok()?
    }

    /// Follows a volume from one storage program to its owner.
    pub(crate) async fn follow(&self, first: Party) -> Option<Placement> {
        let Party { mut uri, control: mut at, mut iscsi } = first;
        for _ in 0..HOPS_MAX {
            match self.ask(&at, &uri.export).await {
                Ok(Claim::Owner(generation)) => {
                    let control = Some(at);
                    let generation = generation.0;
                    return Some(Placement { upstream: uri, generation, control, iscsi });
                }
                Ok(Claim::Forwards(_, peer)) => {
                    uri = upstream(&peer, &uri.export).ok()?;
                    at = control(&peer).ok()?;
                    iscsi = portal(&peer).ok()?;
                }
                Ok(Claim::Other(role)) => {
                    tracing::debug!(%at, role, "not the owner of this volume");
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot be asked who owns this volume");
                    return None;
                }
            }
        }
        None
    }
}

fn claim(status: VolumeStatus) -> Claim {
    let generation = Generation(status.generation);
    match (status.role, status.migration) {
        (VolumeRole::Owner | VolumeRole::Migrating | VolumeRole::Committing, _) => {
            Claim::Owner(generation)
        }
        (VolumeRole::Forwarding, Some(migration)) => Claim::Forwards(generation, migration.peer),
        (role, _) => Claim::Other(format!("{role:?}").to_lowercase()),
    }
}
