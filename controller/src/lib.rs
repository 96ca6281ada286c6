//! The migration controller: drives a migration, carries the ordered copy, shows both.
//!
//! Architecture invariant: it keeps no state that matters. Whatever it was doing when it died is
//! found again from what the storage programs say (`position`), so that any controller can go on.

pub mod cli;

mod command;
mod demo;
mod migrate;
mod network;
mod outcome;
mod parties;
mod position;
mod report;
mod settings;
mod show;
mod survey;

#[cfg(test)]
mod testing;

use std::future::Future;

pub use outcome::{Outcome, Usage, exit_code, one_line};
pub use settings::{Log, Settings};

use cli::Cli;

/// Carries one command out, unless `shutdown` ends first; whatever was begun can be resumed then.
///
/// # Errors
/// What failed, on what, and what to do.
pub async fn run(
    cli: Cli,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let show = show::for_stdout(cli.common.json);
    tokio::select! {
        biased;
        () = shutdown => Ok(Outcome::Interrupted),
        done = command::run(cli.command, cli.common.json, &settings, show.as_ref()) => {
            done.map(|()| Outcome::Done)
        }
    }
}
