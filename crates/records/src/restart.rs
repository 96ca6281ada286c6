//! What a volume is after a restart of its program: which machine goes on, and from where.

use blockferry_block::BootId;
use blockferry_journal::{Files, OsFiles};
use blockferry_migration::Faults;
use blockferry_migration::destination::Destination;
use blockferry_migration::digest::Frontier;
use blockferry_migration::record::{Part, VolumeState};
use blockferry_migration::source::Source;

use crate::{ActivityFile, RecordsError};

/// A volume that was found after a restart.
#[derive(Debug)]
pub enum Restarted<F: Files = OsFiles> {
    /// It is owned here, or forwarded from here. While it is migrated away there is an activity log.
    Owner(Source, Option<ActivityFile<F>>),
    /// It is being received.
    Receiver(Destination),
    /// It was retired here, and nobody is served.
    Retired,
}

/// Goes on from what the records say, in the program's run `boot`. `reopen` opens the activity log and
/// tells the units in it; it is called only for a volume that was being migrated away.
///
/// # Errors
/// Those of `reopen`; [`RecordsError::NoMigration`] and [`RecordsError::Digest`] for records that no
/// run of the program writes.
pub fn restart<F: Files>(
    state: &VolumeState,
    boot: BootId,
    faults: Faults,
    reopen: impl FnOnce() -> Result<(ActivityFile<F>, Vec<u32>), RecordsError>,
) -> Result<Restarted<F>, RecordsError> {
    let size = state.size;
    Ok(match state.part {
        Part::Owner => Restarted::Owner(Source::new(size, faults), None),
        Part::Forwarding => Restarted::Owner(Source::forwarding(size), None),
        Part::Retired => Restarted::Retired,
        Part::Source => {
            let (log, units) = reopen()?;
            Restarted::Owner(Source::recovering(size, units, faults), Some(log))
        }
        Part::Destination => Restarted::Receiver(receiver(state, boot)?.with_faults(faults)),
    })
}

fn receiver(state: &VolumeState, boot: BootId) -> Result<Destination, RecordsError> {
    let migration = state.migration.as_ref().ok_or(RecordsError::NoMigration)?;
    let stream = Frontier::from_text(&migration.stream)?;
    // What lies above may have been written before the restart.
    let destination = Destination::new(state.size, boot, migration.durable, stream, state.size);
    Ok(match migration.ready {
        Some(attempt) => destination.with_ready(attempt),
        None => destination,
    })
}
