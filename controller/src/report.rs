//! What a finished migration is summed up as: the last line of `--json`, a few lines for a person,
//! and the certificate.

use std::fmt;

use blockferry_control::api::MigrationStatus;
use serde::Serialize;

use crate::show::bytes;

/// The fields of the outside contract, in its order, and some more. What nobody remembers (after an
/// interruption at a late step) is `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The volume.
    pub(crate) volume: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// What was carried.
    #[serde(flatten)]
    pub(crate) carried: Carried,
    /// Seconds since this run of the controller began.
    pub(crate) seconds: f64,
    /// What making the destination durable took, in seconds.
    pub(crate) flush_seconds: Option<f64>,
    /// Unix time of the request to commit.
    pub(crate) cutover_start: Option<f64>,
    /// Unix time at which the destination owned the volume and every switch had moved.
    pub(crate) cutover_end: Option<f64>,
    /// Milliseconds between the two.
    pub(crate) cutover_ms: Option<f64>,
    /// Longest client request since the migration began, in milliseconds.
    pub(crate) longest_request_ms: Option<f64>,
    /// Name of the digest's algorithm.
    pub(crate) digest_algorithm: Option<String>,
    /// The digest of the ordered stream.
    pub(crate) digest: Option<String>,
    /// Whether both sides have the same.
    pub(crate) digest_match: Option<bool>,
    /// Generation of the new owner.
    pub(crate) generation: u64,
    /// The migration.
    pub(crate) migration: Option<String>,
    /// Whether it had been finished before this run.
    pub(crate) already_complete: bool,
    /// The read-back verification, where one was made.
    pub(crate) verified: Option<Verified>,
    /// Client connections that were moved.
    pub(crate) moved_connections: u64,
    /// Where the certificate was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
}

/// Bytes on their ways, as long as somebody remembers them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Carried {
    /// Data of the ordered copy.
    pub(crate) copied_bytes: Option<u64>,
    /// Holes of the ordered copy.
    pub(crate) zero_bytes: Option<u64>,
    /// Client writes below the read cursor.
    pub(crate) mirrored_bytes: Option<u64>,
    /// Dirty extents sent again.
    pub(crate) resynced_bytes: Option<u64>,
    /// Sweeps: one, and one more for every fall back to a checkpoint.
    pub(crate) passes: Option<u64>,
}

/// The result of reading both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Bytes compared in the last pass.
    pub(crate) bytes: u64,
    /// Passes made by this run of the controller; every one but the last found differences, which
    /// were sent again.
    pub(crate) passes: Option<u32>,
}

/// Adds up what the source says. Its counters begin anew when it is restarted, and what it has
/// committed it may forget; nothing of that makes the sum smaller.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Of runs of the source that have ended.
    before: Counters,
    /// Of the present run.
    now: Counters,
    boot: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    copied: u64,
    zero: u64,
    mirrored: u64,
    resynced: u64,
    /// Falls of the sweep to a checkpoint.
    rewinds: u64,
}

impl Counters {
    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            copied: with(self.copied, other.copied),
            zero: with(self.zero, other.zero),
            mirrored: with(self.mirrored, other.mirrored),
            resynced: with(self.resynced, other.resynced),
            rewinds: with(self.rewinds, other.rewinds),
        }
    }
}

impl Tally {
    /// Takes in what this run of the source says.
    pub(crate) fn take_in(&mut self, boot: u64, migration: &MigrationStatus) {
        if self.boot.is_some_and(|known| known != boot) {
            self.before = self.before.zip(self.now, |a, b| a + b);
            // The restart itself took the sweep back to its checkpoint.
            self.before.rewinds += 1;
            self.now = Counters::default();
        }
        self.boot = Some(boot);
        let told = Counters {
            copied: migration.copied_bytes,
            zero: migration.zero_bytes,
            mirrored: migration.mirrored_bytes,
            resynced: migration.resynced_bytes,
            rewinds: migration.rewinds,
        };
        self.now = self.now.zip(told, u64::max);
    }

    /// The sum; unknown as long as the source has not said anything.
    pub(crate) fn total(&self) -> Carried {
        if self.boot.is_none() {
            return Carried::default();
        }
        let total = self.before.zip(self.now, |a, b| a + b);
        Carried {
            copied_bytes: Some(total.copied),
            zero_bytes: Some(total.zero),
            mirrored_bytes: Some(total.mirrored),
            resynced_bytes: Some(total.resynced),
            passes: Some(1 + total.rewinds),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (volume, generation) = (&self.volume, self.generation);
        if self.already_complete {
            return write!(
                f,
                "{volume}: the migration is complete; the destination owns the volume \
                 (generation {generation})"
            );
        }
        write!(f, "{volume}: the destination owns the volume (generation {generation})")?;
        write!(f, " after {:.1} s", self.seconds)?;
        self.carried.write(f)?;
        if let Some(cutover) = self.cutover_ms {
            write!(f, "\n  cutover {cutover:.1} ms")?;
            if let Some(flush) = self.flush_seconds {
                write!(f, ", of it flushing {:.1} ms", flush * 1000.0)?;
            }
        }
        if let Some(longest) = self.longest_request_ms {
            write!(f, "\n  longest client request {longest:.1} ms")?;
        }
        if let (Some(digest), Some(algorithm)) = (&self.digest, &self.digest_algorithm) {
            let verdict = match self.digest_match {
                Some(true) => "equal on both sides",
                Some(false) => "DIFFERENT",
                None => "not compared",
            };
            write!(f, "\n  digest {digest} ({algorithm}), {verdict}")?;
        }
        if let Some(verified) = self.verified {
            write!(f, "\n  read back and compared {}", bytes(verified.bytes))?;
        }
        match &self.certificate {
            Some(path) => write!(f, "\n  certificate {path}"),
            None => Ok(()),
        }
    }
}

impl Carried {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), bytes);
        match self.passes {
            Some(1) => write!(f, ", in one pass")?,
            Some(passes) => write!(f, ", in {passes} passes (restarts)")?,
            None => {}
        }
        write!(
            f,
            "\n  copied {}, holes {}, mirrored {}, sent again {}",
            text(self.copied_bytes),
            text(self.zero_bytes),
            text(self.mirrored_bytes),
            text(self.resynced_bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::migration;

    fn told(copied_bytes: u64, rewinds: u64) -> MigrationStatus {
        MigrationStatus { copied_bytes, rewinds, ..migration("a", "http://h:1") }
    }

    #[test]
    fn a_restart_of_the_source_loses_no_count_and_is_another_pass() {
        let mut tally = Tally::default();
        assert_eq!(tally.total(), Carried::default());
        tally.take_in(1, &told(100, 0));
        assert_eq!(tally.total().passes, Some(1));
        tally.take_in(2, &told(0, 0));
        tally.take_in(2, &told(30, 0));
        assert_eq!((tally.total().copied_bytes, tally.total().passes), (Some(130), Some(2)));
    }

    #[test]
    fn what_a_committed_source_forgets_stays_counted() {
        let mut tally = Tally::default();
        tally.take_in(1, &told(100, 1));
        tally.take_in(1, &told(0, 0));
        assert_eq!((tally.total().copied_bytes, tally.total().passes), (Some(100), Some(2)));
    }
}
