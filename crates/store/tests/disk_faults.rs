//! A disk that fails, and what goes to the disk: the kernel's answers are changed or watched by
//! `strace`, limits are set by a shell, so each test runs itself again under them. Without `strace`
//! (or the right to trace) the tests that need it say so and end.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use blockferry_device::{Errno, Request};
use blockferry_store::{FileStore, Store};
use bytes::Bytes;
use common::{done, extent, flush, read, sparse_file, trim, write};

const PATH_VARIABLE: &str = "BLOCKFERRY_TEST_VOLUME";

const SIZE: u64 = 1 << 20;

/// Runs the ignored test `part` under `strace`; what it traced, or `None` without `strace`.
fn under_strace(part: &str, expressions: &[&str]) -> Option<String> {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("not checked: strace cannot be run here");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let mut command = Command::new("strace");
    // Only calls on the volume's file are watched and changed, not those of the test's own start.
    command.arg("-f").arg("-o").arg(&trace).arg("-P").arg(directory.path().join("volume"));
    for expression in expressions {
        command.args(["-e", expression]);
    }
    command.arg(std::env::current_exe().unwrap());
    run_part(command, part, directory.path());
    Some(std::fs::read_to_string(trace).unwrap())
}

fn run_part(mut command: Command, part: &str, directory: &Path) {
    let output = command
        .args(["--exact", "--ignored", part])
        .env(PATH_VARIABLE, sparse_file(directory, SIZE))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn path() -> PathBuf {
    std::env::var_os(PATH_VARIABLE).unwrap().into()
}

fn durable_write() -> Request {
    Request::Write { offset: 0, data: Bytes::from_static(&[5; 4096]), fua: true }
}

#[test]
fn after_a_failed_fdatasync_nothing_is_called_durable_any_more() {
    let Some(trace) = under_strace("flush_fails", &["inject=fdatasync:error=EIO:when=1"]) else {
        return;
    };
    let asked = trace.matches("fdatasync(").count();
    assert_eq!(asked, 1, "the kernel, asked again, would have called the lost write durable");
}

#[tokio::test]
#[ignore = "run by the test above, under strace"]
async fn flush_fails() {
    let store = FileStore::open(&path(), false).unwrap();
    write(&store, 0, &[1; 4096]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(flush(&store).await.unwrap_err().errno, Errno::Io);
        assert_eq!(done(&store, durable_write()).await.unwrap_err().errno, Errno::Io);
    }
    let zeroes = Request::Trim { extent: extent(0, 4096), fua: true };
    assert_eq!(done(&store, zeroes).await.unwrap_err().errno, Errno::Io);
    write(&store, 0, &[2; 4096]).await.unwrap();
    assert_eq!(read(&store, extent(0, 4096)).await.unwrap(), [2; 4096]);
}

#[test]
fn what_is_written_again_after_a_failed_fdatasync_can_be_durable_again() {
    let faults = ["inject=fdatasync:error=EIO:when=1"];
    let Some(trace) = under_strace("flush_fails_once", &faults) else { return };
    assert_eq!(trace.matches("fdatasync(").count(), 2, "the disk was asked again");
}

#[test]
#[ignore = "run by the test above, under strace"]
fn flush_fails_once() {
    // strace counts calls by thread, and each thread's first one fails.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let store = FileStore::open(&path(), false).unwrap();
        write(&store, 0, &[1; 4096]).await.unwrap();
        assert_eq!(flush(&store).await.unwrap_err().errno, Errno::Io);
        store.forget_losses();
        write(&store, 0, &[1; 4096]).await.unwrap();
        flush(&store).await.unwrap();
    });
}

#[test]
fn a_durable_request_reaches_the_disk_before_it_is_answered_and_others_need_not() {
    let calls = ["trace=pwrite64,pwritev2,fdatasync,fallocate"];
    let Some(trace) = under_strace("durable_requests", &calls) else { return };
    let calls: Vec<&str> = trace
        .lines()
        .filter_map(|line| {
            ["RWF_DSYNC", "fdatasync", "pwrite64", "PUNCH_HOLE"].into_iter().find(|name| {
                // The probe at the beginning punches behind the end.
                line.contains(name) && !line.contains("1048576, 4096")
            })
        })
        .collect();
    assert_eq!(
        calls,
        ["pwrite64", "RWF_DSYNC", "PUNCH_HOLE", "PUNCH_HOLE", "fdatasync", "fdatasync"]
    );
}

#[tokio::test]
#[ignore = "run by the test above, under strace"]
async fn durable_requests() {
    let store = FileStore::open(&path(), false).unwrap();
    write(&store, 0, &[1; 4096]).await.unwrap();
    done(&store, durable_write()).await.unwrap();
    trim(&store, extent(0, 4096)).await.unwrap();
    done(&store, Request::Trim { extent: extent(0, 4096), fua: true }).await.unwrap();
    flush(&store).await.unwrap();
}

#[test]
fn an_interrupted_call_is_made_again() {
    let interrupted = [
        "inject=pwrite64:error=EINTR:when=1",
        "inject=pread64:error=EINTR:when=1",
        "inject=fallocate:error=EINTR:when=2",
    ];
    under_strace("plain_requests", &interrupted);
}

/// The kernel is said to have written four bytes: those that were there before.
#[test]
fn a_call_that_does_a_part_is_followed_by_one_for_the_rest() {
    let parts = ["inject=pwrite64:retval=4:when=1", "inject=pwritev2:retval=4:when=1"];
    let Some(trace) = under_strace("writes_in_parts", &parts) else { return };
    for rest in ["4092, 4) = 4092", "iov_len=4092}], 1, 8196, RWF_DSYNC) = 4092"] {
        assert!(trace.contains(rest), "no {rest:?} in {trace}");
    }
}

#[tokio::test]
#[ignore = "run by the test above, under strace"]
async fn writes_in_parts() {
    let store = FileStore::open(&path(), false).unwrap();
    let data = Bytes::from([vec![0; 4], vec![5; 4092]].concat());
    for (offset, fua) in [(0, false), (8192, true)] {
        let request = Request::Write { offset, data: data.clone(), fua };
        done(&store, request).await.unwrap();
        assert_eq!(read(&store, extent(offset, offset + 4096)).await.unwrap(), data);
    }
}

#[test]
fn a_file_system_that_cannot_answer_from_the_page_cache_or_zero_ranges_does_as_well() {
    let unsupported = ["inject=preadv2:error=EOPNOTSUPP", "inject=fallocate:error=EOPNOTSUPP"];
    under_strace("requests_without_trim", &unsupported);
}

async fn write_zero_and_read(store: &FileStore) {
    write(store, 0, &[3; 8192]).await.unwrap();
    let extent = extent(1, 4097);
    let request = Request::WriteZeroes { extent, fua: false, no_hole: false, fast_zero: false };
    done(store, request).await.unwrap();
    let mut expected = vec![3; 8192];
    expected[1..4097].fill(0);
    assert_eq!(read(store, common::extent(0, 8192)).await.unwrap(), expected);
    let request = Request::Read { extent: common::extent(0, SIZE), dont_fragment: true };
    assert!(matches!(
        blockferry_device::Device::call(store, request).await.unwrap(),
        blockferry_device::Reply::Read(parts) if common::flatten(&parts)[..8192] == expected
    ));
}

#[tokio::test]
#[ignore = "run by a test above, under strace"]
async fn plain_requests() {
    let store = FileStore::open(&path(), false).unwrap();
    write_zero_and_read(&store).await;
}

#[tokio::test]
#[ignore = "run by a test above, under strace"]
async fn requests_without_trim() {
    let store = FileStore::open(&path(), false).unwrap();
    assert!(!blockferry_device::Device::info(&store).features.trim);
    write_zero_and_read(&store).await;
    let request = |fast_zero| {
        let extent = extent(0, 4096);
        Request::WriteZeroes { extent, fua: false, no_hole: false, fast_zero }
    };
    assert_eq!(done(&store, request(true)).await.unwrap_err().errno, Errno::NotSup);
    done(&store, request(false)).await.unwrap();
}

#[test]
fn a_disk_that_takes_no_more_is_told_as_such_and_keeps_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    run_part(command, "disk_is_full", directory.path());
}

#[tokio::test]
#[ignore = "run by the test above, under a limit of 8 KiB"]
async fn disk_is_full() {
    let store = FileStore::open(&path(), false).unwrap();
    write(&store, 0, &[1; 4096]).await.unwrap();
    // Half of this fits, so that a short write precedes the error.
    assert_eq!(write(&store, 4096, &[2; 8192]).await.unwrap_err().errno, Errno::NoSpc);
    let request = Request::Write { offset: 16384, data: Bytes::from_static(&[3; 1]), fua: true };
    assert_eq!(done(&store, request).await.unwrap_err().errno, Errno::NoSpc);
    flush(&store).await.unwrap();
    assert_eq!(read(&store, extent(0, 4096)).await.unwrap(), [1; 4096]);
}
