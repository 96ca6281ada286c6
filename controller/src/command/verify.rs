//! `verify`: reads both sides and compares them, while clients write.

use anyhow::bail;

use super::Desk;
use crate::migrate::compare;
use crate::network::Network;
use crate::position::Position;
use crate::show::{Event, bytes};
use crate::survey::Survey;

/// Compares until a pass finds no difference.
pub(crate) async fn verify<N: Network>(desk: &Desk<'_, N>) -> anyhow::Result<()> {
    let volume = &desk.parties.volume;
    let survey = Survey::take(desk.parties).await;
    let Position::Sweeping { migration } = desk.position(&survey)? else {
        bail!("{volume} cannot be compared: both sides are kept equal only before the commit");
    };
    let source = survey.source.as_ref().ok().and_then(|seen| seen.volume.as_ref());
    let size = source.map_or(0, |status| status.size);
    let verified = compare(desk.parties, &migration, size, desk.show).await?;
    let message = format!("{volume}: {} compared, no difference", bytes(verified.bytes));
    desk.show.show(&Event::Note { message });
    Ok(())
}
