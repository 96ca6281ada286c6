//! One look at everybody: what each program says of itself and of the volume, or why it cannot be
//! asked.

use blockferry_control::ControlError;
use blockferry_control::api::{ProgramStatus, RouteStatus, VolumeStatus};
use futures_util::future::join_all;

use crate::parties::{Parties, Storage, Switch};

/// What one program said, or why it said nothing.
pub(crate) type Seen<T> = Result<T, ControlError>;

/// What a storage program said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StorageSeen {
    /// Of itself.
    pub(crate) program: ProgramStatus,
    /// Of the volume, if it has it.
    pub(crate) volume: Option<VolumeStatus>,
}

/// What a switch said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SwitchSeen {
    /// Of itself.
    pub(crate) program: ProgramStatus,
    /// Of the volume's route, if it has one.
    pub(crate) route: Option<RouteStatus>,
}

/// What everybody said at about the same time.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The source.
    pub(crate) source: Seen<StorageSeen>,
    /// The destination.
    pub(crate) destination: Seen<StorageSeen>,
    /// Every switch, in the order of the command line.
    pub(crate) switches: Vec<Seen<SwitchSeen>>,
}

impl Survey {
    /// Asks everybody at once.
    pub(crate) async fn take(parties: &Parties) -> Self {
        let switches = join_all(parties.switches.iter().map(look_at_switch));
        let (source, destination, switches) =
            tokio::join!(look(&parties.source), look(&parties.destination), switches);
        Self { source, destination, switches }
    }
}

/// Asks one storage program.
pub(crate) async fn look(storage: &Storage) -> Seen<StorageSeen> {
    let (program, volume) = tokio::try_join!(storage.program(), storage.status())?;
    Ok(StorageSeen { program, volume })
}

async fn look_at_switch(switch: &Switch) -> Seen<SwitchSeen> {
    let (program, route) = tokio::try_join!(switch.program(), switch.route())?;
    Ok(SwitchSeen { program, route })
}
