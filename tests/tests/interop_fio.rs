//! fio writes, reads back and verifies checksums through the switch while the volume moves.

use std::process::Command;
use std::time::Duration;

use blockferry_block::MIB;
use blockferry_tests::cast::{Cluster, Process, VOLUME};
use serde_json::Value;

const SIZE_MIB: u64 = 64;

/// fio ends by itself after so long; the test ends it when the move is over.
const RUN_MAX_S: u64 = 100;

/// Two jobs, each on a half of the volume of its own, that verify what they wrote soon after.
fn fio(cluster: &Cluster) -> Command {
    let mut fio = Command::new("fio");
    fio.args(["--name=move", "--ioengine=nbd", "--rw=randrw", "--bs=4k", "--iodepth=8"]);
    fio.args(["--numjobs=2", "--thread", "--group_reporting", "--time_based"]);
    fio.args(["--verify=crc32c", "--verify_backlog=256", "--verify_fatal=1", "--verify_dump=0"]);
    fio.args(["--rate_iops=1000,1000", "--fsync=64", "--randrepeat=0"]);
    fio.arg(format!("--uri={}", cluster.uri())).arg(format!("--runtime={RUN_MAX_S}"));
    fio.arg(format!("--size={}M", SIZE_MIB / 2))
        .arg(format!("--offset_increment={}M", SIZE_MIB / 2));
    fio.args(["--output-format=json", "--trigger-file=end"]).current_dir(cluster.scratch.path());
    fio
}

/// How many blocks it read, of its own accord and to verify what it wrote.
fn reads(fio: &Process) -> u64 {
    let report = fio.out().into_iter().skip_while(|line| line != "{").collect::<String>();
    let report: Value = serde_json::from_str(&report).expect("a report in JSON");
    report["jobs"][0]["read"]["total_ios"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn fio_verifies_every_checksum_of_two_jobs_across_the_cutover() {
    let cluster = Cluster::random(SIZE_MIB).await;
    let mut fio = Process::start("fio", &mut fio(&cluster));
    cluster.switch.until(VOLUME, "both jobs are here", |route| route.sessions >= 2).await;
    let done = cluster.migrate(&["--chunk", "1M", "--bandwidth", "24M"]).await.last();
    assert_eq!(done["passes"], 1, "{done}");
    assert!(done["mirrored_bytes"].as_u64() > Some(MIB), "fio wrote below the cursor: {done}");
    cluster.until_moved().await;
    assert!(fio.ended().is_none(), "fio ended before the cutover");
    std::fs::write(cluster.scratch.join("end"), "").expect("a file");
    let status = fio.end_within(Duration::from_secs(30)).await;
    assert!(status.success(), "fio ended with {status}: {}", fio.log().join("\n"));
    assert!(reads(&fio) > 1000, "fio read too little back: {:#?}", fio.out());
}
