//! Progress, made from what the source says at that moment.

use blockferry_control::ControlError;
use blockferry_control::api::VolumeStatus;

use crate::show::{Phase, Progress, Rate};

/// How far a phase is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Dealt with.
    pub(super) bytes: u64,
    /// To be dealt with.
    pub(super) of: u64,
}

/// The truth as far as it is known; a source that cannot be asked is the trouble that is shown.
pub(super) fn progress(
    phase: Phase,
    done: Done,
    rate: &Rate,
    source: Result<Option<&VolumeStatus>, &ControlError>,
) -> Progress {
    let mut progress = Progress {
        phase,
        done_bytes: done.bytes,
        total_bytes: done.of,
        bytes_per_second: rate.bytes_per_second(),
        seconds_left: rate.seconds_left(done.of.saturating_sub(done.bytes)),
        client_p99_ms: None,
        held_to_bytes_per_second: None,
        reserved_address: 0,
        read_cursor: 0,
        mirrored_bytes: 0,
        dirty_bytes: 0,
        in_flight_updates: 0,
        paused: false,
        trouble: source.err().map(ToString::to_string),
    };
    let Ok(Some(volume)) = source else { return progress };
    progress.reserved_address = volume.reserved_address;
    progress.read_cursor = volume.read_cursor;
    progress.dirty_bytes = volume.dirty_bytes;
    progress.in_flight_updates = volume.in_flight_updates;
    if let Some(migration) = &volume.migration {
        progress.mirrored_bytes = migration.mirrored_bytes;
        progress.paused = migration.paused;
        progress.client_p99_ms = migration.client_p99_ms;
        progress.held_to_bytes_per_second = migration.held_to_bytes_per_second;
        progress.trouble.clone_from(&migration.trouble);
    }
    progress
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use blockferry_control::api::{MigrationStatus, VolumeRole};

    use super::*;
    use crate::testing::{migration, volume};

    #[test]
    fn what_the_source_says_is_what_is_shown() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.note(start, 0);
        rate.note(start + Duration::from_secs(1), 100);
        let told = MigrationStatus {
            mirrored_bytes: 7,
            paused: true,
            trouble: Some("slow".to_owned()),
            ..migration("a", "http://h:1")
        };
        let status =
            VolumeStatus { dirty_bytes: 5, migration: Some(told), ..volume(VolumeRole::Migrating) };
        let shown = progress(Phase::Copy, Done { bytes: 100, of: 300 }, &rate, Ok(Some(&status)));
        assert_eq!((shown.dirty_bytes, shown.mirrored_bytes, shown.paused), (5, 7, true));
        assert_eq!((shown.bytes_per_second, shown.seconds_left), (Some(100), Some(2)));
        assert_eq!(shown.trouble.as_deref(), Some("slow"));
    }
}
