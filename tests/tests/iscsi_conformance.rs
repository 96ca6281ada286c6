//! Volumes as disks by somebody else's judgement: the conformance suite of libiscsi, tests that lose data
//! included.

use std::process::Command;
use std::time::Duration;

use blockferry_block::{GIB, MIB};
use blockferry_control::api::VolumeRole;
use blockferry_tests::cast::{Cluster, ClusterSpec, Process, VOLUME, disk, sparse};

/// Size of the disk; the suite skips much on smaller ones.
const SIZE: u64 = 2 * GIB;

/// The suite waits for three seconds after each reset, and takes a minute with that.
const SUITE_MAX: Duration = Duration::from_secs(240);

/// What is copied while the suite runs, at a rate by which that takes half of its time.
const DATA: u64 = 32 * MIB;
const RATE: &str = "1M";

/// The suite has so many; each runs once.
const TESTS_MIN: usize = 615;

/// tgt 1.0.85 skips more on the same disk, and fails in 17 tests.
const SKIPPED_BY_TGT: usize = 205;

/// What the suite has run, in its order, and what it skipped.
type Findings = Vec<String>;

async fn cluster() -> Cluster {
    let spec = ClusterSpec::new().with_disks().with_portal_at_switch();
    sparse(&spec.file(), SIZE, [(0, DATA as usize)]);
    spec.with_file().await
}

/// What the suite finds at a portal, where nothing fails.
async fn suite(portal: &str) -> Findings {
    let arguments = ["--dataloss", "--fail", "--verbose", &disk(portal, "")];
    let mut suite = Process::start("iscsi-test-cu", Command::new("iscsi-test-cu").args(arguments));
    let ended = suite.end_within(SUITE_MAX).await;
    let (out, log) = (suite.out(), suite.log());
    assert!(ended.success(), "{ended}:\n{}\n{}", out.join("\n"), log.join("\n"));
    findings(&out)
}

/// How long a test takes, and the numbers that it has made up, are its own affair.
fn findings(out: &[String]) -> Findings {
    let lines = out.iter().map(|line| line.trim());
    let told = lines
        .filter(|line| line.starts_with("Suite:") || line.starts_with("Test:") || is_skip(line));
    told.map(str::to_owned).collect()
}

fn is_skip(line: &str) -> bool {
    line.contains("[SKIPPED]")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_suite_finds_the_same_before_during_and_after_a_move_and_behind_the_switch()
{
    let direct = async { suite(cluster().await.source.portal()).await };
    let before = async { suite(&cluster().await.switch.portal().await).await };
    let (direct, before, (during, after)) = tokio::join!(direct, before, during_and_after());
    let tests = direct.iter().filter(|line| line.starts_with("Test:")).count();
    let skipped = direct.iter().filter(|line| is_skip(line)).count();
    assert!(tests >= TESTS_MIN && skipped < SKIPPED_BY_TGT, "{tests} tests, {skipped} skips");
    for (when, found) in [("before", before), ("during", during), ("after", after)] {
        assert_eq!(found, direct, "behind the switch, {when} the move");
    }
}

/// What the suite finds behind the switch while its disk is copied, and after the move.
async fn during_and_after() -> (Findings, Findings) {
    let cluster = cluster().await;
    let portal = cluster.switch.portal().await;
    let copying = cluster.controller("migrate", &["--bandwidth", RATE, "--hold-at-ready"]);
    cluster.source.until_role(VOLUME, VolumeRole::Migrating).await;
    let during = suite(&portal).await;
    copying.done().await;
    assert_eq!(cluster.source.status(VOLUME).await.map(|s| s.role), Some(VolumeRole::Migrating));
    cluster.controller("commit", &[]).done().await;
    (during, suite(&portal).await)
}
