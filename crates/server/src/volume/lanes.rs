//! The mirror lanes and forward paths of a volume's client sessions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Volume;
use super::forward::ForwardPath;
use super::mirror_out::MirrorLane;
use super::outgoing::Outgoing;
use super::owner::Owner;

/// Who has a lane. Entries of clients that have gone are dropped when new ones come.
#[derive(Default)]
pub(super) struct Lanes {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    clients: Vec<(Weak<MirrorLane>, Weak<ForwardPath>)>,
    own: Option<Arc<MirrorLane>>,
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Volume {
    /// The lane of resync and comparison.
    pub(super) fn own_lane(&self) -> Option<Arc<MirrorLane>> {
        self.lanes.lock().own.clone()
    }

    pub(super) fn set_own_lane(&self, lane: Option<Arc<MirrorLane>>) {
        let earlier = std::mem::replace(&mut self.lanes.lock().own, lane);
        if let Some(earlier) = earlier {
            earlier.end();
        }
    }

    pub(super) fn remember_lane(&self, mirror: &Arc<MirrorLane>, forward: &Arc<ForwardPath>) {
        let mut table = self.lanes.lock();
        table.clients.retain(|(mirror, _)| mirror.strong_count() > 0);
        table.clients.push((Arc::downgrade(mirror), Arc::downgrade(forward)));
    }

    /// Opens lanes for the clients that were here when a migration began.
    pub(super) fn maintain_lanes(&self, owner: &Arc<Owner>, outgoing: &Arc<Outgoing>) {
        let lanes: Vec<_> =
            self.lanes.lock().clients.iter().filter_map(|(mirror, _)| mirror.upgrade()).collect();
        for lane in lanes {
            lane.start(Arc::clone(owner), Arc::clone(outgoing));
        }
    }

    /// Opens forward paths before the commit, so that nothing is left that can fail. One that cannot
    /// be opened now is tried again when it is needed.
    pub(super) async fn open_forward_paths(&self) {
        let Some(outgoing) = self.outgoing() else { return };
        let paths: Vec<_> =
            self.lanes.lock().clients.iter().filter_map(|(_, path)| path.upgrade()).collect();
        for path in paths {
            if let Err(error) = path.open(&outgoing).await {
                tracing::info!(volume = %self.name, %error, "a forward path is not open yet");
            }
        }
    }
}
