//! Somebody else's initiator and conformance suite: libiscsi's.

mod support;

use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};

use blockferry_block::Extent;
use blockferry_device::{Answer, Device, DeviceInfo, Failure, Outcome, ReadPart, Reply, Request};
use blockferry_iscsi_session::{Change, Changed, Medium};
use blockferry_store::MemoryStore;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use support::{Server, TARGET, serve_on};

/// Size of the disk in bytes. The suite skips much on smaller ones.
const SIZE: u64 = 2 << 30;

/// Memory in which one update comes after the other.
struct OneByOne {
    memory: MemoryStore,
    turn: Mutex<()>,
}

impl Device for OneByOne {
    fn info(&self) -> &DeviceInfo {
        self.memory.info()
    }

    fn call(&self, request: Request) -> Answer {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.memory.call(request)
    }

    fn call_now(&self, request: &Request) -> Option<Outcome> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.memory.call_now(request)
    }
}

impl Medium for OneByOne {
    fn change(
        &self,
        extent: Extent,
        change: Change,
    ) -> BoxFuture<'static, Result<Changed, Failure>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.content(extent);
        let changed = match change.kind.of(&found) {
            Err(at) => Ok(Changed::Differs { at }),
            Ok(data) => {
                let write = Request::Write { offset: extent.start(), data, fua: change.fua };
                let written = self.memory.call(write).now_or_never().expect("memory does not wait");
                written.map(|_| Changed::Made)
            }
        };
        Box::pin(std::future::ready(changed))
    }
}

impl OneByOne {
    fn content(&self, extent: Extent) -> Vec<u8> {
        let read = self.memory.call(Request::Read { extent, dont_fragment: true });
        match read.now_or_never().expect("memory does not wait") {
            Ok(Reply::Read(parts)) => match parts.as_slice() {
                [ReadPart::Data(data)] => data.to_vec(),
                other => panic!("not in one piece: {other:?}"),
            },
            other => panic!("not read: {other:?}"),
        }
    }
}

/// Serves a thin disk of so many bytes.
async fn serve(bytes: u64) -> Server {
    let memory = MemoryStore::new(bytes);
    serve_on(bytes, Arc::new(OneByOne { memory, turn: Mutex::new(()) })).await
}

fn url(server: &Server) -> String {
    format!("iscsi://{}/{TARGET}/0", server.address)
}

async fn run(program: &'static str, arguments: Vec<String>) -> Output {
    let run = move || Command::new(program).args(arguments).output();
    tokio::task::spawn_blocking(run).await.expect("no panic").expect("libiscsi-bin is installed")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_found_by_whoever_looks_for_it() {
    let server = serve(SIZE).await;
    let portal = format!("iscsi://{}", server.address);
    let listed = run("iscsi-ls", vec!["--show-luns".into(), portal]).await;
    let text = text(&listed);
    assert!(listed.status.success() && text.contains(TARGET), "{text}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_says_what_it_is() {
    let server = serve(SIZE).await;
    let told = run("iscsi-inq", vec![url(&server)]).await;
    let text = text(&told);
    assert!(told.status.success() && text.contains("BLKFERRY"), "{text}");
    server.end().await;
}
