//! The first two steps: the destination creates the volume (D2.1), the source attaches to it.

use std::time::Duration;

use anyhow::{Context, anyhow};
use blockferry_block::{MigrationId, SessionId, Token};
use blockferry_control::api::{AbortRequest, ReceiveRequest, SendRequest, SlowDestination};

use super::{Identity, in_ms, preflight::Plan};
use crate::parties::Parties;

/// Term of a migration's first controller.
const FIRST_TERM: u64 = 1;

/// A migration that is about to begin.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    /// Its identity, drawn at random.
    pub(crate) identity: Identity,
    /// Policy for a destination that cannot follow.
    pub(crate) slow_destination: SlowDestination,
    /// How long the slowest hundredth of the clients' requests may take; the source's default otherwise.
    pub(crate) client_p99: Option<Duration>,
}

impl Beginning {
    /// A new migration.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn new(
        slow_destination: SlowDestination,
        client_p99: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let mut migration = [0; MigrationId::LENGTH];
        let mut token = [0; Token::LENGTH];
        fill(&mut migration)?;
        fill(&mut token)?;
        let identity = Identity {
            migration: MigrationId::from_bytes(migration).to_string(),
            token: Token::from_bytes(token).to_string(),
            term: FIRST_TERM,
        };
        Ok(Self { identity, slow_destination, client_p99 })
    }

    /// The question of D2.1; with `dry_run` only whether it could be done.
    pub(crate) fn receive_request(&self, plan: &Plan, dry_run: bool) -> ReceiveRequest {
        ReceiveRequest {
            migration: self.identity.migration.clone(),
            token: self.identity.token.clone(),
            term: self.identity.term,
            size: plan.size,
            allocated: plan.allocated,
            generation: plan.generation,
            source: plan.source_at.clone(),
            dry_run,
            features: plan.features.clone(),
            initiators: plan.initiators.clone(),
        }
    }

    /// Creates the volume and attaches the source.
    pub(crate) async fn begin(&self, parties: &Parties, plan: &Plan) -> anyhow::Result<()> {
        let request = self.receive_request(plan, false);
        let volume = &parties.volume;
        parties
            .destination
            .receive(&request)
            .await
            .with_context(|| format!("the destination does not create {volume}"))?;
        blockferry_label::reached("controller.receive.answered");
        let request = SendRequest {
            migration: self.identity.migration.clone(),
            token: self.identity.token.clone(),
            term: self.identity.term,
            destination: plan.destination_at.clone(),
            slow_destination: self.slow_destination,
            client_p99_ms: self.client_p99.map(in_ms),
        };
        parties.source.send(&request).await.with_context(|| {
            format!("the source does not send {volume}; run the same command again, or abort")
        })?;
        blockferry_label::reached("controller.send.answered");
        Ok(())
    }
}

/// A destination that waits for a source which knows of no migration is told to forget it.
pub(crate) async fn drop_orphan(parties: &Parties, migration: &str) -> anyhow::Result<()> {
    let status = parties.destination.status().await?;
    let seen = status.and_then(|volume| volume.migration).map_or(0, |migration| migration.term);
    let request =
        AbortRequest { migration: migration.to_owned(), term: seen.max(FIRST_TERM), token: None };
    parties
        .destination
        .abort(&request)
        .await
        .context("the destination keeps a volume of a migration that the source does not know")
}

/// A session of the copier.
pub(crate) fn new_session() -> anyhow::Result<SessionId> {
    let mut session = [0; SessionId::LENGTH];
    fill(&mut session)?;
    Ok(SessionId::from_bytes(session))
}

fn fill(bytes: &mut [u8]) -> anyhow::Result<()> {
    getrandom::fill(bytes).map_err(|error| anyhow!("the system gives no random numbers: {error}"))
}
