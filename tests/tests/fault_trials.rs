//! Whatever is killed, stopped or cut off, and whenever: nothing is lost, no client sees an error, and
//! there is one owner in the end. These are a few of the trials; `blockferry-trials` has them all.

use std::collections::BTreeMap;

use blockferry_label::LABELS;
use blockferry_tests::tree;
use blockferry_tests::trials::{Setting, Shown, Trial, run_one};

fn setting() -> Setting {
    let logs = tree::root().join("target/trials");
    Setting { logs, seed_fault: None, counted: None }
}

fn shown(trial: &str) -> Shown {
    let trial: Trial = trial.parse().expect("a trial");
    let verdict = run_one(&trial, &setting());
    verdict.result.unwrap_or_else(|why| panic!("{trial}: {why}\nlogs: {:?}", verdict.logs))
}

#[test]
fn every_label_is_reached() {
    let mut passed: BTreeMap<String, u64> = BTreeMap::new();
    for trial in [
        "x4",
        "x4 untold",
        "source/source.copy.read/4/kill x1",
        "destination/destination.mirror.begun/4/stop x1",
    ] {
        let one = shown(trial);
        assert!(one.struck, "{trial}");
        println!("{trial} {:#?}", one.passed);
        for (label, count) in one.passed {
            *passed.entry(label).or_default() += count;
        }
    }
    let missing: Vec<_> = LABELS.iter().filter(|label| !passed.contains_key(**label)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
