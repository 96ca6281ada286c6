//! A volume for tests: over any store, with its records in a folder.

use std::path::Path;
use std::sync::Arc;

use blockferry_block::BootId;
use blockferry_control::api::PartyAddress;
use blockferry_migration::Faults;
use blockferry_migration::record::VolumeRecord;
use blockferry_store::Store;

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
    let address = PartyAddress { nbd: "nbd://localhost".into(), control: "unix:/".into() };
    let program = Arc::new(Context {
        program: "target",
        boot: BootId(1 << 20),
        state_dir: folder.to_owned(),
        pool: None,
        address,
        token: None,
        faults: Faults::default(),
    });
    let book = Book::open(Book::path(folder, "vol"), first).expect("a journal");
    let book = book.expect("a journal with a record");
    let name = "vol".parse().expect("a name");
    Volume::open(program, name, store, book).expect("a volume")
}
