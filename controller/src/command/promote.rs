//! `promote`: makes the destination the owner because the source is lost for good.

use anyhow::{Context, bail};
use blockferry_control::api::{Arrangement, PromoteRequest, VolumeRole};

use super::Desk;
use crate::network::Network;
use crate::show::Event;
use crate::survey::Survey;

/// Promotes the destination and tells the switches.
pub(crate) async fn promote<N: Network>(desk: &Desk<'_, N>) -> anyhow::Result<()> {
    let (parties, volume) = (desk.parties, &desk.parties.volume);
    let survey = Survey::take(parties).await;
    if survey.source.is_ok() {
        bail!(
            "{volume} was not promoted: the source at {} answers; `resume` moves the volume and \
             loses nothing",
            parties.source.address()
        );
    }
    let seen = survey.destination.context("the destination cannot be asked")?;
    let status = seen.volume.with_context(|| format!("the destination has no volume {volume}"))?;
    let migration = match (status.role, status.migration) {
        (VolumeRole::Receiving | VolumeRole::Ready | VolumeRole::Owner, Some(known)) => known.id,
        _ => bail!("{volume} was not promoted: the destination receives no such volume"),
    };
    let request = PromoteRequest { migration: migration.clone() };
    let promoted = parties.destination.promote(&request).await;
    let generation = promoted.with_context(|| format!("{volume} was not promoted"))?.generation;
    let export = volume.to_string();
    let news = Arrangement { migration, generation, export, owner: seen.program.address };
    for switch in &parties.switches {
        if let Err(error) = switch.arrange(&news).await {
            say(desk, format!("{error}; its clients find the volume by themselves"));
        }
    }
    say(
        desk,
        format!(
            "{volume}: promoted; the destination owns it with generation {generation}. Writes that \
             the source had acknowledged and not yet sent are lost. Keep the source switched off"
        ),
    );
    Ok(())
}

fn say<N>(desk: &Desk<'_, N>, message: String) {
    desk.show.show(&Event::Note { message });
}
