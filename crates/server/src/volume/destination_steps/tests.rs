//! A destination whose store fails: what it may have lost is copied and sent once more.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blockferry_block::{Extent, Generation};
use blockferry_device::{Answer, Errno, Failure, ReadPart, Reply};
use blockferry_migration::digest::LEAF;
use blockferry_migration::record::{Part, Party};
use blockferry_store::wrap::{Faulty, Gate};
use blockferry_store::{MemoryStore, Store};
use tempfile::TempDir;

use super::*;
use crate::volume::client::ClientPath;
use crate::volume::testing::{self, MIGRATION, TOKEN};

const SIZE: u64 = 4 * LEAF;

/// Nothing takes longer.
const SOON: Duration = Duration::from_secs(20);

struct Receiving {
    volume: Arc<Volume>,
    folder: TempDir,
}

impl Receiving {
    /// A volume that begins to be received into this store.
    fn into(store: Arc<dyn Store>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let first = VolumeRecord::Receiving {
            migration: MIGRATION.into(),
            token: TOKEN.into(),
            source: Party { nbd: "nbd://localhost".into(), control: "unix:/".into(), iscsi: None },
            size: SIZE,
            generation: 1,
            backing: "a store".into(),
            prepared: true,
        };
        let volume = testing::open(folder.path(), store, Some(first));
        Self { volume, folder }
    }

    /// The program that has it is started again.
    fn restarted(self) -> Self {
        let Self { volume, folder } = self;
        let store = Arc::clone(&volume.store);
        drop(volume);
        Self { volume: testing::open(folder.path(), store, None), folder }
    }

    async fn attach(&self) -> AttachReply {
        self.try_to_attach().await.expect("nothing speaks against it")
    }

    async fn try_to_attach(&self) -> Step<AttachReply> {
        let (migration, token) = (MIGRATION.to_owned(), TOKEN.to_owned());
        self.volume.attach(AttachRequest { migration, token, source_boot: 7 }).await
    }

    /// Copies up to the address.
    async fn copy(&self, epoch: u64, upto: u64) -> Result<(), Failure> {
        let receiver = self.volume.receiver().expect("a receiver");
        let from = receiver.read(Destination::reserved);
        for extent in Extent::between(from, upto).pieces(LEAF) {
            let data = vec![0x5A; usize::try_from(extent.len()).expect("a leaf")].into();
            let request = Request::Write { offset: extent.start(), data, fua: false };
            self.volume.copy_in(epoch, request).await?;
        }
        Ok(())
    }

    async fn mirror(&self, epoch: u64) -> Result<Reply, Failure> {
        let request = Request::Write { offset: 0, data: "mirrored".into(), fua: false };
        self.volume.mirror_in(epoch, &self.path(), request).await
    }

    fn path(&self) -> ClientPath {
        let session = self.volume.program.random_session();
        self.volume.client_path(
            blockferry_migration::source::SessionKey(1),
            session,
            Generation(1),
            String::new(),
        )
    }

    /// A whole checkpoint; the source's part of it succeeds.
    async fn checkpoint(&self, epoch: u64) -> Step<u64> {
        let (migration, token) = (MIGRATION.to_owned(), TOKEN.to_owned());
        let checkpoint = CheckpointRequest { migration, token, source_boot: 7, epoch };
        let reserved_address = self.volume.checkpoint(&checkpoint).await?.reserved_address;
        let finish = FinishCheckpoint { checkpoint, reserved_address };
        self.volume.finish_checkpoint(&finish).await?;
        Ok(reserved_address)
    }

    async fn ready(&self, epoch: u64) -> Step<ReadyReply> {
        let (migration, token) = (MIGRATION.to_owned(), TOKEN.to_owned());
        let request = ReadyRequest { migration, token, term: 1, attempt: 1, epoch };
        self.volume.ready(&request).await
    }

    /// The answer to a source that follows the reserved address.
    async fn epoch_told_to(&self, epoch: u64) -> u64 {
        let migration = MIGRATION.to_owned();
        let query = ReservedQuery { migration, epoch, above: u64::MAX, wait_ms: 0 };
        self.volume.reserved(&query).await.expect("an answer").epoch
    }
}

/// A store that fails the requests of a kind while it is told to.
fn failing(kind: fn(&Request) -> bool) -> (Arc<dyn Store>, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let verdict = Arc::clone(&fails);
    let store = Faulty::new(MemoryStore::new(SIZE), move |request: &Request| {
        let fails = kind(request) && verdict.load(Ordering::SeqCst);
        fails.then(|| Failure::new(Errno::Io, "the disk is broken"))
    });
    (Arc::new(store), fails)
}

#[tokio::test]
async fn i9_a_failed_flush_at_a_checkpoint_sends_the_source_back_to_what_was_durable() {
    let (store, fails) = failing(|request| *request == Request::Flush);
    let receiving = Receiving::into(store);
    let epoch = receiving.attach().await.epoch;
    receiving.copy(epoch, LEAF).await.expect("at W");
    assert_eq!(receiving.checkpoint(epoch).await.expect("a checkpoint"), LEAF);
    receiving.copy(epoch, 3 * LEAF).await.expect("at W");
    fails.store(true, Ordering::SeqCst);
    assert!(receiving.checkpoint(epoch).await.is_err());
    fails.store(false, Ordering::SeqCst);

    assert!(receiving.copy(epoch, SIZE).await.is_err(), "a copy of before the failure went on");
    assert!(receiving.mirror(epoch).await.is_err(), "a mirror of before the failure went on");
    assert!(receiving.checkpoint(epoch).await.is_err(), "a later flush made up for it");
    assert_ne!(receiving.epoch_told_to(epoch).await, epoch, "the source is not told");
    let attached = receiving.attach().await;
    assert_eq!(attached.reserved_address, LEAF);
    receiving.copy(attached.epoch, SIZE).await.expect("at W");
    assert_eq!(receiving.checkpoint(attached.epoch).await.expect("a checkpoint"), SIZE);
}

#[tokio::test]
async fn i9_a_failed_flush_for_ready_promises_nothing_and_needs_a_new_attach() {
    let (store, fails) = failing(|request| *request == Request::Flush);
    let receiving = Receiving::into(store);
    let epoch = receiving.attach().await.epoch;
    receiving.copy(epoch, SIZE).await.expect("at W");
    receiving.checkpoint(epoch).await.expect("a checkpoint");
    fails.store(true, Ordering::SeqCst);
    assert!(receiving.ready(epoch).await.is_err());
    fails.store(false, Ordering::SeqCst);
    assert!(receiving.ready(epoch).await.is_err(), "a later flush made up for it");
    assert!(receiving.volume.become_owner(2).await.is_err(), "nothing was promised");
    let epoch = receiving.attach().await.epoch;
    receiving.ready(epoch).await.expect("a promise");
    receiving.volume.become_owner(2).await.expect("what was promised can be committed to");
}

#[tokio::test]
async fn i9_a_durable_mirror_write_that_fails_needs_a_new_attach_and_keeps_the_promise() {
    let (store, fails) = failing(Request::fua);
    let receiving = Receiving::into(store);
    let epoch = receiving.attach().await.epoch;
    receiving.copy(epoch, SIZE).await.expect("at W");
    receiving.checkpoint(epoch).await.expect("a checkpoint");
    receiving.ready(epoch).await.expect("a promise");
    fails.store(true, Ordering::SeqCst);
    assert!(receiving.mirror(epoch).await.is_err());
    assert_ne!(receiving.epoch_told_to(epoch).await, epoch);
    // The source may have committed to the promise before it heard of the failure.
    receiving.volume.become_owner(2).await.expect("what was promised stays promised");
    assert_eq!(receiving.volume.state().part, Part::Owner);
}

/// A store that may have lost something from the beginning on, and knows it.
struct Suspect {
    memory: MemoryStore,
    suspect: AtomicBool,
}

impl Device for Suspect {
    fn info(&self) -> &blockferry_device::DeviceInfo {
        self.memory.info()
    }

    fn call(&self, request: Request) -> Answer {
        match request {
            Request::Flush if self.suspect.load(Ordering::SeqCst) => {
                Answer::ready(Err(Failure::new(Errno::Io, "it may have lost some")))
            }
            request => self.memory.call(request),
        }
    }
}

impl Store for Suspect {
    fn forget_losses(&self) {
        self.suspect.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_attach_and_the_ownership_deal_with_what_the_store_has_lost() {
    let (memory, suspect) = (MemoryStore::new(SIZE), AtomicBool::new(true));
    let store = Arc::new(Suspect { memory, suspect });
    let receiving = Receiving::into(store.clone());
    assert!(receiving.checkpoint(1 << 20).await.is_err());
    let epoch = receiving.attach().await.epoch;
    receiving.copy(epoch, SIZE).await.expect("at W");
    receiving.checkpoint(epoch).await.expect("the losses are dealt with");
    receiving.ready(epoch).await.expect("a promise");
    store.suspect.store(true, Ordering::SeqCst);
    receiving.volume.become_owner(2).await.expect("what was promised");
    let flushed = receiving.volume.client(&receiving.path(), Request::Flush).await;
    flushed.expect("everything was durable, so no client has to know");
}

#[tokio::test]
async fn i2_a_failed_copy_write_leaves_a_migration_that_goes_on() {
    let (store, fails) = failing(Request::is_write);
    let receiving = Receiving::into(store);
    let epoch = receiving.attach().await.epoch;
    receiving.copy(epoch, LEAF).await.expect("at W");
    fails.store(true, Ordering::SeqCst);
    let failure = receiving.copy(epoch, 2 * LEAF).await.expect_err("the disk is broken");
    assert_eq!(failure.errno, Errno::Io);
    fails.store(false, Ordering::SeqCst);
    receiving.copy(epoch, SIZE).await.expect("the same write is at W again");
    assert_eq!(receiving.checkpoint(epoch).await.expect("a checkpoint"), SIZE);
}

#[tokio::test]
async fn i2_a_copy_write_that_comes_in_part_leaves_w_where_it_was() {
    let receiving = Receiving::into(Arc::new(MemoryStore::new(SIZE)));
    let epoch = receiving.attach().await.epoch;
    let whole = Extent::between(0, SIZE);
    let leaf = || vec![1; usize::try_from(LEAF).expect("a leaf")].into();
    let (sender, pieces) = tokio::sync::mpsc::channel(4);
    sender.try_send(leaf()).expect("there is room");
    sender.try_send(leaf()).expect("there is room");
    drop(sender);
    let failure = receiving.volume.copy_in_pieces(epoch, whole, pieces).await;
    assert_eq!(failure.expect_err("it came in part").errno, Errno::Io);
    let receiver = receiving.volume.receiver().expect("a receiver");
    assert_eq!(receiver.read(Destination::reserved), 0);
    // What comes instead is all zeroes: nothing of the part may shine through.
    let zeroes = Request::Write { offset: 0, data: vec![0; 4 * LEAF as usize].into(), fua: false };
    receiving.volume.copy_in(epoch, zeroes).await.expect("the same address again");
    let read = Request::Read { extent: whole, dont_fragment: true };
    let read = receiving.volume.store.call(read).await.expect("a read");
    let Reply::Read(parts) = read else { panic!("{read:?}") };
    assert!(matches!(&parts[..], [ReadPart::Data(data)] if data.iter().all(|byte| *byte == 0)));
}

#[tokio::test]
async fn d2_4_writes_are_executed_in_the_order_in_which_they_arrived_whole_or_in_pieces() {
    let receiving = Receiving::into(Arc::new(MemoryStore::new(SIZE)));
    let epoch = receiving.attach().await.epoch;
    let leaf = || bytes::Bytes::from(vec![1; usize::try_from(LEAF).expect("a leaf")]);
    let (sender, pieces) = tokio::sync::mpsc::channel(4);
    let first = receiving.volume.copy_in_pieces(epoch, Extent::between(0, LEAF), pieces);
    let second = Request::Write { offset: LEAF, data: leaf(), fua: false };
    let mut second = std::pin::pin!(receiving.volume.copy_in(epoch, second));
    assert!(futures_util::poll!(second.as_mut()).is_pending(), "the first one has its turn");
    sender.try_send(leaf()).expect("there is room");
    drop(sender);
    first.await.expect("at W");
    tokio::time::timeout(SOON, second).await.expect("its turn").expect("at W");
}

#[tokio::test]
async fn d2_5_a_write_in_pieces_is_checked_and_digested_like_any_other() {
    let [whole, pieces] = [(); 2].map(|()| Receiving::into(Arc::new(MemoryStore::new(SIZE))));
    let extent = Extent::between(0, SIZE);
    let data: bytes::Bytes = (0..SIZE).map(|at| (at / 999) as u8).collect();
    let epoch = whole.attach().await.epoch;
    let request = Request::Write { offset: 0, data: data.clone(), fua: false };
    whole.volume.copy_in(epoch, request).await.expect("at W");
    let epoch = pieces.attach().await.epoch;
    let (_nothing, none) = tokio::sync::mpsc::channel(1);
    let elsewhere = pieces.volume.copy_in_pieces(epoch, Extent::between(LEAF, SIZE), none);
    let refused = elsewhere.await.expect_err("not at W").to_string();
    assert!(refused.contains("expected address 0"), "{refused}");
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    for range in [0..5, 5..100_000, 100_000..data.len()] {
        sender.try_send(data.slice(range)).expect("there is room");
    }
    drop(sender);
    pieces.volume.copy_in_pieces(epoch, extent, receiver).await.expect("at W");
    let digest = |receiving: &Receiving| {
        let receiver = receiving.volume.receiver().expect("a receiver");
        receiver.read(|destination| (destination.reserved(), destination.stream().digest()))
    };
    assert_eq!(digest(&pieces), digest(&whole));
}

#[tokio::test]
async fn i8_a_mirror_write_that_ready_overtook_is_durable_when_it_is_answered() {
    let slow = |request: &Request| request.extent().is_some_and(|extent| extent.len() == 8);
    let flushes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&flushes);
    let watched = Faulty::new(MemoryStore::new(SIZE), move |request: &Request| {
        seen.lock().expect("no panic").push(*request == Request::Flush);
        None
    });
    let gate = Arc::new(Gate::new(watched, slow));
    let receiving = Receiving::into(gate.clone());
    let epoch = receiving.attach().await.epoch;
    receiving.copy(epoch, SIZE).await.expect("at W");
    receiving.checkpoint(epoch).await.expect("a checkpoint");
    let mut mirrored = std::pin::pin!(receiving.mirror(epoch));
    assert!(futures_util::poll!(mirrored.as_mut()).is_pending());
    receiving.ready(epoch).await.expect("a promise");
    gate.open();
    let answered = tokio::time::timeout(SOON, mirrored).await.expect("the gate is open");
    answered.expect("a mirror write below W");
    let last = flushes.lock().expect("no panic").last().copied();
    assert_eq!(last, Some(true), "nothing made it durable after it was written");
}

/// Set where the test below runs under a limit.
const LIMITED: &str = "BLOCKFERRY_TEST_LIMITED";

/// Runs a test of this file again, where no file may grow beyond a kilobyte.
fn again_with_small_files(test: &str) {
    let here = module_path!().split_once("::").expect("a module of this crate").1;
    let ran = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", &format!("{here}::{test}")])
        .env(LIMITED, "1")
        .output()
        .expect("a shell");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
async fn i9_a_destination_whose_record_failed_is_attached_to_once_it_is_started_again() {
    if std::env::var_os(LIMITED).is_none() {
        return again_with_small_files(
            "i9_a_destination_whose_record_failed_is_attached_to_once_it_is_started_again",
        );
    }
    let receiving = Receiving::into(Arc::new(MemoryStore::new(SIZE)));
    let epoch = receiving.attach().await.epoch;
    receiving.copy(epoch, LEAF).await.expect("at W");
    let mut checkpoints = 0;
    while receiving.checkpoint(epoch).await.is_ok() {
        checkpoints += 1;
        assert!(checkpoints < 100, "the journal never meets the limit");
    }
    assert!(checkpoints > 0, "no record fits");
    // Again and again: it does not wear off.
    for _ in 0..2 {
        let Err(Refused::Conflict(why)) = receiving.try_to_attach().await else {
            panic!("what the journal holds is not known");
        };
        assert!(why.contains("a record failed") && why.contains("started again"), "{why}");
    }
    let attached = receiving.restarted().attach().await;
    assert_eq!(attached.reserved_address, LEAF, "what the journal holds");
}
