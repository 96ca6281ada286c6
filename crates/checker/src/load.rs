//! A load on a volume: writers on every connection, one proof over all of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blockferry_block::Extent;
use blockferry_device::{Device, DeviceInfo};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, LoadConfig};
use crate::journal::Journal;
use crate::pace::Pace;
use crate::proof::Proof;
use crate::report::{Report, Snapshot};
use crate::statistics::Statistics;
use crate::writer::Writer;

/// After so many failed requests the load ends by itself: the volume is gone.
const ERRORS_MAX: u64 = 100;

/// Length of the writes that fill the span first, in bytes, where larger ones are not asked for.
const FILL_BYTES: u64 = 1 << 20;

/// What all writers of a load share.
pub(crate) struct Shared {
    pub(crate) config: LoadConfig,
    pub(crate) proof: Proof,
    pub(crate) started: Instant,
    pub(crate) stop: CancellationToken,
    pub(crate) pace: Option<Pace>,
    size: u64,
    fill: Mutex<Extent>,
    fill_bytes: u64,
    steps: AtomicU64,
    statistics: Mutex<Statistics>,
    /// When the request that each writer waits for was sent, in microseconds since the start, plus
    /// one; 0 while it waits for none.
    pub(crate) waiting: Vec<AtomicU64>,
}

impl Shared {
    fn new(config: LoadConfig, infos: &[DeviceInfo]) -> Result<(Self, Extent), ConfigError> {
        let span = config.check(infos)?;
        let random = || getrandom::u64().map_err(|e| ConfigError::Random(e.to_string()));
        let run = config.run.map_or_else(random, Ok)?;
        let writers = infos.iter().flat_map(|_| 0..config.depth);
        let payload = infos.iter().map(|info| u64::from(info.payload_max)).min();
        let block = u64::from(config.block_size);
        let fill_bytes = payload.unwrap_or(FILL_BYTES).min(FILL_BYTES) / block * block;
        let shared = Self {
            proof: Proof::new(run, &config),
            started: Instant::now(),
            stop: CancellationToken::new(),
            pace: config.rate.map(Pace::new),
            size: infos.first().map_or(0, |info| info.size),
            fill: Mutex::new(if config.fill { span } else { Extent::between(0, 0) }),
            fill_bytes: fill_bytes.max(block),
            steps: AtomicU64::new(0),
            statistics: Mutex::new(Statistics::new()),
            waiting: writers.map(|_| AtomicU64::new(0)).collect(),
            config,
        };
        Ok((shared, span))
    }

    /// The next piece to fill; `None` when all are written or being written.
    pub(crate) fn next_fill(&self) -> Option<Extent> {
        let mut rest = self.fill.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = (rest.start() / self.fill_bytes + 1).saturating_mul(self.fill_bytes);
        let (piece, after) = rest.split_at(cut);
        *rest = after;
        (!piece.is_empty()).then_some(piece)
    }

    /// Takes one of the steps that are left; `false` when there is none, which ends the load.
    pub(crate) fn take_step(&self) -> bool {
        let Some(limit) = self.config.operations else { return true };
        let left = self.steps.fetch_add(1, Ordering::Relaxed) < limit;
        if !left {
            self.stop.cancel();
        }
        left
    }

    pub(crate) fn failed(&self, error: String) {
        let mut statistics = self.statistics();
        statistics.errors.push(error);
        if statistics.errors.total >= ERRORS_MAX {
            self.stop.cancel();
        }
    }

    pub(crate) fn statistics(&self) -> MutexGuard<'_, Statistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting_longest(&self) -> Duration {
        let sent = self.waiting.iter().map(|sent| sent.load(Ordering::Relaxed));
        let Some(oldest) = sent.filter(|sent| *sent > 0).min() else { return Duration::ZERO };
        self.started.elapsed().saturating_sub(Duration::from_micros(oldest - 1))
    }

    fn journal(&self) -> Journal {
        let Self { proof, size, config, .. } = self;
        Journal::new(proof.run(), *size, config.block_size, proof.legal())
    }
}

/// Puts loads on volumes.
#[derive(Debug)]
pub struct Load;

impl Load {
    /// Starts a load over these connections, all to one volume. It runs on the current tokio runtime
    /// until it is stopped.
    ///
    /// # Errors
    /// What of the configuration does not fit the volume.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        devices: Vec<Arc<dyn Device>>,
        config: LoadConfig,
    ) -> Result<LoadHandle, ConfigError> {
        let infos: Vec<_> = devices.iter().map(|device| *device.info()).collect();
        let (shared, span) = Shared::new(config, &infos)?;
        let shared = Arc::new(shared);
        let mut writers = JoinSet::new();
        for (connection, device) in devices.iter().enumerate() {
            for _ in 0..shared.config.depth {
                let slot = writers.len();
                let writer = Writer::new(&shared, device, connection, slot, span);
                writers.spawn(writer.run());
            }
        }
        Ok(LoadHandle { shared, writers })
    }
}

/// A load that runs. Dropping it ends the load at once, in the middle of its requests.
#[must_use = "dropping a load ends it"]
pub struct LoadHandle {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
}

impl LoadHandle {
    /// Lets the requests under way end, and tells what the load has shown. That takes at most the
    /// configured time of one request.
    pub async fn stop(mut self) -> Report {
        self.shared.stop.cancel();
        while let Some(ended) = self.writers.join_next().await {
            if let Err(error) = ended {
                self.shared.failed(format!("a writer of the load has died: {error}"));
            }
        }
        self.report()
    }

    /// Waits until the load has ended by itself: its operations are done, or nothing works any more.
    /// Then [`LoadHandle::stop`] tells what it has shown.
    pub async fn ended(&self) {
        self.shared.stop.cancelled().await;
    }

    /// How it is doing.
    pub fn snapshot(&self) -> Snapshot {
        let violations = self.shared.proof.violations_total();
        let waiting = self.shared.waiting_longest();
        let statistics = self.shared.statistics();
        Snapshot {
            seconds: self.shared.started.elapsed().as_secs_f64(),
            operations: statistics.counts,
            longest_ms: statistics.longest_request().as_secs_f64() * 1e3,
            waiting_ms: waiting.as_secs_f64() * 1e3,
            errors: statistics.errors.total,
            violations,
        }
    }

    /// What every block may hold now. It holds true only until the load's next write: take it when
    /// everything is about to be killed, or from the report.
    pub fn journal(&self) -> Journal {
        self.shared.journal()
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is told in a few digits")]
    fn report(&self) -> Report {
        let seconds = self.shared.started.elapsed().as_secs_f64();
        let statistics = self.shared.statistics();
        Report {
            run: self.shared.proof.run(),
            seed: self.shared.config.seed,
            seconds,
            operations: statistics.counts,
            bytes_read: statistics.bytes_read,
            bytes_written: statistics.bytes_written,
            iops: statistics.counts.total() as f64 / seconds.max(f64::EPSILON),
            longest_request: statistics.longest_request(),
            longest: statistics.longest(),
            latency: statistics.latency(),
            errors: statistics.errors.clone(),
            violations: self.shared.proof.violations(),
            journal: self.shared.journal(),
        }
    }
}
