//! `pause`: claims wait at the source; clients are not concerned.

use anyhow::{Context, bail};
use blockferry_control::api::PauseRequest;

use super::Desk;
use crate::network::Network;
use crate::position::Position;
use crate::show::Event;
use crate::survey::Survey;

/// Pauses the sweep.
pub(crate) async fn pause<N: Network>(desk: &Desk<'_, N>) -> anyhow::Result<()> {
    let volume = &desk.parties.volume;
    let survey = Survey::take(desk.parties).await;
    let Position::Sweeping { migration } = desk.position(&survey)? else {
        bail!("nothing to pause: no copy of {volume} is under way");
    };
    let request = PauseRequest { migration };
    desk.parties.source.pause(&request).await.context("the source does not pause")?;
    let message = format!("{volume}: paused; writes go on being mirrored, `resume` goes on");
    desk.show.show(&Event::Note { message });
    Ok(())
}
