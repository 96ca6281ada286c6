//! Migrations into stores that exist already, on whatever they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use blockferry_block::MIB;
use blockferry_checker::LoadHandle;
use blockferry_nbd_session::NbdUri;
use serde_json::Value;

use super::cluster::{Cluster, ClusterSpec, VOLUME};
use super::files::{compare, fill_random, sparse};
use super::load::{busy, connect, ends_clean};
use super::nbdsh::run_tool;

impl ClusterSpec {
    /// A volume with holes, of so many MiB and 512 bytes.
    #[must_use]
    pub fn with_holes(self, mib: u64) -> Self {
        let pieces = [(0, 1 << 20), (mib / 3 * MIB + 4096, 2 << 20), (mib * MIB, 512)];
        sparse(&self.file(), mib * MIB + 512, pieces);
        let file = self.file();
        self.source(|source| source.volume(VOLUME, file))
    }

    /// A file of the volume's size with something else in it.
    ///
    /// # Panics
    /// Without a volume in [`ClusterSpec::file`].
    pub fn garbage(&self) -> PathBuf {
        let size = std::fs::metadata(self.file()).expect("a volume").len();
        let garbage = self.scratch.join("garbage");
        fill_random(&garbage, size);
        garbage
    }

    /// A destination that creates no volumes and has prepared this store for [`VOLUME`].
    #[must_use]
    pub fn received_in(self, backing: impl AsRef<Path>) -> Self {
        self.destination(|destination| destination.without_pool().receive(VOLUME, backing))
    }
}

impl Cluster {
    /// Moves the volume under a checked load into the store that `content` reads.
    ///
    /// # Panics
    /// When both sides differ, or the load has something to complain of.
    pub async fn moves_into(&self, content: impl AsyncFn() -> PathBuf) {
        let load = busy(&self.uri(), 200).await;
        self.migrate(&["--hold-at-ready", "--chunk", "1M"]).await;
        self.ends_equal(load, content).await;
    }

    /// While the migration is held at ready and nobody writes, the destination's store, as `content`
    /// reads it, is equal to the source's; then it is committed under another load.
    ///
    /// # Panics
    /// When both sides differ, or the load has something to complain of.
    pub async fn ends_equal(&self, load: LoadHandle, content: impl AsyncFn() -> PathBuf) {
        ends_clean(load).await;
        self.source.until(VOLUME, "nothing dirty", |status| status.dirty_bytes == 0).await;
        compare(&self.file(), &content().await).expect("the same on both sides");
        let load = busy(&self.uri(), 200).await;
        self.controller("commit", &[]).done().await;
        self.ends_well(load).await;
    }

    /// The load goes on at the destination, and what it wrote is there.
    ///
    /// # Panics
    /// When it is not.
    pub async fn ends_well(&self, load: LoadHandle) {
        self.until_moved().await;
        let report = ends_clean(load).await;
        let link = connect(&self.destination.uri(VOLUME)).await;
        let violations = report.journal.verify(&link).await.expect("a volume that can be read");
        assert!(violations.is_empty(), "{violations:?}");
    }

    /// The migration's last event says that it is done and nothing differed, and [`Cluster::ends_well`].
    ///
    /// # Panics
    /// When it is not.
    pub async fn is_done_well(&self, load: LoadHandle, done: &Value) {
        assert_eq!(done["event"], "done", "{done}");
        assert_ne!(done["digest_match"], false, "{done}");
        self.ends_well(load).await;
    }

    /// Reads a whole export into a file, by another client.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn content_of(&self, uri: &NbdUri) -> PathBuf {
        let content = self.scratch.join("content");
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", "raw", &uri.to_string()]).arg(&content);
        let read = run_tool(&mut command).await;
        assert!(read.success, "{}", read.err);
        content
    }
}
