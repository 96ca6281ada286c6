//! The commands: each looks where the migration stands, and does or refuses what it is for.

mod abort;
mod commit;
mod complete;
mod migrate;
mod pause;
mod promote;
mod resume;
mod retire;
mod status;
mod verify;

use std::time::Instant;

use anyhow::Context;
use blockferry_control::api::PartyAddress;

use crate::cli::{self, Command};
use crate::demo::demo;
use crate::migrate::{Identity, Migration, Record, new_session};
use crate::network::{Nbd, Network};
use crate::parties::{Parties, Storage, Switch};
use crate::position::{Known, Position, locate};
use crate::settings::{Driving, Settings};
use crate::show::Show;
use crate::survey::{Seen, StorageSeen, Survey};

pub(crate) use migrate::{MigrateOrder, migrate};

/// What a refused takeover is told with.
const NO_TERM: &str = "the migration cannot be taken over";

/// What every command works with.
pub(crate) struct Desk<'a, N> {
    /// Everybody.
    pub(crate) parties: &'a Parties,
    /// How the exports are reached.
    pub(crate) network: &'a N,
    /// Who is shown what happens.
    pub(crate) show: &'a dyn Show,
    /// When the command began.
    pub(crate) began: Instant,
}

/// Carries a command out.
pub(crate) async fn run(
    command: Command,
    json: bool,
    settings: &Settings,
    show: &dyn Show,
) -> anyhow::Result<()> {
    let parties = |args: &cli::Parties| parties(args, settings);
    match command {
        Command::Migrate(args) => {
            let order = MigrateOrder::from_args(&args, settings)?;
            migrate(&Desk::on(&parties(&args.parties)?, show), &order).await
        }
        Command::Resume(args) => {
            let driving = settings.driving(&args.copy, args.finish.certificate.as_ref())?;
            resume::resume(&Desk::on(&parties(&args.parties)?, show), &driving).await
        }
        Command::Commit(args) => {
            let driving = settings.finishing(args.finish.certificate.as_ref())?;
            commit::commit(&Desk::on(&parties(&args.parties)?, show), &driving).await
        }
        Command::Status(args) => status::status(&Desk::on(&parties(&args)?, show), json).await,
        Command::Pause(args) => pause::pause(&Desk::on(&parties(&args)?, show)).await,
        Command::Abort(args) => abort::abort(&Desk::on(&parties(&args)?, show)).await,
        Command::Retire(args) => {
            retire::retire(&Desk::on(&parties(&args.parties)?, show), args.wait).await
        }
        Command::Promote(args) => promote::promote(&Desk::on(&parties(&args.parties)?, show)).await,
        Command::Verify(args) => verify::verify(&Desk::on(&parties(&args)?, show)).await,
        Command::Demo(args) => demo(&args, show).await,
    }
}

fn parties(args: &cli::Parties, settings: &Settings) -> anyhow::Result<Parties> {
    let (volume, token) = (args.name.clone(), settings.token.as_ref());
    let switches = settings.switches(args).into_iter();
    Ok(Parties {
        source: Storage::new(settings.from(args)?, &volume, token),
        destination: Storage::new(settings.to(args)?, &volume, token),
        switches: switches.map(|address| Switch::new(address, &volume, token)).collect(),
        volume,
    })
}

impl<'a> Desk<'a, Nbd> {
    /// A desk on the real network, from now on.
    pub(crate) fn on(parties: &'a Parties, show: &'a dyn Show) -> Self {
        Self { parties, network: &Nbd, show, began: Instant::now() }
    }
}

impl<'a, N: Network> Desk<'a, N> {
    /// Where the migration stands, by what everybody says.
    pub(crate) fn position(&self, survey: &Survey) -> anyhow::Result<Position> {
        let to = self.parties.destination.address().to_string();
        let position = locate(known(&survey.source), known(&survey.destination), &to);
        position.map_err(|contradiction| {
            let volume = &self.parties.volume;
            let mut error = anyhow::Error::new(contradiction);
            for seen in [&survey.source, &survey.destination] {
                if let Err(reason) = seen {
                    error = error.context(reason.to_string());
                }
            }
            error.context(format!("cannot tell where {volume} stands"))
        })
    }

    /// A migration under way, to be driven by this controller under `identity`.
    pub(crate) fn migration(
        &self,
        identity: Identity,
        survey: &Survey,
        driving: &'a Driving,
    ) -> anyhow::Result<Migration<'a, N>> {
        let destination = address(&survey.destination);
        let source = address(&survey.source).or_else(|| peer(&survey.destination));
        let size = [&survey.source, &survey.destination]
            .into_iter()
            .find_map(|seen| seen.as_ref().ok()?.volume.as_ref().map(|volume| volume.size));
        Ok(Migration {
            parties: self.parties,
            network: self.network,
            driving,
            show: self.show,
            identity,
            session: new_session()?,
            source_at: source.context("the source does not say where it serves")?,
            destination_at: destination
                .or_else(|| peer(&survey.source))
                .context("the destination does not say where it serves")?,
            size: size.context("nobody says how large the volume is")?,
            record: Record::beginning_at(self.began),
        })
    }
}

fn known(seen: &Seen<StorageSeen>) -> Known<'_> {
    match seen {
        Err(_) => Known::Unreachable,
        Ok(StorageSeen { volume: None, .. }) => Known::Absent,
        Ok(StorageSeen { volume: Some(volume), .. }) => Known::Volume(volume),
    }
}

fn address(seen: &Seen<StorageSeen>) -> Option<PartyAddress> {
    seen.as_ref().ok().map(|seen| seen.program.address.clone())
}

/// Where a storage program says that its other side is.
fn peer(seen: &Seen<StorageSeen>) -> Option<PartyAddress> {
    let volume = seen.as_ref().ok()?.volume.as_ref()?;
    volume.migration.as_ref().map(|migration| migration.peer.clone())
}

#[cfg(test)]
mod tests;
