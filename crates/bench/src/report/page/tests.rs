use super::*;
use crate::record::{self, Record};
use crate::report::charts;

/// Two rounds of a copy, the second while others used the machine, and a peer that failed in it.
const RESULTS: &str = concat!(
    r#"{"kind":"machine","run":"2026-01-02T03:04:05Z","rounds":2,"quick":false,"processors":2,"processor":"a CPU","kernel":"6.1","memory":8589934592,"disk":"ext4","tmpfs":"tmpfs","versions":[["cp","9.1"]]}"#,
    "\n",
    r#"{"kind":"sample","run":"2026-01-02T03:04:05Z","part":"copy","round":1,"case":"tmpfs","system":"cp","others":0.1,"values":{"seconds":2.0}}"#,
    "\n",
    r#"{"kind":"sample","run":"2026-01-02T03:04:05Z","part":"copy","round":1,"case":"tmpfs","system":"blockferry","others":0.1,"values":{"seconds":2.6,"copy_seconds":2.0,"flush_seconds":0.05}}"#,
    "\n",
    r#"{"kind":"sample","run":"2026-01-02T03:04:05Z","part":"copy","round":2,"case":"tmpfs","system":"cp","others":1.2,"values":{"seconds":4.0}}"#,
    "\n",
    r#"{"kind":"sample","run":"2026-01-02T03:04:05Z","part":"copy","round":2,"case":"tmpfs","system":"blockferry","others":1.2,"values":{"seconds":6.8,"copy_seconds":6.0,"flush_seconds":0.05}}"#,
    "\n",
    r#"{"kind":"sample","run":"2026-01-02T03:04:05Z","part":"copy","round":2,"case":"tmpfs","system":"nbdcopy","others":1.2,"note":"failed: no room"}"#,
    "\n",
);

fn records() -> Vec<Record> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.jsonl");
    std::fs::write(&path, RESULTS).unwrap();
    record::read_all(&[path]).unwrap()
}

fn rendered(quiet_only: bool) -> String {
    let results = Results::of(&records(), quiet_only);
    page(&results, &charts::all(&results.samples))
}

fn assert_has(page: &str, line: &str) {
    assert!(page.lines().any(|other| other == line), "no line {line:?} in:\n{page}");
}

#[test]
fn a_line_has_medians_ranges_its_ratio_and_its_verdict() {
    let page = rendered(false);
    assert_has(
        &page,
        "| 2 GiB on tmpfs against cp | cp 3.00 s (2.00 to 4.00) | 4.70 s (2.60 to 6.80) | \
         1.50 (1.30 to 1.70) | ≤ 1.5 | yes | 2 (1 busy) |",
    );
    assert_has(&page, "| 2 GiB on disk against cp | – | – | – | ≤ 1.5 | not measured | 0 |");
}

#[test]
fn all_figures_of_a_part_stand_in_its_table_and_remarks_under_it() {
    let page = rendered(false);
    assert_has(&page, "| case | system | seconds | copy | flush |");
    assert_has(&page, "| tmpfs | cp | 3.00 s (2.00 to 4.00) | – | – |");
    assert_has(
        &page,
        "| tmpfs | blockferry | 4.70 s (2.60 to 6.80) | 4.00 s (2.00 to 6.00) | 0.050 s |",
    );
    assert_has(&page, "- tmpfs, nbdcopy: failed: no room (1 times)");
    assert!(page.contains("](benchmarks/copy.svg)"), "{page}");
    assert!(!page.contains("## Serving"), "a part without results has no section");
}

#[test]
fn a_busy_machine_is_told_of_and_its_rounds_can_be_left_out() {
    let page = rendered(false);
    assert!(page.contains("**The machine was busy: others used up to 1.2 processors"), "{page}");
    let quiet = rendered(true);
    assert!(!quiet.contains("machine was busy") && !quiet.contains(" busy)"), "{quiet}");
    assert_has(
        &quiet,
        "| 2 GiB on tmpfs against cp | cp 2.00 s | 2.60 s | 1.30 | ≤ 1.5 | yes | 1 |",
    );
}

#[test]
fn the_machine_is_described() {
    let page = rendered(false);
    assert_has(&page, "| processors | 2 (a CPU) |");
    assert_has(&page, "| memory | 8.0 GiB |");
    assert_has(&page, "| cp | 9.1 |");
}
