//! A load generator that is so cheap that it is not the limit itself: one thread, large receives,
//! simple replies, many requests a system call, no allocation a request. It looks at nothing but
//! magic numbers, cookies and errors: that the data is right is for `blockferry-check` to prove.

mod connection;
mod handshake;
mod pattern;
mod pool;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

pub use pattern::Pattern;

use crate::record::Values;
use crate::requests::Finished;
use connection::Connection;
use pool::Pool;

/// What to do to which volume.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub server: SocketAddr,
    /// The export's name.
    pub export: String,
    /// Which requests.
    pub pattern: Pattern,
    /// Bytes of a request.
    pub block: u32,
    /// Requests under way on each connection.
    pub depth: usize,
    /// Connections.
    pub connections: usize,
    /// When it ends.
    pub end: End,
    /// Requests a second, all connections together; as fast as it can without.
    pub rate: Option<f64>,
    /// Whether each request is noted in [`Outcome::log`].
    pub log: bool,
}

/// When a load ends; requests under way are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After so long.
    After(Duration),
    /// After so many requests.
    Requests(u64),
    /// When it is told to.
    Told,
}

/// What a load has seen.
#[derive(Debug)]
pub struct Outcome {
    /// How long it ran.
    pub seconds: f64,
    /// Requests that were answered, by connection.
    pub requests: Vec<u64>,
    /// Bytes of a request.
    pub block: u32,
    /// How long they took, in nanoseconds.
    pub times: Histogram<u64>,
    /// Each of them, where that was wanted.
    pub log: Vec<Finished>,
}

/// What all connections of a load share.
struct Course {
    begun: Instant,
    begun_unix: f64,
    /// Requests that may still begin.
    left: u64,
    end: Option<Duration>,
    rate: Option<f64>,
    sent: u64,
    times: Histogram<u64>,
    log: Option<Vec<Finished>>,
}

impl Load {
    /// Requests of `block` bytes on one connection, one at a time, until told to end.
    pub fn new(server: SocketAddr, export: &str, pattern: Pattern, block: u32) -> Self {
        let export = export.to_owned();
        let (depth, connections, end, rate) = (1, 1, End::Told, None);
        Self { server, export, pattern, block, depth, connections, end, rate, log: false }
    }

    /// Connects, and keeps the volume busy until it is over, or `stop` says so.
    ///
    /// # Errors
    /// When the server cannot be reached, fails a request or breaks the protocol.
    pub fn run(&self, stop: &AtomicBool) -> Result<Outcome> {
        let connections = (0..self.connections)
            .map(|number| Connection::open(self, number as u64))
            .collect::<Result<Vec<_>>>()?;
        let mut course = Course::new(self)?;
        let requests = if self.is_alone() {
            alone(connections, &mut course, stop)?
        } else {
            Pool::new(connections)?.run(&mut course, stop)?
        };
        let seconds = course.begun.elapsed().as_secs_f64();
        let (times, log) = (course.times, course.log.unwrap_or_default());
        Ok(Outcome { seconds, requests, block: self.block, times, log })
    }

    /// Connections of its kind that send nothing; they end when they are dropped.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) fn connect_idle(&self, count: usize) -> Result<Vec<TcpStream>> {
        let join = |_| handshake::join(self.server, &self.export).map(|(stream, _)| stream);
        (0..count).map(join).collect()
    }

    /// Whether it can do without waiting for several things at once. With requests of one kind only
    /// one direction carries much, so that it cannot block while the server blocks in the other.
    fn is_alone(&self) -> bool {
        self.connections == 1 && self.rate.is_none() && self.pattern != Pattern::RandomMixed
    }
}

fn alone(
    mut connections: Vec<Connection>,
    course: &mut Course,
    stop: &AtomicBool,
) -> Result<Vec<u64>> {
    for connection in &mut connections {
        loop {
            connection.begin(course, stop.load(Ordering::Relaxed));
            connection.send()?;
            if connection.is_idle() {
                break;
            }
            connection.receive(course)?;
        }
        connection.leave();
    }
    Ok(connections.iter().map(|connection| connection.answered).collect())
}

impl Course {
    fn new(load: &Load) -> Result<Self> {
        let unix =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self {
            begun: Instant::now(),
            begun_unix: unix.as_secs_f64(),
            left: if let End::Requests(count) = load.end { count } else { u64::MAX },
            end: if let End::After(time) = load.end { Some(time) } else { None },
            rate: load.rate,
            sent: 0,
            // Three digits up to a minute.
            times: Histogram::new_with_bounds(1, 60_000_000_000, 3).context("a histogram")?,
            log: load.log.then(|| Vec::with_capacity(1 << 20)),
        })
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How many requests may begin now, of `wanted`.
    fn grant(&mut self, wanted: u64, now: Duration) -> u64 {
        if self.end.is_some_and(|end| now >= end) {
            self.left = 0;
        }
        let due = match self.rate {
            Some(rate) => ((now.as_secs_f64() * rate) as u64).saturating_sub(self.sent),
            None => u64::MAX,
        };
        let granted = wanted.min(due).min(self.left);
        self.left -= granted;
        self.sent += granted;
        granted
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }

    fn answered(&mut self, began: Duration, now: Duration) {
        let took = now.saturating_sub(began);
        self.times.saturating_record(took.as_nanos() as u64);
        if let Some(log) = &mut self.log {
            let end = self.begun_unix + now.as_secs_f64();
            log.push(Finished { end, took_ms: took.as_secs_f64() * 1e3 });
        }
    }
}

impl Outcome {
    /// Requests a second.
    pub fn iops(&self) -> f64 {
        self.total() as f64 / self.seconds
    }

    /// Requests of all connections.
    pub fn total(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// As figures, with the server's processor time for each request.
    pub(crate) fn values(&self, cpu_seconds: f64) -> Values {
        let bytes = self.total() as f64 * f64::from(self.block);
        [
            ("iops", self.iops()),
            ("mbps", bytes / self.seconds / 1e6),
            ("p99_us", self.times.value_at_quantile(0.99) as f64 / 1e3),
            ("cpu_us", cpu_seconds * 1e6 / self.total().max(1) as f64),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
