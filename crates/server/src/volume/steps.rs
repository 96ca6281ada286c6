//! What the steps of both sides share: whose they are, which controller's term counts, the abort.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use blockferry_control::api::{AbortRequest, TermReply, TermRequest};
use blockferry_migration::record::{Part, VolumeRecord};
use blockferry_migration::source::Source;
use blockferry_nbd_session::Role;

use super::owner::Owner;
use super::status::party_address;
use super::{Stage, Volume};

/// Why a step is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Not in this state, or not by this caller.
    #[error("{0}")]
    Conflict(String),
    /// A wrong token.
    #[error("the token is not that of the migration")]
    Token,
    /// It failed here.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Refused {
    pub(super) fn conflict(why: impl std::fmt::Display) -> Self {
        Self::Conflict(why.to_string())
    }
}

pub(super) type Step<T> = Result<T, Refused>;

const ALL_ROLES: [Role; 4] = [Role::Client, Role::Copy, Role::Mirror, Role::Forward];

/// The bound that a request names for the clients' requests.
pub(super) fn client_p99(ms: Option<f64>) -> Step<Option<Duration>> {
    let Some(ms) = ms else { return Ok(None) };
    match Duration::try_from_secs_f64(ms / 1e3) {
        Ok(bound) if !bound.is_zero() => Ok(Some(bound)),
        _ => Err(Refused::conflict(format!("no bound for requests: {ms} ms; name one like 5 ms"))),
    }
}

impl Volume {
    /// `/term`: a controller takes over.
    pub(crate) async fn term(self: &Arc<Self>, request: TermRequest) -> Step<TermReply> {
        let migration = self.migration(&request.migration)?;
        if let Some(token) = &request.token
            && !same(token, &migration.token)
        {
            return Err(Refused::Token);
        }
        let bound = client_p99(request.client_p99_ms)?;
        let term = match self.state().part {
            Part::Source => self.raise_term(None).await?,
            _ => migration.term + 1,
        };
        if let (Some(bound), Some(outgoing)) = (bound, self.outgoing()) {
            outgoing.governor.set_bound(bound);
        }
        Ok(TermReply { term, token: migration.token, destination: party_address(&migration.peer) })
    }

    pub(super) fn migration(&self, id: &str) -> Step<blockferry_migration::record::MigrationState> {
        match self.state().migration {
            Some(known) if known.migration == id => Ok(known),
            Some(_) => Err(Refused::conflict("the volume takes part in another migration")),
            None => Err(Refused::conflict("the volume takes part in no migration")),
        }
    }

    /// A newer term is made durable and fences older ones (I12); an older one is refused.
    pub(super) async fn check_term(self: &Arc<Self>, term: u64) -> Step<()> {
        self.raise_term(Some(term)).await.map(drop)
    }

    /// Raises the term to the wanted one, or to one that no controller has. One after the other, so
    /// that no two get the same and none takes back what a newer one has fenced; and to the end, so
    /// that whoever asks again finds the older ones fenced.
    async fn raise_term(self: &Arc<Self>, wanted: Option<u64>) -> Step<u64> {
        let volume = Arc::clone(self);
        let raised = tokio::spawn(async move {
            let _turn = volume.terms.lock().await;
            let known = volume.state().migration.map_or(0, |migration| migration.term);
            let term = wanted.unwrap_or(known + 1);
            if term < known {
                return Err(Refused::conflict(format!(
                    "a newer controller (term {known}) has taken the migration over"
                )));
            }
            if term > known {
                volume.record(VolumeRecord::Term { term }).await?;
                volume.sessions.stop_roles(&[Role::Copy]).await;
            }
            Ok(term)
        });
        raised.await.context("raising the term failed")?
    }

    pub(super) fn authenticated(&self, migration: &str, token: &str) -> Step<()> {
        let known = self.migration(migration)?;
        if same(token, &known.token) { Ok(()) } else { Err(Refused::Token) }
    }

    /// `/abort` on either side, before the commit record.
    pub(crate) async fn abort(self: &Arc<Self>, request: &AbortRequest) -> Step<()> {
        match (self.stage(), self.state().part) {
            (Stage::Owner(owner), Part::Source) => {
                self.migration(&request.migration)?;
                self.check_term(request.term).await?;
                self.give_up(&owner).await
            }
            (Stage::Receiver(receiver), _) => {
                // A controller that died between `/receive` and `/send` took the token with it.
                // Whoever may speak on the control address may clean up after it.
                match &request.token {
                    Some(token) => self.authenticated(&request.migration, token)?,
                    None => drop(self.migration(&request.migration)?),
                }
                let _step = receiver.steps.lock().await;
                blockferry_label::reached("destination.abort.asked");
                self.record(VolumeRecord::Aborted).await?;
                blockferry_label::reached("destination.abort.recorded");
                self.set_stage(Stage::Gone);
                self.sessions.stop_roles(&ALL_ROLES).await;
                self.close_book().await;
                Ok(())
            }
            (Stage::Owner(_), Part::Owner) => Ok(()),
            _ => Err(Refused::conflict("the commit has begun; there is only the way forward")),
        }
    }
}

impl Volume {
    /// The machine goes on mirroring until the record is durable: were the migration still there after
    /// a restart, updates that went nowhere but here would be forgotten (I7).
    async fn give_up(self: &Arc<Self>, owner: &Owner) -> Step<()> {
        let _ending = self.ending.lock().await;
        if self.state().part == Part::Owner {
            return Ok(()); // somebody else has done it meanwhile
        }
        owner.with(Source::abort_begin).map_err(Refused::conflict)?;
        blockferry_label::reached("source.abort.decided");
        self.record(VolumeRecord::Aborted).await?;
        owner.with(Source::abort_durable);
        self.sessions.allow_plain_way();
        blockferry_label::reached("source.abort.recorded");
        self.end_outgoing().await;
        blockferry_label::reached("source.abort.ended");
        Ok(())
    }
}

/// Compares secrets without telling by the time how much of them was right.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
