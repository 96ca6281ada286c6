//! The program from outside: exit codes, and what it says on stderr.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use blockferry_control::api::{
    MigrationStatus, PartyAddress, ProgramStatus, TermReply, VolumeRole, VolumeStatus,
};
use blockferry_control::{ControlServer, ListenAddress};
use tokio_util::sync::CancellationToken;

/// Nobody listens there: the port is reserved.
const NOBODY: &str = "http://127.0.0.1:1";

fn controller(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    controller(arguments).output().expect("it starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_usage_is_exit_code_2() {
    for arguments in [
        &["migrate"][..],
        &["migrate", "a/b", "--from", NOBODY, "--to", NOBODY],
        &["migrate", "vol", "--from", NOBODY],
        &["migrate", "vol", "--from", NOBODY, "--to", NOBODY, "--chunk", "3"],
        &["fly", "vol"],
        &[],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_failure_is_exit_code_1_and_one_line_that_names_everybody_who_is_away() {
    for command in ["migrate", "commit", "resume", "pause", "abort", "retire", "verify"] {
        let output = run(&[command, "vol", "--from", NOBODY, "--to", "http://127.0.0.1:2"]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{command}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{command}: {text}");
        assert!(text.contains(NOBODY) && text.contains("vol"), "{command}: {text}");
    }
    let text = stderr(&run(&["migrate", "vol", "--from", NOBODY, "--to", "http://127.0.0.1:2"]));
    assert!(text.contains("http://127.0.0.1:2") && text.contains("nothing was touched"), "{text}");
}

#[test]
fn status_shows_who_cannot_be_asked_and_is_no_failure() {
    let output = run(&["status", "vol", "--from", NOBODY, "--to", NOBODY]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("cannot reach") && text.contains("owner: unknown"), "{text}");
    let output = run(&["status", "vol", "--from", NOBODY, "--to", NOBODY, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(status["owner"], "unknown");
}

#[test]
fn help_and_version_are_exit_code_0() {
    for arguments in [&["--help"][..], &["--version"], &["migrate", "--help"]] {
        assert_eq!(run(arguments).status.code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_a_waiting_controller_with_exit_code_3() {
    let shutdown = CancellationToken::new();
    let _guard = shutdown.clone().drop_guard();
    let (source, destination) = (serve(true, &shutdown).await, serve(false, &shutdown).await);
    for signal in ["INT", "TERM"] {
        let (source, destination) = (source.clone(), destination.clone());
        let ended = tokio::task::spawn_blocking(move || interrupt(signal, &source, &destination));
        let (code, text) = ended.await.expect("the test's own thread");
        assert_eq!(code, Some(3), "{signal}: {text}");
        assert!(text.contains("resume"), "{text}");
    }
}

/// Starts `resume`, waits until it says that it waits, and sends it the signal.
fn interrupt(signal: &str, source: &str, destination: &str) -> (Option<i32>, String) {
    use std::io::{BufRead, BufReader};
    let mut child = controller(&["resume", "vol", "--from", source, "--to", destination])
        .spawn()
        .expect("it starts");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let waits = stdout.lines().map_while(Result::ok).any(|line| line.contains("not attached"));
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
    assert!(sent.expect("kill exists").success());
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().expect("it is ours").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it is ours");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it ended");
    assert!(waits, "it ended without waiting: {}", stderr(&output));
    (output.status.code(), stderr(&output))
}

/// A storage program in the middle of a migration that is not attached, and never will be.
async fn serve(is_source: bool, shutdown: &CancellationToken) -> String {
    let any: ListenAddress = "127.0.0.1:0".parse().expect("an address");
    let server = ControlServer::bind(&any, None).await.expect("a free port");
    let address = server.address().to_control(None).expect("an address").to_string();
    let term = TermReply { term: 2, token: "00".repeat(32), destination: party() };
    let router = Router::new()
        .route("/v1/status", get(async move || Json(program(is_source))))
        .route("/v1/volumes/vol", get(async move || Json(volume(is_source))))
        .route("/v1/volumes/vol/term", axum::routing::post(async move || Json(term.clone())))
        .route("/v1/volumes/vol/unpause", axum::routing::post(async || Json(())));
    tokio::spawn(server.serve(router.into(), shutdown.clone()));
    address
}

fn party() -> PartyAddress {
    PartyAddress { nbd: "nbd://127.0.0.1:1".to_owned(), control: NOBODY.to_owned(), iscsi: None }
}

fn program(is_source: bool) -> ProgramStatus {
    ProgramStatus {
        program: "fake".to_owned(),
        version: "0".to_owned(),
        protocol: 1,
        boot: u64::from(is_source),
        address: party(),
    }
}

fn volume(is_source: bool) -> VolumeStatus {
    VolumeStatus {
        name: "vol".to_owned(),
        size: 1 << 20,
        allocated_bytes: 1 << 20,
        role: if is_source { VolumeRole::Migrating } else { VolumeRole::Receiving },
        generation: 1,
        reserved_address: 0,
        durable_address: 0,
        read_cursor: 0,
        dirty_bytes: 0,
        in_flight_updates: 0,
        sessions: 0,
        features: Vec::new(),
        migration: Some(MigrationStatus {
            id: "00".repeat(16),
            term: 1,
            attempt: 0,
            epoch: 1,
            peer: party(),
            attached: false,
            paused: false,
            copied_bytes: 0,
            zero_bytes: 0,
            mirrored_bytes: 0,
            resynced_bytes: 0,
            rewinds: 0,
            longest_request_ms: 0.0,
            client_p99_ms: None,
            held_to_bytes_per_second: None,
            digest: None,
            trouble: None,
            paused_because: None,
            verified_bytes: 0,
            mismatched_bytes: 0,
        }),
    }
}
