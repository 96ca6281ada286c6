//! The program as scripts see it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_switch-proxy");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn start(state: &str) -> Child {
    let fixed = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--log-format", "json"];
    Command::new(PROGRAM)
        .args(fixed)
        .args(["--state", state])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_until_it_serves(child: &mut Child) {
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("serving NBD")), "it ended instead");
}

#[test]
fn bad_usage_exits_with_2_and_says_what_was_expected() {
    let everything = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--state", "/x"];
    for (more, word) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--route", "vol"], "NAME=nbd://"),
        (&["--log", "loud"], "--log"),
    ] {
        let output = run(&[&everything[..], more].concat());
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_failure_exits_with_1_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let state = file.to_str().unwrap();
    let output = run(&["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--state", state]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(state), "{text}");
}

#[test]
fn a_second_switch_on_the_same_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let mut first = start(state);
    wait_until_it_serves(&mut first);
    let output = run(&["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--state", state]);
    assert_eq!(output.status.code(), Some(1));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_terminated_switch_exits_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start(dir.path().to_str().unwrap());
    wait_until_it_serves(&mut child);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
