//! The three servers as a service manager knows them: their settings, their signals, their exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

use blockferry_tests::cast::{Process, binary};
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
