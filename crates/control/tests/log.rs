//! The log goes to stderr in the format asked for. A process has one log, so the test runs itself
//! again for each.

use std::process::{Command, Output};

use blockferry_control::log::{self, LogError};

const VARIABLE: &str = "BLOCKFERRY_TEST_LOG_FORMAT";

fn speak(format: &str) -> Output {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "speaker"])
        .env(VARIABLE, format)
        .output()
        .unwrap();
    assert!(output.status.success());
    output
}

#[test]
fn log_lines_go_to_stderr_filtered_by_level() {
    let text = String::from_utf8(speak("text").stderr).unwrap();
    assert!(text.contains("INFO") && text.contains("a volume moved volume=\"vol\""), "{text}");
    assert!(!text.contains("whispered"), "{text}");
}

#[test]
fn json_lines_are_one_object_each() {
    let output = speak("json");
    let line = String::from_utf8(output.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!((&line["message"], &line["volume"]), (&"a volume moved".into(), &"vol".into()));
}

#[test]
#[ignore = "run by the tests above, each in a process of its own"]
fn speaker() {
    let format = std::env::var(VARIABLE).unwrap().parse().unwrap();
    log::init("info", format).unwrap();
    assert!(matches!(log::init("info", format), Err(LogError::Twice)));
    tracing::info!(volume = "vol", "a volume moved");
    tracing::debug!("whispered");
}
