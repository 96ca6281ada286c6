//! Somebody else's initiator and conformance suite: libiscsi's.

mod support;

use std::process::{Command, Output};

use support::{Server, TARGET, serve};

/// Size of the disk in bytes. The suite skips much on smaller ones.
const SIZE: u64 = 2 << 30;

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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_says_what_it_is() {
    let server = serve(SIZE).await;
    let told = run("iscsi-inq", vec![url(&server)]).await;
    let text = text(&told);
    assert!(told.status.success() && text.contains("BLKFERRY"), "{text}");
}
