//! Asks storage programs whether they own a volume.

use std::time::Duration;

use blockferry_block::{Generation, VolumeName};
use blockferry_control::api::{PartyAddress, VolumeRole, VolumeStatus};
use blockferry_control::{BearerToken, ControlAddress, ControlClient, ControlError};
use blockferry_nbd_session::NbdUri;

use crate::placement::{Placement, control, upstream};

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

    /// Follows a volume from one storage program to its owner.
    pub(crate) async fn follow(&self, first: (NbdUri, ControlAddress)) -> Option<Placement> {
        let (mut uri, mut at) = first;
        for _ in 0..HOPS_MAX {
            match self.ask(&at, &uri.export).await {
                Ok(Claim::Owner(generation)) => {
                    let control = Some(at);
                    return Some(Placement { upstream: uri, generation: generation.0, control });
                }
                Ok(Claim::Forwards(_, peer)) => {
                    uri = upstream(&peer, &uri.export).ok()?;
                    at = control(&peer).ok()?;
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
