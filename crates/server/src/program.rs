//! What every volume of a storage program shares.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use blockferry_block::{BootId, SessionId};
use blockferry_control::api::PartyAddress;
use blockferry_control::{BearerToken, ControlAddress, ControlClient};
use blockferry_migration::Faults;
use blockferry_net::Threads;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;

/// Version of the migration protocol; parties with different ones refuse each other.
pub const PROTOCOL: u32 = 1;

/// The surroundings of a storage program's volumes.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) program: &'static str,
    pub(crate) boot: BootId,
    pub(crate) state_dir: PathBuf,
    pub(crate) pool: Option<PathBuf>,
    pub(crate) address: PartyAddress,
    pub(crate) token: Option<BearerToken>,
    /// Those that serve connections, for what is as busy as one.
    pub(crate) threads: Arc<Threads>,
    /// Cancelled when the program is to end.
    pub(crate) shutdown: CancellationToken,
    pub(crate) faults: Faults,
    /// Who may log in over iSCSI, where that is served.
    pub(crate) accounts: Option<Accounts>,
}

impl Context {
    /// A client for another party's control address, with this program's own secret.
    pub(crate) fn control_client(&self, address: &str) -> Result<ControlClient> {
        let address: ControlAddress =
            address.parse().with_context(|| format!("the control address {address:?}"))?;
        Ok(ControlClient::new(address, self.token.as_ref()))
    }

    /// A session id for a client that brings none.
    pub(crate) fn random_session(&self) -> SessionId {
        SessionId::from_bytes(random())
    }
}

/// Bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
