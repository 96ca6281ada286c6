//! fio as the client: the load that every peer knows, through libnbd.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::child;
use crate::record::Values;
use crate::requests::Finished;

/// One of fio's jobs on an NBD export.
#[derive(Clone, Debug)]
pub(crate) struct Fio<'a> {
    pub(crate) server: SocketAddr,
    pub(crate) export: &'a str,
    /// fio's own options for the pattern, like `--rw=randread --bs=4k --iodepth=1`.
    pub(crate) pattern: &'a str,
    pub(crate) seconds: u64,
}

/// What fio's client saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) iops: f64,
    /// Bytes a second.
    pub(crate) bandwidth: f64,
    /// 99th percentile of the requests' times, in microseconds.
    pub(crate) p99_us: f64,
    pub(crate) requests: u64,
}

impl Seen {
    /// As figures, with the server's processor time for each request.
    pub(crate) fn values(&self, cpu_seconds: f64) -> Values {
        let cpu_us = cpu_seconds * 1e6 / self.requests.max(1) as f64;
        [
            ("iops", self.iops),
            ("mbps", self.bandwidth / 1e6),
            ("p99_us", self.p99_us),
            ("cpu_us", cpu_us),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl Fio<'_> {
    /// The command without anything about its end.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("fio");
        let uri = format!("--uri=nbd://{}/{}", self.server, self.export);
        command.args(["--name=x", "--ioengine=nbd", &uri, "--time_based"]);
        command.arg(format!("--runtime={}", self.seconds));
        command.args(self.pattern.split_whitespace());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Result<Seen> {
        parse(&child::run(self.command().arg("--output-format=json"))?)
    }
}

#[derive(Deserialize)]
struct Output {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    error: i32,
    read: Direction,
    write: Direction,
}

#[derive(Deserialize)]
struct Direction {
    iops: f64,
    bw_bytes: f64,
    total_ios: u64,
    clat_ns: Latency,
}

#[derive(Deserialize)]
struct Latency {
    #[serde(default)]
    percentile: std::collections::BTreeMap<String, f64>,
}

/// Reads fio's JSON, which notes may stand before.
fn parse(text: &str) -> Result<Seen> {
    let json = text.find('{').map(|start| &text[start..]).context("fio printed no JSON")?;
    let output: Output = serde_json::from_str(json).context("fio printed other JSON")?;
    let job = output.jobs.first().context("fio ran no job")?;
    ensure!(job.error == 0, "fio's requests failed with error {}", job.error);
    let both = [&job.read, &job.write];
    let p99 = both.map(|direction| direction.clat_ns.percentile.get("99.000000"));
    let p99_ns = p99.into_iter().flatten().copied().fold(0.0, f64::max);
    Ok(Seen {
        iops: both.map(|direction| direction.iops).iter().sum(),
        bandwidth: both.map(|direction| direction.bw_bytes).iter().sum(),
        p99_us: p99_ns / 1e3,
        requests: both.map(|direction| direction.total_ios).iter().sum(),
    })
}

/// Reads the log that `--write_lat_log` with `--log_unix_epoch=1` writes: a line for each request,
/// `milliseconds at its end, nanoseconds it took, ...`.
pub(crate) fn read_log(path: &Path) -> Result<Vec<Finished>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("fio left no log at {}", path.display()))?;
    text.lines().map(|line| parse_line(line).with_context(|| line.to_owned())).collect()
}

fn parse_line(line: &str) -> Result<Finished> {
    let mut fields = line.split(',').map(|field| field.trim().parse::<f64>());
    match (fields.next(), fields.next()) {
        (Some(Ok(end_ms)), Some(Ok(took_ns))) => {
            Ok(Finished { end: end_ms / 1e3, took_ms: took_ns / 1e6 })
        }
        _ => bail!("a line of fio's log is not as expected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"note: something
        {"jobs": [{"error": 0,
            "read": {"iops": 100.5, "bw_bytes": 411648, "total_ios": 201,
                     "clat_ns": {"percentile": {"50.000000": 1000, "99.000000": 25000}}},
            "write": {"iops": 50, "bw_bytes": 204800, "total_ios": 99,
                      "clat_ns": {"percentile": {"99.000000": 75000}}}}]}"#;

    #[test]
    fn both_directions_are_added_and_the_slower_p99_counts() {
        let seen = parse(OUTPUT).unwrap();
        let expected = Seen { iops: 150.5, bandwidth: 616_448.0, p99_us: 75.0, requests: 300 };
        assert_eq!(seen, expected);
        let values = seen.values(0.003);
        assert!((values["cpu_us"] - 10.0).abs() < 1e-9, "{values:?}");
    }

    #[test]
    fn a_direction_that_was_not_used_has_no_percentiles() {
        let idle = r#"{"iops": 0, "bw_bytes": 0, "total_ios": 0, "clat_ns": {}}"#;
        let text = format!(r#"{{"jobs": [{{"error": 0, "read": {idle}, "write": {idle}}}]}}"#);
        assert_eq!(parse(&text).unwrap().requests, 0);
    }

    #[test]
    fn failed_requests_are_no_result() {
        let failed = OUTPUT.replace(r#""error": 0"#, r#""error": 5"#);
        assert!(parse(&failed).unwrap_err().to_string().contains("error 5"));
        assert!(parse("fio: nothing").is_err());
    }

    #[test]
    fn a_log_gives_the_end_and_the_length_of_each_request() {
        let finished = parse_line("1700000000250, 1500000, 1, 4096, 0, 0").unwrap();
        assert_eq!(finished, Finished { end: 1_700_000_000.25, took_ms: 1.5 });
        assert!(parse_line("x, 1").is_err());
    }
}
