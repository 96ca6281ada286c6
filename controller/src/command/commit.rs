//! `commit`: ends a hold.

use anyhow::{Context, bail};

use super::{Desk, NO_TERM, complete, resume};
use crate::migrate::take_over;
use crate::network::Network;
use crate::position::Position;
use crate::settings::Driving;
use crate::show::{Phase, bytes};
use crate::survey::Survey;

/// Commits a migration whose sweep has reached the end.
pub(crate) async fn commit<N: Network>(
    desk: &Desk<'_, N>,
    driving: &Driving,
) -> anyhow::Result<()> {
    let survey = Survey::take(desk.parties).await;
    let position = desk.position(&survey)?;
    if complete::is_complete(&position, &survey) {
        complete::say(desk, &position, &survey);
        return Ok(());
    }
    let Position::Sweeping { migration } = &position else {
        return resume::go_on(desk, driving, position, &survey).await;
    };
    let volume = &desk.parties.volume;
    let destination = survey.destination.as_ref().ok().and_then(|seen| seen.volume.as_ref());
    let Some(destination) = destination else {
        bail!("{volume} cannot be committed while the destination does not answer");
    };
    if destination.reserved_address < destination.size {
        bail!(
            "{volume} cannot be committed: {} of {} are copied; `resume` copies the rest and commits",
            bytes(destination.reserved_address),
            bytes(destination.size)
        );
    }
    let identity = take_over(desk.parties, migration, None).await.context(NO_TERM)?;
    desk.migration(identity, &survey, driving)?.drive(Phase::Settle).await
}
