//! Volumes as disks of iSCSI initiators: where storage programs serve them.

use super::cluster::ClusterSpec;
use super::storage::{Storage, bound};
use super::until::until;

/// What the programs call the volume of a cluster as a target.
pub const TARGET: &str = "iqn.2026-01.io.blockferry:vol";

/// Where they listen, until it is known which port is free.
const ANY_PORT: &str = "127.0.0.1:0";

impl ClusterSpec {
    /// Has both storage programs serve iSCSI, too.
    #[must_use]
    pub fn with_disks(self) -> Self {
        self.source(|source| source.with("--iscsi").with(ANY_PORT))
            .destination(|destination| destination.with("--iscsi").with(ANY_PORT))
    }
}

impl Storage {
    /// Where it serves iSCSI.
    pub async fn portal(&self) -> String {
        let line = until("the portal's address", async || {
            self.process.log().into_iter().find(|line| line.contains("serving iSCSI"))
        });
        bound(&line.await)
    }

    /// Has it serve iSCSI at the same portal when it is started again, and gives that.
    pub async fn keep_portal(&mut self) -> String {
        let portal = self.portal().await;
        let more = self.spec.more.iter_mut();
        more.filter(|argument| *argument == ANY_PORT).for_each(|any| any.clone_from(&portal));
        portal
    }

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

/// The volume's disk at a portal, for `account`, which is empty or `NAME%SECRET@`.
pub fn disk(portal: &str, account: &str) -> String {
    format!("iscsi://{account}{portal}/{TARGET}/0")
}
