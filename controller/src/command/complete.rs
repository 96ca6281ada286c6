//! A migration that was finished before: how that is seen, and how it is said.

use super::Desk;
use crate::position::Position;
use crate::report::{Report, Tally};
use crate::show::Event;
use crate::survey::Survey;

/// Whether nothing is left to do: the destination owns the volume, and every switch that was named
/// leads to it with nothing on the way.
pub(crate) fn is_complete(position: &Position, survey: &Survey) -> bool {
    let Position::Owned { .. } = position else { return false };
    let Ok(destination) = &survey.destination else { return false };
    let generation = destination.volume.as_ref().map_or(0, |volume| volume.generation);
    survey.switches.iter().all(|seen| match seen {
        Ok(switch) => switch.route.as_ref().is_some_and(|route| {
            route.generation >= generation && route.moving == 0 && route.held == 0
        }),
        Err(_) => false,
    })
}

/// Says so, with what is still known of it.
pub(crate) fn say<N>(desk: &Desk<'_, N>, position: &Position, survey: &Survey) {
    let volumes = [&survey.source, &survey.destination];
    let volumes: Vec<_> =
        volumes.iter().filter_map(|seen| seen.as_ref().ok()?.volume.as_ref()).collect();
    let migration = match position {
        Position::Owned { migration } => migration.clone(),
        _ => None,
    };
    let remembered = volumes.iter().filter_map(|volume| volume.migration.as_ref());
    let remembered = remembered.filter(|told| migration.as_ref() == Some(&told.id));
    let mut tally = Tally::default();
    let (mut digest, mut longest) = (None, None);
    for told in remembered {
        tally.take_in(0, told);
        digest = digest.or(told.digest.as_ref());
        longest = Some(told.longest_request_ms.max(longest.unwrap_or(0.0)));
    }
    desk.show.show(&Event::Done(Box::new(Report {
        volume: desk.parties.volume.to_string(),
        size: volumes.first().map_or(0, |volume| volume.size),
        carried: tally.total(),
        seconds: desk.began.elapsed().as_secs_f64(),
        flush_seconds: None,
        cutover_start: None,
        cutover_end: None,
        cutover_ms: None,
        longest_request_ms: longest,
        digest_algorithm: digest.map(|digest| digest.algorithm.clone()),
        digest: digest.map(|digest| digest.value.clone()),
        digest_match: digest.and_then(|digest| digest.matches),
        generation: volumes.iter().map(|volume| volume.generation).max().unwrap_or(0),
        migration,
        already_complete: true,
        verified: None,
        moved_connections: 0,
        certificate: None,
    })));
}
