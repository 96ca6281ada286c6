//! Volumes on other people's servers: nbdkit and qemu-nbd.

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use blockferry_device::{Device, SegmentState};
use blockferry_nbd_session::NbdUri;
use blockferry_net::Address;
use blockferry_store::RemoteStore;
use common::{extent, flush, read, sparse_file, status, trim, write};
use tokio::process::{Child, Command};

const MIB: u64 = 1 << 20;

/// No test waits longer for anything.
const SOON: Duration = Duration::from_secs(20);

/// A server on a unix socket in the directory; killed when dropped.
async fn start(directory: &Path, program: &str, args: &[&str]) -> Child {
    let socket = socket(directory);
    let mut process = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let listens = async {
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "{program} ended early");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, listens).await.unwrap();
    process
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("nbd.sock")
}

async fn nbdkit(directory: &Path, args: &[&str]) -> Child {
    let socket = socket(directory);
    let common = ["--foreground", "--exit-with-parent", "--unix", socket.to_str().unwrap()];
    start(directory, "nbdkit", &[&common, args].concat()).await
}

async fn connect(directory: &Path) -> RemoteStore {
    let uri = NbdUri { address: Address::Unix(socket(directory)), export: String::new() };
    tokio::time::timeout(SOON, RemoteStore::connect(&uri)).await.unwrap().unwrap()
}

/// Writes at odd places, zeroes some of it, and reads all of it.
async fn exercise(store: &RemoteStore) {
    assert_eq!(store.info().block_size_min, 1);
    let size = store.info().size;
    let mut expected = vec![0; usize::try_from(size).unwrap()];
    for (start, end, byte) in [(0, 4096, 1), (511, 70_001, 2), (size - 3, size, 3)] {
        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        expected[range.clone()].fill(byte);
        write(store, start, &expected[range]).await.unwrap();
    }
    if store.info().features.trim {
        expected[513..66_000].fill(0);
        trim(store, extent(513, 66_000)).await.unwrap();
    }
    flush(store).await.unwrap();
    assert!(read(store, extent(0, size)).await.unwrap() == expected);
    let told = status(store, extent(1, size), false).await.unwrap();
    let mut at = 1;
    for segment in told {
        let range = usize::try_from(at).unwrap()..usize::try_from(at + segment.length).unwrap();
        assert!(segment.state != SegmentState::HOLE || expected[range].iter().all(|b| *b == 0));
        at += segment.length;
    }
    assert!(at <= size);
}

#[tokio::test]
async fn a_plain_nbdkit_serves() {
    let directory = tempfile::tempdir().unwrap();
    let _server = nbdkit(directory.path(), &["memory", "8M"]).await;
    let store = connect(directory.path()).await;
    assert!(store.info().features.trim);
    exercise(&store).await;
}

#[tokio::test]
async fn an_nbdkit_that_refuses_parts_of_blocks_serves() {
    let directory = tempfile::tempdir().unwrap();
    let policy = ["blocksize-minimum=4096", "blocksize-error-policy=error"];
    let args = [&["--filter=blocksize-policy", "memory", "8M"][..], &policy].concat();
    let _server = nbdkit(directory.path(), &args).await;
    exercise(&connect(directory.path()).await).await;
}

#[tokio::test]
async fn an_nbdkit_without_extents_zeroes_and_trims_serves() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--filter=noextents", "--filter=nozero", "memory", "8M", "zeromode=none"];
    let _server = nbdkit(directory.path(), &args).await;
    let store = connect(directory.path()).await;
    assert!(!store.info().features.trim);
    exercise(&store).await;
}

#[tokio::test]
async fn a_qemu_nbd_serves() {
    let directory = tempfile::tempdir().unwrap();
    let file = sparse_file(directory.path(), 8 * MIB);
    let socket = format!("--socket={}", socket(directory.path()).display());
    let args = ["--persistent", "--format=raw", "--discard=unmap", &socket, file.to_str().unwrap()];
    let _server = start(directory.path(), "qemu-nbd", &args).await;
    let store = connect(directory.path()).await;
    exercise(&store).await;
}

#[tokio::test]
async fn a_server_that_is_killed_and_started_again_goes_unnoticed() {
    let directory = tempfile::tempdir().unwrap();
    let file = sparse_file(directory.path(), 8 * MIB);
    let args = ["file", file.to_str().unwrap()];
    let mut server = nbdkit(directory.path(), &args).await;
    let store = connect(directory.path()).await;
    for turn in 0..3 {
        write(&store, turn, b"x").await.unwrap();
        server.kill().await.unwrap();
        std::fs::remove_file(socket(directory.path())).unwrap();
        let waiting = write(&store, turn + 100, b"y");
        let restarted = nbdkit(directory.path(), &args);
        let (written, restarted) = tokio::join!(tokio::time::timeout(SOON, waiting), restarted);
        written.unwrap().unwrap();
        server = restarted;
        assert_eq!(read(&store, extent(turn, turn + 1)).await.unwrap(), b"x");
        assert_eq!(read(&store, extent(turn + 100, turn + 101)).await.unwrap(), b"y");
    }
}
