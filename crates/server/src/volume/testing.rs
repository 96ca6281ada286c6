//! A volume for tests, over any store, with its records in a folder, and clients of it.

use std::path::Path;
use std::sync::Arc;

use blockferry_block::BootId;
use blockferry_control::api::PartyAddress;
use blockferry_migration::Faults;
use blockferry_migration::record::VolumeRecord;
use blockferry_nbd_session::{Hello, Purpose};
use blockferry_net::{Peer, Threads};
use blockferry_store::Store;
use tempfile::TempDir;

use super::device::VolumeDevice;
use super::{Book, Volume};
use crate::program::Context;

/// The migration that the volume takes part in.
pub(super) const MIGRATION: &str = "11111111111111111111111111111111";

/// What its parties know each other by.
pub(super) const TOKEN: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// Opens the volume as a program does that begins: with the records that the folder has, or else
/// with `first`.
pub(super) fn open(
    folder: &Path,
    store: Arc<dyn Store>,
    first: Option<VolumeRecord>,
) -> Arc<Volume> {
    let address =
        PartyAddress { nbd: "nbd://localhost".into(), control: "unix:/".into(), iscsi: None };
    let program = Arc::new(Context {
        program: "target",
        boot: BootId(1 << 20),
        state_dir: folder.to_owned(),
        pool: None,
        address,
        token: None,
        threads: Arc::new(Threads::start().expect("threads")),
        shutdown: tokio_util::sync::CancellationToken::new(),
        faults: Faults::default(),
        accounts: None,
    });
    let book = Book::open(Book::path(folder, "vol"), first).expect("a journal");
    let book = book.expect("a journal with a record");
    let name = "vol".parse().expect("a name");
    Volume::open(program, name, store, book).expect("a volume")
}

/// Size of a [`Served`] volume in bytes.
pub(super) const SIZE: u64 = 1 << 20;

/// A volume that is owned here, and a client of it.
pub(super) struct Served {
    pub(super) volume: Arc<Volume>,
    pub(super) client: VolumeDevice,
    _folder: TempDir,
}

impl Served {
    pub(super) async fn from(store: Arc<dyn Store>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let first = VolumeRecord::Owner { generation: 1, size: SIZE, backing: "a store".into() };
        let volume = open(folder.path(), store, Some(first));
        let client = client_of(&volume).await;
        Self { volume, client, _folder: folder }
    }

    pub(super) async fn another_client(&self) -> VolumeDevice {
        client_of(&self.volume).await
    }

    pub(super) fn updates_recorded(&self) -> usize {
        self.volume.owner().expect("an owner").with(|source| source.in_flight())
    }
}

async fn client_of(volume: &Arc<Volume>) -> VolumeDevice {
    let hello = Hello { purpose: Purpose::Go, role: None, peer: Peer::Unix };
    volume.connect(&hello, None).await.expect("a client")
}
