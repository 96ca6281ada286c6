//! Everything that can be known to go wrong is found here, all of it at once, before anything is
//! touched.

use anyhow::{anyhow, bail};
use blockferry_control::api::{PartyAddress, VolumeRole};
use blockferry_device::{DeviceInfo, Features};
use blockferry_nbd_session::Address;

use super::Beginning;
use crate::copy::End;
use crate::network::{self, Network};
use crate::outcome::one_line;
use crate::parties::Parties;
use crate::position::role_name;
use crate::show::bytes;
use crate::survey::{Seen, StorageSeen, Survey, SwitchSeen};

/// Version of the migration protocol that this controller speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// What a migration will be, once nothing speaks against it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Size of the volume in bytes.
    pub(crate) size: u64,
    /// Generation of the present owner.
    pub(crate) generation: u64,
    /// What the source's export offers.
    pub(crate) features: Vec<String>,
    /// Where the source serves.
    pub(crate) source_at: PartyAddress,
    /// Where the destination serves.
    pub(crate) destination_at: PartyAddress,
    /// Client connections at each switch.
    pub(crate) sessions: Vec<u64>,
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
    problems.extend(routes(survey).await);
    if let Ok(destination) = &survey.destination {
        let nbd = &destination.program.address.nbd;
        problems.extend(network.reach(nbd).await.err().map(|error| {
            format!("the destination's data address cannot be reached: {}", one_line(&error))
        }));
    }
    let info = match &survey.source {
        Ok(source) if source.volume.is_some() => {
            let nbd = &source.program.address.nbd;
            probe(network, nbd, parties.volume.as_str()).await.map(Some)
        }
        _ => Ok(None),
    };
    let info = info.unwrap_or_else(|error| {
        problems.push(format!("the source's export cannot be opened: {}", one_line(&error)));
        None
    });
    let plan = plan(survey, info.as_ref());
    if let Some(plan) = &plan {
        problems.extend(asked(parties, beginning, plan).await);
    }
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(refusal(parties, problems)),
    }
}

fn refusal(parties: &Parties, problems: Vec<String>) -> anyhow::Error {
    let volume = &parties.volume;
    anyhow!("{volume} cannot be moved, and nothing was touched: {}", problems.join("; "))
}
