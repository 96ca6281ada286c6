//! The program, against a server on loopback.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use blockferry_device::Device;
use blockferry_nbd_session::{
    ExportEntry, Exports, FenceRequest, Hello, OpenError, Opened, serve_all,
};
use blockferry_net::{Address, Limits, Listener, Threads};
use futures_util::future::{BoxFuture, FutureExt};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::volume::{Sin, Volume};

const SIZE: usize = 1 << 20;

/// Far above what any of these loads takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One volume, the same for everybody.
struct Only {
    device: Arc<dyn Device>,
    cut: CancellationToken,
}

impl Exports for Only {
    fn list(&self) -> Vec<ExportEntry> {
        Vec::new()
    }

    fn open<'a>(&'a self, name: &'a str, _: &'a Hello) -> BoxFuture<'a, Result<Opened, OpenError>> {
        let opened = Opened {
            name: name.to_owned(),
            description: String::new(),
            device: Arc::clone(&self.device),
            cut: self.cut.clone(),
            kept: None,
        };
        async { Ok(opened) }.boxed()
    }

    fn fence<'a>(&'a self, _: FenceRequest) -> BoxFuture<'a, Result<(), OpenError>> {
        async { Err(OpenError::Policy("nothing is fenced here".to_owned())) }.boxed()
    }
}

/// A server on loopback; it goes away when this is dropped.
struct Server {
    uri: String,
    cut: CancellationToken,
    _listening: AbortOnDropHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}

async fn serve(device: Arc<dyn Device>) -> Server {
    let any = Address::Tcp("127.0.0.1".to_owned(), 0);
    let listener = Listener::bind(&any).await.unwrap();
    let uri = format!("nbd://{}/vol", listener.address());
    let cut = CancellationToken::new();
    let exports = Arc::new(Only { device, cut: cut.clone() });
    let listening = serve_all(
        listener,
        Arc::new(Threads::start().unwrap()),
        exports,
        Arc::new(Limits::default()),
        cut.clone(),
    );
    Server { uri, cut, _listening: AbortOnDropHandle::new(tokio::spawn(listening)) }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blockferry-check"));
    command.kill_on_drop(true);
    command
}

async fn load(uri: &str, journal: &Path) -> Output {
    let journal = journal.to_str().unwrap();
    let arguments =
        ["load", uri, "--connections", "4", "--operations", "6000", "--hot-size", "64K"];
    program().args(arguments).args(["--journal", journal]).output().await.unwrap()
}

async fn verify(journal: &Path, volume: &str) -> Output {
    program().arg("verify").arg("--journal").arg(journal).arg(volume).output().await.unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_and_its_journal_pass_on_an_honest_server_and_on_its_image_file() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, image) = (folder.path().join("journal"), folder.path().join("image"));
    let volume = Volume::new(SIZE);
    let server = serve(volume.connect(Sin::None)).await;
    let output = load(&server.uri, &journal).await;
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("violations: none"), "{}", text(&output));
    let output = verify(&journal, &server.uri).await;
    assert!(output.status.success(), "{}", text(&output));

    let mut content = volume.content();
    std::fs::write(&image, &content).unwrap();
    let output = verify(&journal, image.to_str().unwrap()).await;
    assert!(output.status.success(), "{}", text(&output));
    let middle = SIZE / 2 + 1;
    content[middle] = !content[middle];
    std::fs::write(&image, &content).unwrap();
    let output = verify(&journal, image.to_str().unwrap()).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("violations: 1\n  [524288, 528384)"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drops_writes_fails_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Volume::new(SIZE).connect(Sin::DropsAWrite)).await;
    let output = load(&server.uri, &folder.path().join("journal")).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("lost or stale: holds"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_fails_the_load_which_ends_by_itself() {
    let server = serve(Volume::new(SIZE).connect(Sin::None)).await;
    let arguments = ["load", &server.uri, "--progress"];
    let mut load =
        program().args(arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(load.stderr.take().unwrap()).lines();
    assert!(progress.next_line().await.unwrap().unwrap().contains("violations 0"));
    drop(server);
    let output = timeout(PATIENCE, load.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("errors: 1"), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_load_with_its_report() {
    for signal in ["-TERM", "-INT"] {
        let server = serve(Volume::new(SIZE).connect(Sin::None)).await;
        let arguments = ["load", &server.uri, "--progress", "--json"];
        let mut load = program()
            .args(arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut progress = BufReader::new(load.stderr.take().unwrap()).lines();
        assert!(progress.next_line().await.unwrap().is_some());
        let id = load.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
        let output = timeout(PATIENCE, load.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{signal}: {}", text(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["clean"], true);
        assert!(report["operations"]["reads"].as_u64().unwrap() > 0);
    }
}

#[tokio::test]
async fn bad_usage_is_2_and_a_server_that_is_not_there_is_1() {
    let output = program().args(["load", "vol"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = program().args(["load", "nbd://127.0.0.1:1/vol"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("127.0.0.1:1"), "{}", text(&output));
}
