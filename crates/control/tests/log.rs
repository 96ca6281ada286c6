//! The log goes to stderr in the format asked for. A process has one log, so the test runs itself
//! again for each.

use std::process::{Command, Output};

use blockferry_control::log::{self, LogError, LogFormat};

const VARIABLE: &str = "BLOCKFERRY_TEST_LOG_FORMAT";

/// What a process of its own logs that runs only the named test; `None` in that process, which has
/// logged then.
fn spoken(test: &str, format: &str) -> Option<Output> {
    if let Ok(format) = std::env::var(VARIABLE) {
        speak(&format);
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(VARIABLE, format)
        .output()
        .unwrap();
    assert!(output.status.success());
    Some(output)
}

fn speak(format: &str) {
    log::init("info", format.parse().unwrap()).unwrap();
    assert!(matches!(log::init("info", LogFormat::Text), Err(LogError::Twice)));
    tracing::info!(volume = "vol", "a volume moved");
    tracing::debug!("whispered");
}

#[test]
fn log_lines_go_to_stderr_filtered_by_level() {
    let Some(output) = spoken("log_lines_go_to_stderr_filtered_by_level", "text") else { return };
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("INFO") && text.contains("a volume moved volume=\"vol\""), "{text}");
    assert!(!text.contains("whispered"), "{text}");
}

#[test]
fn json_lines_are_one_object_each() {
    let Some(output) = spoken("json_lines_are_one_object_each", "json") else { return };
    let line = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!((&line["message"], &line["volume"]), (&"a volume moved".into(), &"vol".into()));
}
