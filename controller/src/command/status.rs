//! `status`: one screen that says who owns the volume, how far everything is, and what comes next.

use std::fmt::Write as _;
use std::io::Write as _;

use blockferry_control::api::{ProgramStatus, RouteStatus, VolumeRole, VolumeStatus};
use serde::Serialize;

use super::Desk;
use crate::network::Network;
use crate::outcome::one_line;
use crate::position::{Position, owns, role_name};
use crate::show::bytes;
use crate::survey::{Seen, StorageSeen, Survey, SwitchSeen};

/// The screen as JSON.
#[derive(Serialize)]
struct Status<'a> {
    event: &'static str,
    volume: &'a str,
    owner: &'static str,
    next: String,
    source: Party<'a, VolumeStatus>,
    destination: Party<'a, VolumeStatus>,
    switches: Vec<Party<'a, RouteStatus>>,
}

/// What one program said.
#[derive(Serialize)]
struct Party<'a, T> {
    control: String,
    error: Option<String>,
    program: Option<&'a ProgramStatus>,
    status: Option<&'a T>,
}

/// Prints the screen.
pub(crate) async fn status<N: Network>(desk: &Desk<'_, N>, json: bool) -> anyhow::Result<()> {
    let survey = Survey::take(desk.parties).await;
    let parties = desk.parties;
    let next = match desk.position(&survey) {
        Ok(position) => next_step(&position, &survey),
        Err(error) => one_line(&error),
    };
    let status = Status {
        event: "status",
        volume: parties.volume.as_str(),
        owner: owner(&survey),
        next,
        source: storage(parties.source.address().to_string(), &survey.source),
        destination: storage(parties.destination.address().to_string(), &survey.destination),
        switches: parties
            .switches
            .iter()
            .zip(&survey.switches)
            .map(|(switch, seen)| route(switch.address().to_string(), seen))
            .collect(),
    };
    let text = if json { serde_json::to_string(&status)? } else { screen(&status) };
    // A reader that has seen enough is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

fn storage(control: String, seen: &Seen<StorageSeen>) -> Party<'_, VolumeStatus> {
    Party {
        control,
        error: seen.as_ref().err().map(ToString::to_string),
        program: seen.as_ref().ok().map(|seen| &seen.program),
        status: seen.as_ref().ok().and_then(|seen| seen.volume.as_ref()),
    }
}

fn route(control: String, seen: &Seen<SwitchSeen>) -> Party<'_, RouteStatus> {
    Party {
        control,
        error: seen.as_ref().err().map(ToString::to_string),
        program: seen.as_ref().ok().map(|seen| &seen.program),
        status: seen.as_ref().ok().and_then(|seen| seen.route.as_ref()),
    }
}

fn owner(survey: &Survey) -> &'static str {
    let volume = |seen: &Seen<StorageSeen>| seen.as_ref().ok()?.volume.as_ref().map(owns);
    match (volume(&survey.source), volume(&survey.destination)) {
        (_, Some(true)) => "destination",
        (Some(true), _) => "source",
        _ => "unknown",
    }
}

/// What is missing, and what to do about it.
fn next_step(position: &Position, survey: &Survey) -> String {
    let source = survey.source.as_ref().ok().and_then(|seen| seen.volume.as_ref());
    let migration = source.and_then(|volume| volume.migration.as_ref());
    if let Some(trouble) = migration.and_then(|migration| migration.trouble.as_ref()) {
        return format!("{}; {trouble}", position.text());
    }
    if let (Position::Owned { .. }, Some(VolumeRole::Retired)) =
        (position, source.map(|volume| volume.role))
    {
        return "the migration is complete; the source may be switched off".to_owned();
    }
    let Position::Sweeping { .. } = position else { return position.text().to_owned() };
    let destination = survey.destination.as_ref().ok().and_then(|seen| seen.volume.as_ref());
    let (Some(source), Some(destination)) = (source, destination) else {
        return "the copy waits for a program that does not answer".to_owned();
    };
    let copied = destination.reserved_address;
    if migration.is_some_and(|migration| migration.paused) {
        "paused; `resume` goes on".to_owned()
    } else if copied < source.size {
        let percent = u128::from(copied) * 100 / u128::from(source.size.max(1));
        format!("{percent} % are copied; `resume` goes on if no controller runs")
    } else if source.dirty_bytes > 0 {
        format!("everything is copied, {} are to be sent again", bytes(source.dirty_bytes))
    } else {
        "everything is copied and equal; `commit` (or `resume`) finishes".to_owned()
    }
}

fn screen(status: &Status<'_>) -> String {
    let mut text = String::new();
    let size = [&status.source, &status.destination];
    let size = size.iter().find_map(|party| party.status.map(|volume| volume.size));
    let _ = writeln!(text, "volume {}, {}", status.volume, size.map_or("?".to_owned(), bytes));
    for (side, party) in [("source", &status.source), ("destination", &status.destination)] {
        let _ = writeln!(text, "  {side:<12} {}", party.control);
        let _ = writeln!(text, "  {:<12} {}", "", storage_line(party));
    }
    for party in &status.switches {
        let _ = writeln!(text, "  {:<12} {}", "switch", party.control);
        let _ = writeln!(text, "  {:<12} {}", "", route_line(party));
    }
    let _ = writeln!(text, "owner: {}", status.owner);
    let _ = write!(text, "next:  {}", status.next);
    text
}

fn storage_line(party: &Party<'_, VolumeStatus>) -> String {
    let Some(volume) = party.status else {
        return party.error.clone().unwrap_or_else(|| "has no volume of this name".to_owned());
    };
    let mut line = format!("{}, generation {}", role_name(volume.role), volume.generation);
    let is_moving = !matches!(
        volume.role,
        VolumeRole::Owner | VolumeRole::Forwarding | VolumeRole::Standby | VolumeRole::Retired
    );
    if let Some(migration) = volume.migration.as_ref().filter(|_| is_moving) {
        let _ = write!(
            line,
            ", W {} (durable {}), R {}, dirty {}, mirrored {}",
            bytes(volume.reserved_address),
            bytes(volume.durable_address),
            bytes(volume.read_cursor),
            bytes(volume.dirty_bytes),
            bytes(migration.mirrored_bytes)
        );
    }
    let _ = write!(line, ", {} client paths", volume.sessions);
    line
}

fn route_line(party: &Party<'_, RouteStatus>) -> String {
    let Some(route) = party.status else {
        return party.error.clone().unwrap_or_else(|| "has no route of this name".to_owned());
    };
    format!(
        "{}, generation {}, {} connections, {} moving, {} held, longest request {:.1} ms",
        route.upstream,
        route.generation,
        route.sessions,
        route.moving,
        route.held,
        route.longest_request_ms
    )
}
