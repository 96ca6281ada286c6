//! `abort`: gives a migration up before its commit. First the source, which decides whether it is
//! still before it, then the destination, which deletes what it created.

use anyhow::{Context, bail};
use blockferry_control::api::AbortRequest;

use super::{Desk, NO_TERM};
use crate::migrate::{drop_orphan, take_over};
use crate::network::Network;
use crate::position::Position;
use crate::show::Event;
use crate::survey::Survey;

/// Aborts the migration.
pub(crate) async fn abort<N: Network>(desk: &Desk<'_, N>) -> anyhow::Result<()> {
    let volume = &desk.parties.volume;
    let survey = Survey::take(desk.parties).await;
    // The source alone decides; a destination that is away, or forgot, does not keep it from that.
    let sending = survey.source.as_ref().ok().and_then(|seen| seen.volume.as_ref());
    let sending = sending.and_then(|status| status.migration.as_ref()).map(|m| m.id.clone());
    let position = desk.position(&survey);
    match (position, sending) {
        (Ok(Position::Untouched), None) => {
            say(desk, format!("{volume}: nothing to abort"));
            return Ok(());
        }
        (Ok(Position::Orphan { migration }), _) => drop_orphan(desk.parties, &migration).await?,
        (Ok(Position::Committed { .. } | Position::Owned { .. }), _) => bail!(
            "{volume} cannot be aborted: the commit has happened and the destination owns it; going \
             back is a migration in the other direction"
        ),
        (Ok(_) | Err(_), Some(migration)) => abort_both(desk, &migration).await?,
        (Ok(_), None) => bail!("{volume}: the source does not tell which migration it sends"),
        (Err(error), None) => return Err(error),
    }
    say(desk, format!("{volume}: aborted; the source is its owner as before"));
    Ok(())
}

async fn abort_both<N: Network>(desk: &Desk<'_, N>, migration: &str) -> anyhow::Result<()> {
    let volume = &desk.parties.volume;
    let identity = take_over(desk.parties, migration, None).await.context(NO_TERM)?;
    blockferry_label::reached("controller.abort.taken-over");
    let request = AbortRequest {
        migration: migration.to_owned(),
        term: identity.term,
        token: Some(identity.token),
    };
    let aborted = desk.parties.source.abort(&request).await;
    aborted.with_context(|| format!("{volume} was not aborted"))?;
    blockferry_label::reached("controller.abort.source-answered");
    let removed = desk.parties.destination.abort(&request).await;
    blockferry_label::reached("controller.abort.answered");
    match removed {
        Ok(()) => Ok(()),
        Err(error) if error.status().is_some_and(|status| status == 404) => Ok(()),
        Err(error) => Err(error).context(format!(
            "{volume} is aborted at the source, but not at the destination; run abort again later"
        )),
    }
}

fn say<N>(desk: &Desk<'_, N>, message: String) {
    desk.show.show(&Event::Note { message });
}
