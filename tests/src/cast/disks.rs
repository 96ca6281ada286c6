//! Volumes as disks of iSCSI initiators: where the programs serve them, and what libiscsi's tools find.

use std::process::Command;

use super::cluster::{ClusterSpec, VOLUME};
use super::nbdsh::{Script, run_tool};
use super::storage::Storage;
use super::until::until;

/// What the programs call the volume of a cluster as a target.
pub const TARGET: &str = "iqn.2026-01.io.blockferry:vol";

impl ClusterSpec {
    /// Has both storage programs serve iSCSI, too.
    #[must_use]
    pub fn with_disks(self) -> Self {
        self.source(|source| source.on_iscsi("127.0.0.1"))
            .destination(|destination| destination.on_iscsi("127.0.0.1"))
    }

    /// Has the switch serve iSCSI, too.
    #[must_use]
    pub fn with_portal_at_switch(self) -> Self {
        self.switch_with("--iscsi").switch_with("127.0.0.1:0")
    }
}

impl Storage {
    /// Waits until so many initiators have logged in.
    pub async fn logged_in(&self, count: usize) {
        until("initiators have logged in", async || {
            let log = self.process.log();
            let logins = log.iter().filter(|line| line.contains("an initiator logged in"));
            (logins.count() >= count).then_some(())
        })
        .await;
    }
}

/// The disk of [`VOLUME`] at a portal, for `account`, which is empty or `NAME%SECRET@`.
pub fn disk(portal: &str, account: &str) -> String {
    debug_assert!(TARGET.ends_with(VOLUME));
    format!("iscsi://{account}{portal}/{TARGET}/0")
}

/// One of libiscsi's tools, until it ends.
pub async fn iscsi(program: &str, arguments: &[&str]) -> Script {
    run_tool(Command::new(program).args(arguments)).await
}
