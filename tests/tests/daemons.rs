//! The three servers as a service manager knows them: their settings, their signals, their exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

use blockferry_tests::cast::{Process, binary, until};
use blockferry_tests::tree;

/// A server, and the example of its settings.
const SERVERS: [(&str, &str); 3] = [
    ("target-src", "packaging/target.toml"),
    ("target-dst", "packaging/target.toml"),
    ("switch-proxy", "packaging/switch-proxy.toml"),
];

#[tokio::test]
async fn the_example_settings_are_taken_and_a_server_ends_cleanly_on_sigterm() {
    for (name, settings) in SERVERS {
        let folder = tempfile::tempdir().unwrap();
        let settings = relocated(settings, folder.path());
        let mut server =
            Process::start(name, Command::new(binary(name)).args(["--config", &settings]));
        server.logged("serving NBD").await;
        server.logged("control API listens").await;
        let status = server.terminate().await;
        assert_eq!(status.code(), Some(0), "{name} ended with {status}");
    }
}

#[test]
fn bad_usage_ends_with_2_and_one_line_that_says_what_is_missing() {
    for (name, _) in SERVERS {
        let output = Command::new(binary(name)).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(message.trim().lines().count(), 1, "{message}");
        assert!(message.starts_with(&format!("{name}: ")) && message.contains("--"), "{message}");
    }
}

/// What a server makes and syncs in the file system, with what its descriptors are.
const TRACER: [&str; 5] = ["-D", "-f", "-y", "-e", "trace=mkdir,mkdirat,fsync"];

#[tokio::test]
async fn a_state_folder_that_a_server_makes_outlives_a_loss_of_power() {
    for (name, settings) in SERVERS {
        let folder = tempfile::tempdir().unwrap();
        let settings = relocated(settings, folder.path());
        let root = folder.path().canonicalize().unwrap();
        let (above, trace) = (root.join("new"), root.join("trace"));
        let mut traced = Command::new("strace");
        traced.args(TRACER).arg("-o").arg(&trace).arg(binary(name));
        traced.args(["--config", &settings, "--state"]).arg(above.join("state"));
        let mut server = Process::start(name, &mut traced);
        server.logged("serving NBD").await;
        server.terminate().await;
        let order = [
            format!("\"{}\"", above.display()),
            format!("<{}>)", root.display()),
            format!("\"{}\"", above.join("state").display()),
            format!("<{}>)", above.display()),
        ];
        until(&format!("the trace of {name} has, in this order, {order:?}"), async || {
            let trace = fs::read_to_string(&trace).ok()?;
            let mut lines = trace.lines();
            order.iter().all(|words| lines.any(|line| line.contains(words))).then_some(())
        })
        .await;
    }
}

/// The example with the folders of the system replaced by one of the test's own, and free ports.
fn relocated(settings: &str, folder: &Path) -> String {
    let own = folder.to_str().expect("a folder with a plain name");
    let mut text = tree::read(settings).unwrap().text;
    for (system, here) in [
        ("/run/blockferry", own),
        ("/var/lib/blockferry", own),
        ("nbd = \"127.0.0.1:10809\"", "nbd = \"127.0.0.1:0\""),
        ("listen = \"127.0.0.1:10810\"", "listen = \"127.0.0.1:0\""),
    ] {
        text = text.replace(system, here);
    }
    let path = folder.join("settings.toml");
    fs::write(&path, text).unwrap();
    path.to_str().expect("a plain name").to_owned()
}
