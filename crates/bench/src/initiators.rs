//! iSCSI clients, both over libiscsi: iscsi-perf, which reads, and `qemu-img bench`, which writes, too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::child;
use crate::record::Values;

/// iSCSI's blocks, in bytes.
const BLOCK_BYTES: u64 = 512;
/// How far apart two requests of `qemu-img bench` begin that are not to be in sequence, in bytes: it
/// knows no random ones.
const APART_BYTES: u64 = (1 << 20) + (4 << 10);

/// Requests of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    pub(crate) write: bool,
    /// Bytes of each.
    pub(crate) bytes: u64,
    pub(crate) depth: usize,
    /// All over the volume, instead of one after the other.
    pub(crate) scattered: bool,
}

/// What a client saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) iops: f64,
    pub(crate) requests: f64,
    /// The client's processor time as a share of the time that it took.
    pub(crate) client_share: f64,
}

impl Seen {
    /// As figures, with the server's processor time for each request.
    pub(crate) fn values(&self, bytes: u64, server_seconds: f64) -> Values {
        [
            ("iops", self.iops),
            ("mbps", self.iops * bytes as f64 / 1e6),
            ("cpu_us", server_seconds * 1e6 / self.requests.max(1.0)),
            ("client_share", self.client_share),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// Reads for so many seconds with iscsi-perf.
pub(crate) fn iscsi_perf(uri: &str, requests: &Requests, seconds: u64) -> Result<Seen> {
    let mut command = Command::new("iscsi-perf");
    command.args(["-m", &requests.depth.to_string()]);
    command.args(["-b", &(requests.bytes / BLOCK_BYTES).to_string()]);
    command.args(["-t", &seconds.to_string()]);
    if requests.scattered {
        command.arg("-r");
    }
    let (said, client_share) = watched(command.arg(uri))?;
    let iops = average(&said).with_context(|| format!("iscsi-perf said {:?}", said.trim()))?;
    Ok(Seen { iops, requests: iops * seconds as f64, client_share })
}

/// The last average that iscsi-perf has told, in requests a second.
fn average(said: &str) -> Option<f64> {
    let (_, last) = said.rsplit_once("iops average ")?;
    last.split_whitespace().next()?.parse().ok()
}

/// A `qemu-img` with iSCSI, unpacked into a folder and not installed.
#[derive(Clone, Debug)]
pub(crate) struct QemuImg(PathBuf);

impl QemuImg {
    /// The one that `dev/bench` unpacks; `None` where there is none.
    pub(crate) fn find(peers: &Path) -> Option<Self> {
        let root = peers.join("qemu");
        root.join("usr/bin/qemu-img").is_file().then_some(Self(root))
    }

    /// Makes so many requests.
    pub(crate) fn bench(&self, uri: &str, requests: &Requests, count: u64) -> Result<Seen> {
        let mut command = Command::new(self.0.join("usr/bin/qemu-img"));
        let modules = self.0.join("usr/lib/x86_64-linux-gnu/qemu");
        command.env("QEMU_MODULE_DIR", modules);
        command.args(["bench", "-f", "raw", "-t", "none", "-c", &count.to_string()]);
        command.args(["-s", &requests.bytes.to_string(), "-d", &requests.depth.to_string()]);
        if requests.scattered {
            command.args(["-S", &APART_BYTES.to_string()]);
        }
        if requests.write {
            command.arg("-w");
        }
        let (said, client_share) = watched(command.arg(uri))?;
        let seconds = seconds(&said).with_context(|| format!("qemu-img said {:?}", said.trim()))?;
        Ok(Seen { iops: count as f64 / seconds, requests: count as f64, client_share })
    }
}

/// `Run completed in 3.751 seconds.`
fn seconds(said: &str) -> Option<f64> {
    let (_, rest) = said.split_once("Run completed in ")?;
    let seconds = rest.split_whitespace().next()?.parse::<f64>().ok()?;
    (seconds > 0.0).then_some(seconds)
}

/// Runs a client to its end; gives what it said, and its processor time as a share of the time.
fn watched(command: &mut Command) -> Result<(String, f64)> {
    let (begun, before) = (Instant::now(), child::seconds_of_ended());
    let said = child::run(command)?;
    let used = child::seconds_of_ended() - before;
    Ok((said, used / begun.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_average_of_iscsi_perf_counts() {
        let said = "iops current 10 (0 MB/s), iops average 12 (0 MB/s)\r\
                    iops average 7432 (29 MB/s)    \n";
        assert_eq!(average(said), Some(7432.0));
        assert_eq!(average("Failed to login"), None);
    }

    #[test]
    fn the_time_of_qemu_img_is_read_and_none_is_no_result() {
        assert_eq!(
            seconds("Sending 9 read requests\nRun completed in 3.751 seconds.\n"),
            Some(3.751)
        );
        assert_eq!(seconds("Run completed in 0.000 seconds."), None);
        assert_eq!(seconds("qemu-img: cannot open"), None);
    }

    #[test]
    fn figures_are_those_of_one_request() {
        let seen = Seen { iops: 1000.0, requests: 3000.0, client_share: 0.5 };
        let values = seen.values(4096, 0.03);
        assert!((values["cpu_us"] - 10.0).abs() < 1e-9 && (values["mbps"] - 4.096).abs() < 1e-9);
    }
}
