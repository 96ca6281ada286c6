//! A disk that takes no more. The limit is a process's own (`ulimit -f`), so the test runs itself
//! again in a shell that sets it.

use std::path::Path;
use std::process::Command;

use blockferry_journal::{Journal, JournalError};

const PATH_VARIABLE: &str = "BLOCKFERRY_TEST_JOURNAL";

#[test]
fn when_the_disk_is_full_appending_stops_and_everything_acknowledged_stays() {
    if let Some(path) = std::env::var_os(PATH_VARIABLE) {
        return fill(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vol.journal");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("when_the_disk_is_full_appending_stops_and_everything_acknowledged_stays")
        .env(PATH_VARIABLE, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");

    let acknowledged: u64 =
        std::fs::read_to_string(path.with_extension("count")).unwrap().parse().unwrap();
    let (mut journal, records) = Journal::<String>::open(&path).unwrap();
    assert_eq!(records.len() as u64, acknowledged);
    assert!(journal.cut().is_some(), "the limit should have cut a record in two");
    journal.append(&"there is room again".to_owned()).unwrap();
}

/// What runs under the limit.
fn fill(path: &Path) {
    let (mut journal, _) = Journal::<String>::open(path).unwrap();
    let record = "0123456789".repeat(10);
    let mut acknowledged = 0_u64;
    let error = loop {
        match journal.append(&record) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "no limit was set");
    };
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    assert!(matches!(journal.append(&record), Err(JournalError::Poisoned { .. })));
    std::fs::write(path.with_extension("count"), acknowledged.to_string()).unwrap();
}
