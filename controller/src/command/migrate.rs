//! `migrate`: begins a migration, continues one that was interrupted, or says that it is complete.

use blockferry_control::api::SlowDestination;

use super::{Desk, complete, resume};
use crate::cli::{self, Copier, MigrateArgs};
use crate::migrate::{Beginning, drop_orphan, preflight};
use crate::network::{Network, export_uri};
use crate::position::Position;
use crate::settings::{Driving, Settings};
use crate::show::{Event, Phase};
use crate::survey::Survey;

/// What `migrate` was told.
#[derive(Clone, Debug)]
pub(crate) struct MigrateOrder {
    /// How to drive.
    pub(crate) driving: Driving,
    /// Policy for a destination that cannot follow.
    pub(crate) slow_destination: SlowDestination,
    /// Print the plan and stop.
    pub(crate) dry_run: bool,
}

impl MigrateOrder {
    /// Whether to print the URIs for another tool and stop.
    fn is_external(&self) -> bool {
        self.driving.copier == Copier::External
    }

    /// From the command line and the file.
    pub(crate) fn from_args(args: &MigrateArgs, settings: &Settings) -> anyhow::Result<Self> {
        let slow_destination = match settings.slow_destination(args.slow_destination) {
            cli::SlowDestination::Pause => SlowDestination::Pause,
            cli::SlowDestination::Throttle => SlowDestination::Throttle,
        };
        Ok(Self {
            driving: settings.driving(&args.copy, args.finish.certificate.as_ref())?,
            slow_destination,
            dry_run: args.dry_run,
        })
    }
}

/// Moves the volume.
pub(crate) async fn migrate<N: Network>(
    desk: &Desk<'_, N>,
    order: &MigrateOrder,
) -> anyhow::Result<()> {
    let survey = Survey::take(desk.parties).await;
    let volume = desk.parties.volume.to_string();
    desk.show.show(&Event::Phase { volume, phase: Phase::Preflight });
    let unclear = survey.source.is_err() || survey.destination.is_err();
    match desk.position(&survey) {
        // Everything that speaks against it is told at once, an unreachable program included.
        Err(_) if unclear => begin(desk, order, &survey).await,
        Err(error) => Err(error),
        Ok(Position::Untouched) => begin(desk, order, &survey).await,
        Ok(Position::Orphan { migration }) => {
            if !order.dry_run {
                drop_orphan(desk.parties, &migration).await?;
            }
            begin(desk, order, &Survey::take(desk.parties).await).await
        }
        Ok(position) if order.dry_run => {
            show_plan(desk, &survey, vec![format!("continue: {}", position.text())]);
            Ok(())
        }
        Ok(position) if complete::is_complete(&position, &survey) => {
            complete::say(desk, &position, &survey);
            Ok(())
        }
        Ok(Position::Sweeping { migration }) if order.is_external() => {
            let client_p99 = order.driving.client_p99;
            let identity = crate::migrate::take_over(desk.parties, &migration, client_p99).await?;
            show_uris(desk, &survey, &identity.token)
        }
        Ok(position) => resume::go_on(desk, &order.driving, position, &survey).await,
    }
}

async fn begin<N: Network>(
    desk: &Desk<'_, N>,
    order: &MigrateOrder,
    survey: &Survey,
) -> anyhow::Result<()> {
    let beginning = Beginning::new(order.slow_destination, order.driving.client_p99)?;
    let plan = preflight(desk.parties, desk.network, survey, &beginning).await?;
    if order.dry_run {
        show_plan(desk, survey, plan.steps(desk.parties, survey));
        return Ok(());
    }
    let volume = desk.parties.volume.to_string();
    desk.show.show(&Event::Phase { volume, phase: Phase::Begin });
    blockferry_label::reached("controller.preflight.done");
    beginning.begin(desk.parties, &plan).await?;
    let token = beginning.identity.token.clone();
    let migration = desk.migration(beginning.identity, survey, &order.driving)?;
    if order.is_external() {
        migration.prepare_switches(true).await?;
        return show_uris(desk, survey, &token);
    }
    migration.drive(Phase::Announce).await
}

fn show_plan<N>(desk: &Desk<'_, N>, survey: &Survey, steps: Vec<String>) {
    let source = survey.source.as_ref().ok().and_then(|seen| seen.volume.as_ref());
    desk.show.show(&Event::Plan {
        volume: desk.parties.volume.to_string(),
        size: source.map_or(0, |volume| volume.size),
        steps,
    });
}

/// The role travels in the export's name, since stock tools know no options of ours.
fn show_uris<N>(desk: &Desk<'_, N>, survey: &Survey, token: &str) -> anyhow::Result<()> {
    let volume = &desk.parties.volume;
    let export = format!("{volume}@copy.{token}");
    let uri = |seen: &crate::survey::Seen<crate::survey::StorageSeen>| match seen {
        Ok(seen) => export_uri(&seen.program.address.nbd, &export),
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    desk.show.show(&Event::Copier {
        volume: volume.to_string(),
        source: uri(&survey.source)?,
        destination: uri(&survey.destination)?,
    });
    Ok(())
}
