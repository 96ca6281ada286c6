//! Disks that fail under real programs, and the migration that is under way: a client hears what it
//! would hear without us, a migration that cannot go on says so and waits, and goes on once the disk
//! is mended (rows C1 to C7 of `docs/failures.md`).

use std::path::Path;

use blockferry_block::MIB;
use blockferry_control::api::VolumeStatus;
use blockferry_device::{Device, Errno, Request};
use blockferry_tests::cast::{
    Cluster, ClusterSpec, NbdKit, Outcome, VOLUME, busy, connect, fill_random, moves_on, write,
};

const SIZE_MIB: u64 = 8;

/// What a program runs under whose calls on one file fail. The tracer is not in its place (`-D`), so that
/// signals meet the program.
fn failing(file: &Path, fault: &str) -> Vec<String> {
    let file = file.display().to_string();
    let call = fault.split(':').next().unwrap_or_default();
    let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
    let tracer = ["strace", "-D", "--follow-forks", "-qqq", "-o", "/dev/null", "-e", "signal=none"];
    let what = ["-P", &file, "-e", &trace, "-e", &inject];
    tracer.iter().chain(&what).map(|&word| word.to_owned()).collect()
}

/// Calls on the destination's store fail.
async fn failing_at_destination(fault: &str) -> Cluster {
    let mut spec = ClusterSpec::new();
    let pool = spec.destination.pool.clone().expect("a pool");
    spec.destination.under = failing(&pool.join(VOLUME), fault);
    spec.random(SIZE_MIB).await
}

/// Starts the destination again, with a disk that is sound.
async fn mended_destination(cluster: &mut Cluster) {
    cluster.destination.kill9();
    cluster.destination.spec.under.clear();
    cluster.destination.restart().await;
}

/// The controller gave up with one line that says what to do.
fn assert_paused(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let line = outcome.err.last().expect("a line");
    for word in [words, "paused", "resume"] {
        assert!(line.contains(word), "no {word:?} in {line}");
    }
}

async fn source_status(cluster: &Cluster) -> VolumeStatus {
    cluster.source.status(VOLUME).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_at_the_destination_has_its_copy_made_again() {
    // The first flush of each thread: strace counts by thread.
    let mut cluster = failing_at_destination("fdatasync:error=EIO:when=1").await;
    cluster.migrate(&["--chunk", "1M", "--hold-at-ready"]).await;
    cluster.destination.process.logged("may have lost what no checkpoint covers").await;
    assert!(source_status(&cluster).await.migration.expect("a migration").rewinds > 0);
    mended_destination(&mut cluster).await;
    let load = busy(&cluster.uri(), 100).await;
    let copy = cluster.copy();
    cluster.ends_equal(load, async || copy.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_never_flushes_pauses_the_migration_with_a_line_that_says_so() {
    let mut cluster = failing_at_destination("fdatasync:error=EIO").await;
    let load = busy(&cluster.uri(), 100).await;
    let failed = cluster.controller("migrate", &["--chunk", "1M"]).end().await;
    assert_paused(&failed, "the destination cannot flush");
    moves_on(&load).await;
    let status = cluster.controller("status", &[]).done().await;
    assert!(status.out.concat().contains("the destination cannot flush"), "{status:?}");
    let migration = source_status(&cluster).await.migration.expect("a migration");
    assert!(migration.paused && migration.rewinds < 20, "{migration:?}");
    mended_destination(&mut cluster).await;
    cluster.controller("resume", &["--chunk", "1M", "--hold-at-ready"]).done().await;
    let copy = cluster.copy();
    cluster.ends_equal(load, async || copy.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_flush_tells_its_client_and_pauses_the_migration() {
    let mut spec = ClusterSpec::new();
    spec.source.under = failing(&spec.file(), "fdatasync:error=EIO");
    let mut cluster = spec.random(SIZE_MIB).await;
    let failed = cluster.controller("migrate", &["--chunk", "1M"]).end().await;
    assert_paused(&failed, "the source cannot flush");
    let (switched, direct) =
        (connect(&cluster.uri()).await, connect(&cluster.source.uri(VOLUME)).await);
    for client in [&switched, &direct] {
        write(client, 0, vec![7; 4096]).await.expect("a write");
        let told = client.call(Request::Flush).await.expect_err("a flush that failed");
        assert_eq!(told.errno, Errno::Io, "{told}");
    }
    cluster.source.kill9();
    cluster.source.spec.under.clear();
    cluster.source.restart().await;
    switched.call(Request::Flush).await.expect("a disk that is sound");
    cluster.migrate_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_sector_pauses_the_copy_and_nobody_else() {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), SIZE_MIB * MIB);
    let trigger = spec.scratch.join("broken");
    let store = store_with_error(&spec, "pread", &trigger).await;
    let spec = spec.source(|source| source.volume(VOLUME, store.uri().to_string()));
    let cluster = spec.start().await;
    std::fs::write(&trigger, "").expect("a file");
    let failed = cluster.controller("migrate", &["--chunk", "1M"]).end().await;
    assert_paused(&failed, "[0, ");
    let client = connect(&cluster.uri()).await;
    write(&client, 0, vec![7; 4096]).await.expect("a write is no concern of the copy's");
    assert_eq!(cluster.destination.status(VOLUME).await.expect("an answer").reserved_address, 0);
    std::fs::remove_file(&trigger).expect("it was there");
    cluster.migrate_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_at_its_owner_fails_at_the_client_and_both_sides_agree() {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), SIZE_MIB * MIB);
    let trigger = spec.scratch.join("broken");
    let store = store_with_error(&spec, "pwrite", &trigger).await;
    let spec = spec.source(|source| source.volume(VOLUME, store.uri().to_string()));
    let cluster = spec.start().await;
    let client = connect(&cluster.uri()).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    std::fs::write(&trigger, "").expect("a file");
    let told = write(&client, 4096, vec![7; 4096]).await.expect_err("the disk failed");
    assert_eq!(told.errno, Errno::Io, "{told}");
    std::fs::remove_file(&trigger).expect("it was there");
    cluster.source.until(VOLUME, "nothing dirty", |status| status.dirty_bytes == 0).await;
    cluster.assert_equal();
    cluster.migrate_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirrored_write_that_fails_is_dirty_and_no_concern_of_the_client() {
    let spec = ClusterSpec::new();
    fill_random(&spec.file(), SIZE_MIB * MIB);
    let (file, trigger, garbage) = (spec.file(), spec.scratch.join("broken"), spec.garbage());
    let arguments = error_filter(&garbage, "pwrite", &trigger);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let store = NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await;
    let spec = spec.source(|source| source.volume(VOLUME, file));
    let cluster = spec.received_in(store.uri().to_string()).start().await;
    cluster.migrate(&["--hold-at-ready"]).await;
    let client = connect(&cluster.uri()).await;
    std::fs::write(&trigger, "").expect("a file");
    write(&client, 4096, vec![7; 4096]).await.expect("the owner has it");
    client.call(Request::Flush).await.expect("the owner has it durably");
    assert!(source_status(&cluster).await.dirty_bytes > 0);
    std::fs::remove_file(&trigger).expect("it was there");
    cluster.source.until(VOLUME, "nothing dirty", |status| status.dirty_bytes == 0).await;
    blockferry_tests::cast::compare(&cluster.file(), &garbage).expect("sent again");
    cluster.migrate_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_records_are_damaged_says_where_and_does_not_start() {
    let mut cluster = Cluster::random(1).await;
    cluster.migrate(&["--hold-at-ready"]).await;
    cluster.source.kill9();
    let path = cluster.source.spec.state.join(format!("{VOLUME}.journal"));
    let mut records = std::fs::read(&path).expect("records");
    let middle = records.len() / 2;
    records[middle] ^= 1;
    std::fs::write(&path, &records).expect("a file");
    let (code, line) = cluster.source.spec.refused().await;
    assert_eq!(code, Some(1), "{line}");
    assert!(line.contains(path.to_str().expect("UTF-8")) && line.contains("damaged"), "{line}");
    assert_eq!(std::fs::read(&path).expect("records"), records, "it was not touched");
}

/// The volume's file behind nbdkit, which fails while the trigger is there.
async fn store_with_error(spec: &ClusterSpec, request: &str, trigger: &Path) -> NbdKit {
    let arguments = error_filter(&spec.file(), request, trigger);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    NbdKit::start(spec.scratch.join("nbdkit"), &arguments).await
}

fn error_filter(file: &Path, request: &str, trigger: &Path) -> Vec<String> {
    let words = ["--filter=error", "file", file.to_str().expect("UTF-8")].map(str::to_owned);
    let fault = [format!("error-{request}=EIO"), format!("error-{request}-rate=100%")];
    words.into_iter().chain(fault).chain([format!("error-file={}", trigger.display())]).collect()
}

/// What follows once the disk is mended.
trait GoesOn {
    async fn migrate_on(&self);
}

impl GoesOn for Cluster {
    async fn migrate_on(&self) {
        let load = busy(&self.uri(), 100).await;
        self.controller("resume", &["--chunk", "1M"]).done().await;
        self.ends_well(load).await;
    }
}
