//! Everything that can be known to go wrong is found here, all of it at once, before anything is
//! touched.

use std::net::SocketAddr;

use anyhow::{anyhow, bail};
use blockferry_block::VolumeName;
use blockferry_control::api::{Initiators, PartyAddress, VolumeRole};
use blockferry_copier::End;
use blockferry_device::DeviceInfo;
use blockferry_net::Address;

use super::Beginning;
use crate::network::{self, Network};
use crate::outcome::one_line;
use crate::parties::Parties;
use crate::position::role_name;
use crate::show::bytes;
use crate::survey::{StorageSeen, Survey, SwitchSeen};

/// Version of the migration protocol that this controller speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// What a migration will be, once nothing speaks against it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Size of the volume in bytes.
    pub(crate) size: u64,
    /// Bytes that the source has allocated.
    pub(crate) allocated: u64,
    /// Generation of the present owner.
    pub(crate) generation: u64,
    /// What the source's export offers.
    pub(crate) features: Vec<String>,
    /// Where the source serves.
    pub(crate) source_at: PartyAddress,
    /// Where the destination serves.
    pub(crate) destination_at: PartyAddress,
    /// Who uses the volume over iSCSI, where the source serves that.
    pub(crate) initiators: Option<Initiators>,
    /// The destination's store, where that exists already.
    pub(crate) overwrites: Option<String>,
}

/// Checks everything; gives the plan only when nothing speaks against it.
///
/// # Errors
/// All problems in one line.
pub(crate) async fn preflight<N: Network>(
    parties: &Parties,
    network: &N,
    survey: &Survey,
    beginning: &Beginning,
) -> anyhow::Result<Plan> {
    let mut problems = said(survey);
    problems.extend(routes(parties, survey).await);
    if let Ok(destination) = &survey.destination {
        let reached = network.reach(&destination.program.address.nbd).await;
        problems.extend(reached.err().map(|error| {
            format!("the destination's data address cannot be used: {}", one_line(&error))
        }));
    }
    let mut plan = None;
    if let (Ok(source), Ok(destination)) = (&survey.source, &survey.destination)
        && let Some(volume) = &source.volume
    {
        let nbd = &source.program.address.nbd;
        match probe(network, nbd, &parties.volume).await {
            Ok(info) => {
                let plan = plan.insert(Plan {
                    size: volume.size,
                    generation: volume.generation,
                    allocated: volume.allocated_bytes,
                    features: volume.features.clone(),
                    source_at: source.program.address.clone(),
                    destination_at: destination.program.address.clone(),
                    initiators: None,
                    overwrites: None,
                });
                problems.extend(same_size(volume.size, &info));
                match parties.source.initiators().await {
                    Ok(initiators) => plan.initiators = initiators,
                    Err(error) => problems.push(format!("the source's initiators: {error}")),
                }
                problems.extend(ask_destination(parties, beginning, plan).await);
            }
            Err(error) => {
                problems.push(format!("the source's export cannot be opened: {}", one_line(&error)))
            }
        }
    }
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(refusal(parties, &problems)),
    }
}

fn refusal(parties: &Parties, problems: &[String]) -> anyhow::Error {
    let volume = &parties.volume;
    anyhow!("{volume} cannot be moved, and nothing was touched: {}", problems.join("; "))
}

/// What speaks against a migration by what everybody said of themselves.
fn said(survey: &Survey) -> Vec<String> {
    let mut problems = Vec::new();
    match &survey.source {
        Ok(source) => {
            problems.extend(protocol_problem("the source", source.program.protocol));
            problems.extend(source_problem(source));
        }
        Err(error) => problems.push(format!("the source: {error}")),
    }
    match &survey.destination {
        Ok(seen) => problems.extend(protocol_problem("the destination", seen.program.protocol)),
        Err(error) => problems.push(format!("the destination: {error}")),
    }
    if let (Ok(source), Ok(destination)) = (&survey.source, &survey.destination)
        && source.program.boot == destination.program.boot
    {
        problems.push("source and destination are the same running program".to_owned());
    }
    for seen in &survey.switches {
        match seen {
            Ok(switch) => problems.extend(protocol_problem("a switch", switch.program.protocol)),
            Err(error) => problems.push(format!("a switch: {error}")),
        }
    }
    problems
}

fn protocol_problem(who: &str, protocol: u32) -> Option<String> {
    (protocol != PROTOCOL).then(|| {
        format!("{who} speaks version {protocol} of the migration protocol, not {PROTOCOL}")
    })
}

fn source_problem(source: &StorageSeen) -> Option<String> {
    match &source.volume {
        None => Some("the source has no volume of this name".to_owned()),
        Some(volume) if volume.role != VolumeRole::Owner => {
            let role = role_name(volume.role);
            Some(format!("the volume is {role} at the source, which has to be its owner"))
        }
        Some(_) => None,
    }
}

fn same_size(told: u64, info: &DeviceInfo) -> Option<String> {
    let served = info.size;
    (served != told).then(|| {
        format!("the source tells {told} bytes on its control address and serves {served}")
    })
}

/// Every switch must have the route, and it must lead to the source.
async fn routes(parties: &Parties, survey: &Survey) -> Vec<String> {
    let mut problems = Vec::new();
    let source = survey.source.as_ref().ok().map(|source| source.program.address.nbd.as_str());
    for (switch, seen) in parties.switches.iter().zip(&survey.switches) {
        let (address, volume) = (switch.address(), &parties.volume);
        let Ok(SwitchSeen { route, .. }) = seen else { continue };
        let Some(route) = route else {
            problems.push(format!("switch {address} has no route {volume}; --route adds one"));
            continue;
        };
        let Some(source) = source else { continue };
        if !leads_to(&route.upstream, source, volume.as_str()).await {
            let upstream = &route.upstream;
            problems.push(format!(
                "the route {volume} of switch {address} leads to {upstream}, not to the source \
                 ({source}, export {volume})"
            ));
        }
    }
    problems
}

/// Whether an upstream is the export at this server. Names of the same host may be spelt differently,
/// so they are compared by what they resolve to.
async fn leads_to(upstream: &str, nbd: &str, export: &str) -> bool {
    let (Ok(upstream), Ok(server)) = (network::parse(upstream), network::parse(nbd)) else {
        return false;
    };
    upstream.export == export
        && (upstream.address == server.address
            || share_an_address(&upstream.address, &server.address).await)
}

async fn share_an_address(one: &Address, other: &Address) -> bool {
    let (one, other) = tokio::join!(resolve(one), resolve(other));
    one.iter().any(|address| other.contains(address))
}

async fn resolve(address: &Address) -> Vec<SocketAddr> {
    let Address::Tcp(host, port) = address else { return Vec::new() };
    let resolved = tokio::net::lookup_host((host.as_str(), *port)).await;
    resolved.map(Iterator::collect).unwrap_or_default()
}

/// Opens the source's export as any client would, to see what it offers.
async fn probe<N: Network>(
    network: &N,
    nbd: &str,
    volume: &VolumeName,
) -> anyhow::Result<DeviceInfo> {
    let connection = network.open(nbd, volume.as_str(), None).await?;
    let info = *connection.info();
    network.close(connection).await;
    if info.features.read_only {
        bail!("it is read-only; a volume that nobody writes is copied with any tool");
    }
    Ok(info)
}

/// What the destination has against receiving the volume; where it would, becomes part of the plan.
async fn ask_destination(parties: &Parties, beginning: &Beginning, plan: &mut Plan) -> Vec<String> {
    let request = beginning.receive_request(plan, true);
    match parties.destination.receive(&request).await {
        Ok(reply) => {
            plan.overwrites = reply.overwrites;
            reply.problems
        }
        Err(error) => vec![format!("the destination: {error}")],
    }
}

impl Plan {
    /// What will be done, a line each.
    pub(crate) fn steps(&self, parties: &Parties, survey: &Survey) -> Vec<String> {
        let volume = &parties.volume;
        let (from, to) = (&self.source_at.nbd, &self.destination_at.nbd);
        let size = bytes(self.size);
        let mut steps = vec![
            match &self.overwrites {
                Some(store) => format!("overwrite {store} ({size}) at {to} with {volume}"),
                None => format!("create {volume} ({size}) at {to}"),
            },
            format!("copy it once from {from}, in order, holes as holes; mirror client writes"),
            format!("commit: {to} becomes owner with generation {}", self.generation + 1),
        ];
        for (switch, seen) in parties.switches.iter().zip(&survey.switches) {
            let sessions = seen.as_ref().ok().and_then(|s| s.route.as_ref()).map(|r| r.sessions);
            let sessions = sessions.unwrap_or(0);
            let address = switch.address();
            steps.push(format!("move {sessions} client connections at switch {address}"));
        }
        if let Some(initiators) = self.initiators.as_ref().filter(|all| all.logged_in > 0) {
            let count = initiators.logged_in;
            steps.push(format!("ask {count} iSCSI initiators to log in again at {to}"));
        }
        if parties.switches.is_empty() {
            steps.push("no switch: client paths stay at the source, which forwards".to_owned());
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use blockferry_control::api::ProgramStatus;

    use super::*;
    use crate::testing::{survey_of, volume};

    fn problems_with(change: impl FnOnce(&mut Survey)) -> Vec<String> {
        let mut survey = survey_of(Some(volume(VolumeRole::Owner)), None);
        change(&mut survey);
        said(&survey)
    }

    fn program(seen: &mut Survey) -> &mut ProgramStatus {
        &mut seen.destination.as_mut().unwrap().program
    }

    #[test]
    fn nothing_speaks_against_two_programs_of_which_one_owns_the_volume() {
        assert_eq!(problems_with(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn each_obstacle_is_named_and_all_are_named_at_once() {
        let same = problems_with(|survey| program(survey).boot = 1);
        assert!(same[0].contains("same running program"), "{same:?}");
        let all = problems_with(|survey| {
            program(survey).boot = 1;
            program(survey).protocol = 7;
            let source = survey.source.as_mut().unwrap();
            source.volume = Some(volume(VolumeRole::Standby));
        });
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.iter().any(|problem| problem.contains("standby")), "{all:?}");
        assert!(all.iter().any(|problem| problem.contains("version 7")), "{all:?}");
    }

    #[tokio::test]
    async fn a_route_leads_to_the_source_by_any_spelling_of_its_address() {
        for (upstream, expected) in [
            ("nbd://127.0.0.1:7/vol", true),
            ("nbd://localhost:7/vol", true),
            ("nbd://127.0.0.1:8/vol", false),
            ("nbd://127.0.0.1:7/other", false),
            ("nonsense", false),
        ] {
            let leads = leads_to(upstream, "nbd://127.0.0.1:7", "vol").await;
            assert_eq!(leads, expected, "{upstream}");
        }
        let unix = "nbd+unix:///vol?socket=/run/a";
        assert!(leads_to(unix, "nbd+unix:///?socket=/run/a", "vol").await);
        assert!(!leads_to(unix, "nbd+unix:///?socket=/run/b", "vol").await);
    }
}
