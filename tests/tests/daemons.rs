//! The three servers as a service manager knows them: their settings, their signals, their exit codes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use blockferry_tests::program::{Program, binary};
use blockferry_tests::tree;

/// A server, and the example of its settings.
const SERVERS: [(&str, &str); 3] = [
    ("target-src", "packaging/target.toml"),
    ("target-dst", "packaging/target.toml"),
    ("switch-proxy", "packaging/switch-proxy.toml"),
];

#[test]
fn the_example_settings_are_taken_and_a_server_ends_cleanly_on_sigterm() -> Result<()> {
    for (name, settings) in SERVERS {
        let folder = tempfile::tempdir()?;
        let settings = relocated(settings, folder.path())?;
        let mut program = Program::start(name, folder.path(), ["--config", &settings])?;
        program.nbd()?;
        program.control()?;
        let status = program.terminate()?;
        assert_eq!(status.code(), Some(0), "{name} ended with {status}");
    }
    Ok(())
}

#[test]
fn bad_usage_ends_with_2_and_one_line_that_says_what_is_missing() -> Result<()> {
    for (name, _) in SERVERS {
        let output = Command::new(binary(name)?).output().with_context(|| name)?;
        assert_eq!(output.status.code(), Some(2), "{name}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(message.trim().lines().count(), 1, "{message}");
        assert!(message.starts_with(&format!("{name}: ")) && message.contains("--"), "{message}");
    }
    Ok(())
}

/// The example with the folders of the system replaced by one of the test's own, and free ports.
fn relocated(settings: &str, folder: &Path) -> Result<String> {
    let folder = folder.to_str().context("a folder with a plain name")?;
    let text = tree::read(settings)?.text;
    let text = text.replace("/run/blockferry", folder).replace("/var/lib/blockferry", folder);
    let text = text.replace("127.0.0.1:10809\"\ncontrol", "127.0.0.1:0\"\ncontrol");
    let text = text.replace("127.0.0.1:10810\"\ncontrol", "127.0.0.1:0\"\ncontrol");
    let path = format!("{folder}/settings.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}
