//! switch-proxy: keeps the clients' connections while their volumes change servers.
//!
//! Clients of any make connect to a route. Each connection has a path of its own
//! ([`blockferry_path::Path`]) to the volume's owner, which survives the owner's death and is moved,
//! without holding a request, when the volume has moved. Where a volume is, is told to the switch
//! by the controller or by the new owner itself, found out by asking when nobody tells, and kept in
//! a journal.
//!
//! Initiators have sessions of their own, which survive a connection: their logins go to the owner
//! (`iscsi`).
//!
//! The switch is two processes: a keeper, which has the clients' sockets ([`keep`]), and its worker,
//! which does everything else ([`work`]) and may die or be replaced without any client's noticing. It
//! can also be one ([`run`]).
//!
//! Architecture invariant: bytes of a volume pass only through paths and joined sockets; nothing here touches them.

mod api;
mod bound;
mod client;
mod config;
mod desk;
mod exports;
mod front_door;
mod iscsi;
mod keep;
mod ledger;
mod metrics;
mod owner;
mod passport;
mod placement;
mod prepare;
mod route;
mod route_spec;
mod routes;
mod server;
mod succession;
mod watch;

pub use api::{KeeperStatus, NewRoute, SwitchStatus};
pub use config::{Config, Flags, Part};
pub use keep::keep;
pub use route_spec::RouteSpec;
pub use server::Switch;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

/// Runs a switch until `shutdown` is cancelled and what was under way is answered.
///
/// # Errors
/// What could not be read or bound.
pub async fn run(config: &Config, shutdown: CancellationToken) -> Result<()> {
    Switch::bind(config).await?.run(shutdown).await;
    Ok(())
}

/// Runs the worker of the keeper that has started this process, until the keeper ends it, or
/// `shutdown` is cancelled: then another goes on with its clients.
///
/// # Errors
/// What could not be read or bound, or that there is no keeper.
pub async fn work(config: &Config, shutdown: CancellationToken) -> Result<()> {
    if let Some(switch) = Switch::behind_keeper(config).await? {
        switch.run(shutdown).await;
    }
    Ok(())
}
