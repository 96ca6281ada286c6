//! `resume`: goes on with a migration from wherever both sides stand, to its end.

use anyhow::{Context, bail};
use blockferry_control::api::PauseRequest;

use super::{Desk, NO_TERM, complete};
use crate::migrate::{Identity, Next, take_over};
use crate::network::Network;
use crate::position::Position;
use crate::settings::Driving;
use crate::show::Phase;
use crate::survey::Survey;

/// Finds the migration and drives it.
pub(crate) async fn resume<N: Network>(
    desk: &Desk<'_, N>,
    driving: &Driving,
) -> anyhow::Result<()> {
    let survey = Survey::take(desk.parties).await;
    let position = desk.position(&survey)?;
    if complete::is_complete(&position, &survey) {
        complete::say(desk, &position, &survey);
        return Ok(());
    }
    go_on(desk, driving, position, &survey).await
}

/// Drives a migration on from its position.
pub(crate) async fn go_on<N: Network>(
    desk: &Desk<'_, N>,
    driving: &Driving,
    position: Position,
    survey: &Survey,
) -> anyhow::Result<()> {
    let volume = &desk.parties.volume;
    match position {
        Position::Untouched | Position::Orphan { .. } => {
            bail!("no migration of {volume} between these two is under way; `migrate` begins one")
        }
        Position::Sweeping { migration } => {
            let identity =
                take_over(desk.parties, &migration, driving.client_p99).await.context(NO_TERM)?;
            let request = PauseRequest { migration };
            desk.parties.source.unpause(&request).await.context("the pause cannot be ended")?;
            desk.migration(identity, survey, driving)?.drive(Phase::Announce).await
        }
        Position::Committing { migration } => {
            let identity = take_over_if_possible(desk, &migration).await;
            let mut migration = desk.migration(identity, survey, driving)?;
            match migration.commit_outcome().await? {
                Next::Go(phase @ Phase::Own) => migration.drive(phase).await,
                _ => {
                    migration.renew_term().await?;
                    migration.drive(Phase::Announce).await
                }
            }
        }
        Position::Committed { migration } => {
            let identity = take_over_if_possible(desk, &migration).await;
            let mut migration = desk.migration(identity, survey, driving)?;
            migration.record.generation = generation(survey);
            migration.drive(Phase::Own).await
        }
        Position::Owned { migration } => {
            let identity = take_over_if_possible(desk, &migration.unwrap_or_default()).await;
            let mut migration = desk.migration(identity, survey, driving)?;
            migration.record.generation = generation(survey);
            migration.drive(Phase::Move).await
        }
    }
}

/// After the commit the source may not give terms any more. The destination learns of the commit
/// from it all the same, and the switches ask for no secret.
async fn take_over_if_possible<N: Network>(desk: &Desk<'_, N>, migration: &str) -> Identity {
    match take_over(desk.parties, migration, None).await {
        Ok(identity) => identity,
        Err(error) => {
            tracing::info!(%error, "going on without a term: the commit is durable");
            Identity { migration: migration.to_owned(), token: String::new(), term: 0 }
        }
    }
}

/// The highest generation that anybody tells: the new owner's.
fn generation(survey: &Survey) -> Option<u64> {
    let seen = [&survey.source, &survey.destination].into_iter();
    seen.filter_map(|seen| Some(seen.as_ref().ok()?.volume.as_ref()?.generation)).max()
}
