//! The report and the certificate.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use serde::Serialize;

use super::Migration;
use crate::network::Network;
use crate::outcome::one_line;
use crate::report::Report;
use crate::show::Event;
use crate::survey::look;

/// What is kept of a migration as a file: the report, and who took part.
#[derive(Serialize)]
struct Certificate<'a> {
    document: &'static str,
    #[serde(flatten)]
    report: &'a Report,
    source: &'a str,
    destination: &'a str,
    switches: Vec<String>,
    issued: String,
    controller_version: &'static str,
}

impl<N: Network> Migration<'_, N> {
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        self.ask_for_the_last_figures().await;
        let mut report = self.report();
        let path = self.certificate_path(report.generation);
        match self.write_certificate(&path, &report) {
            Ok(()) => report.certificate = Some(path.display().to_string()),
            Err(error) => self.note(format!("the migration is done, but {}", one_line(&error))),
        }
        blockferry_label::reached("controller.finish.certified");
        self.show.show(&Event::Done(Box::new(report)));
        Ok(())
    }

    /// Counters that grew during the commit, where somebody still tells them.
    async fn ask_for_the_last_figures(&mut self) {
        self.remember(&look(&self.parties.source).await);
        for switch in &self.parties.switches {
            if let Ok(Some(route)) = switch.route().await {
                self.record.longest_request(route.longest_request_ms);
            }
        }
    }

    fn report(&self) -> Report {
        let record = &self.record;
        let cutover = record.cutover_start.zip(record.cutover_end);
        let digest = record.digest.as_ref();
        Report {
            volume: self.parties.volume.to_string(),
            size: self.size,
            carried: record.tally.total(),
            seconds: record.began.elapsed().as_secs_f64(),
            flush_seconds: record.flush_seconds,
            cutover_start: record.cutover_start,
            cutover_end: record.cutover_end,
            cutover_ms: cutover.map(|(start, end)| (end - start) * 1000.0),
            longest_request_ms: record.longest_request_ms,
            digest_algorithm: digest.map(|digest| digest.algorithm.clone()),
            digest: digest.map(|digest| digest.value.clone()),
            digest_match: digest.and_then(|digest| digest.matches),
            generation: record.generation.unwrap_or_default(),
            migration: Some(self.identity.migration.clone()),
            already_complete: false,
            verified: record.verified,
            moved_connections: record.moved,
            certificate: None,
        }
    }

    fn certificate_path(&self, generation: u64) -> PathBuf {
        self.driving.certificate.clone().unwrap_or_else(|| {
            PathBuf::from(format!("blockferry-{}-{generation}.json", self.parties.volume))
        })
    }

    fn write_certificate(&self, path: &Path, report: &Report) -> anyhow::Result<()> {
        let certificate = Certificate {
            document: "blockferry migration certificate",
            report,
            source: &self.source_at.nbd,
            destination: &self.destination_at.nbd,
            switches: self.parties.switches.iter().map(|s| s.address().to_string()).collect(),
            issued: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            controller_version: env!("CARGO_PKG_VERSION"),
        };
        let text = serde_json::to_string_pretty(&certificate)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("the certificate {} cannot be written", path.display()))
    }
}
