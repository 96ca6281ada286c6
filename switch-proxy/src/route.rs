//! A route: the name of a volume for clients, where the volume is, and who is connected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blockferry_block::SessionId;
use blockferry_control::api::RouteStatus;
use blockferry_device::DeviceInfo;
use blockferry_iscsi::PortalAddress;
use blockferry_journal::JournalError;
use blockferry_nbd_session::NbdUri;
use blockferry_path::{DeliveryOrder, Locate, PathState, WriteOrder};
use futures_util::future::join_all;

use crate::client::ClientPath;
use crate::iscsi::Guests;
use crate::ledger::Ledger;
use crate::owner::{OwnerQuery, Party};
use crate::placement::{Candidate, Placement, RouteRecord};

/// The owner is asked for at most so often, however many clients have lost it.
const SEEK_PAUSE: Duration = Duration::from_millis(500);

/// How old a description of the volume may be for a client that only asks about it.
const INFO_AGE_MAX: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Route {
    name: String,
    /// What other parties tell arrangements to: this switch's control address, and the route.
    arrangement: String,
    configured: bool,
    /// The order of writes to the volume, over all clients.
    order: Arc<WriteOrder>,
    /// The order of what a keeper's clients ask.
    delivery: DeliveryOrder,
    ledger: Ledger,
    query: OwnerQuery,
    state: Mutex<State>,
    clients: Mutex<Clients>,
    /// Initiators that are joined to an owner.
    guests: Arc<Guests>,
    /// One change of placement at a time; the last search for the owner.
    changing: tokio::sync::Mutex<()>,
    sought: tokio::sync::Mutex<Option<Instant>>,
}

struct State {
    placement: Placement,
    candidate: Option<Candidate>,
    previous: Option<Placement>,
    /// Whether the journal has all of this.
    durable: bool,
    moves: u64,
}

#[derive(Default)]
struct Clients {
    paths: HashMap<SessionId, Arc<ClientPath>>,
    /// What the volume offered when it was last opened, and when that was.
    info: Option<(DeviceInfo, Instant)>,
    /// Of connections that have ended.
    longest: Duration,
    replayed: u64,
}

/// Numbers of a route for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests sent a second time.
    pub(crate) replayed: u64,
    /// Changes of the owner.
    pub(crate) moves: u64,
}

/// What came of a new placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relocation {
    /// The route now leads there.
    Moved,
    /// It did already.
    AlreadyThere,
    /// A newer owner is known, or another one of the same generation.
    Outdated,
}

impl Route {
    /// A route as its record says.
    pub(crate) fn new(
        record: RouteRecord,
        arrangement: String,
        ledger: Ledger,
        query: OwnerQuery,
    ) -> Self {
        let RouteRecord { name, placement, candidate, configured } = record;
        let state = State { placement, candidate, previous: None, durable: true, moves: 0 };
        Self {
            name,
            arrangement,
            configured,
            order: Arc::default(),
            delivery: DeliveryOrder::default(),
            ledger,
            query,
            state: Mutex::new(state),
            clients: Mutex::default(),
            guests: Arc::default(),
            changing: tokio::sync::Mutex::default(),
            sought: tokio::sync::Mutex::default(),
        }
    }

    /// The name for clients.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What a link tells its server to send arrangement information to.
    pub(crate) fn arrangement(&self) -> &str {
        &self.arrangement
    }

    /// The order of writes to the volume.
    pub(crate) const fn order(&self) -> &Arc<WriteOrder> {
        &self.order
    }

    /// The order of requests whose clients a keeper has.
    pub(crate) const fn delivery(&self) -> &DeliveryOrder {
        &self.delivery
    }

    /// Whom to ask for owners.
    pub(crate) const fn query(&self) -> &OwnerQuery {
        &self.query
    }

    /// Where the volume is.
    pub(crate) fn placement(&self) -> Placement {
        self.state().placement.clone()
    }

    /// Where its owner serves iSCSI, as far as anybody knows.
    pub(crate) async fn portal(&self) -> Option<PortalAddress> {
        let Placement { control, iscsi, .. } = self.placement();
        match (iscsi, control) {
            (None, Some(control)) => self.query.portal(&control).await,
            (iscsi, _) => iscsi,
        }
    }

    /// The initiators that are joined to an owner.
    pub(crate) const fn guests(&self) -> &Arc<Guests> {
        &self.guests
    }

    /// Where it may go.
    pub(crate) fn candidate(&self) -> Option<Candidate> {
        self.state().candidate.clone()
    }

    /// What the volume offered when a client last opened it.
    pub(crate) fn info(&self) -> Option<DeviceInfo> {
        self.clients().info.map(|(info, _)| info)
    }

    /// The same, if it was only a moment ago.
    pub(crate) fn recent_info(&self) -> Option<DeviceInfo> {
        let info = self.clients().info;
        info.filter(|(_, when)| when.elapsed() < INFO_AGE_MAX).map(|(info, _)| info)
    }

    /// The paths of the clients that are connected.
    pub(crate) fn paths(&self) -> Vec<Arc<ClientPath>> {
        self.clients().paths.values().cloned().collect()
    }

    /// A client has connected.
    pub(crate) fn enter(&self, session: SessionId, path: Arc<ClientPath>) {
        use blockferry_device::Device;
        let mut clients = self.clients();
        clients.info = Some((*path.info(), Instant::now()));
        clients.paths.insert(session, Arc::clone(&path));
        drop(clients);
        // The route may have moved while the path was being opened.
        let upstream = self.placement().upstream;
        if path.status().upstream != upstream {
            path.move_to(upstream);
        }
    }

    /// A client has gone.
    pub(crate) fn leave(&self, session: SessionId) {
        let mut clients = self.clients();
        if let Some(path) = clients.paths.remove(&session) {
            let status = path.status();
            clients.longest = clients.longest.max(status.longest);
            clients.replayed += status.replayed;
        }
    }

    /// Remembers where the volume may go. A new migration begins a new measurement.
    ///
    /// # Errors
    /// That the journal could not be written.
    pub(crate) async fn announce(&self, candidate: Candidate) -> Result<(), JournalError> {
        let changing = self.changing.lock().await;
        let earlier = self.state().candidate.replace(candidate.clone());
        if earlier.as_ref() == Some(&candidate) {
            return Ok(());
        }
        if earlier.is_none_or(|earlier| earlier.migration != candidate.migration) {
            self.restart_longest();
        }
        let written = self.write().await;
        drop(changing);
        written
    }

    /// Makes this the volume's place and moves every client there, unless a newer one is known.
    /// Does not wait for the clients. They are moved even where the journal fails: the owner is
    /// where it is.
    ///
    /// # Errors
    /// That the journal could not be written; said again, it is tried again.
    pub(crate) async fn relocate(&self, to: Placement) -> Result<Relocation, JournalError> {
        let changing = self.changing.lock().await;
        let relocation = self.state().relocate(&to);
        if relocation == Relocation::Outdated
            || (relocation == Relocation::AlreadyThere && self.state().durable)
        {
            return Ok(relocation);
        }
        blockferry_label::reached("switch.relocate.decided");
        let written = self.write().await;
        blockferry_label::reached("switch.relocate.recorded");
        if relocation == Relocation::Moved {
            let (route, generation) = (&self.name, to.generation);
            tracing::info!(route, upstream = %to.upstream, generation, "the volume has moved");
        }
        for path in self.paths() {
            path.move_to(to.upstream.clone());
        }
        if let Some(portal) = &to.iscsi {
            self.guests.moved_to(portal);
        }
        blockferry_label::reached("switch.relocate.told");
        drop(changing);
        written.map(|()| relocation)
    }

    /// Asks everybody who may know where the owner is, and goes there if it has changed.
    pub(crate) async fn seek_owner(&self) {
        let mut sought = self.sought.lock().await;
        if sought.is_some_and(|last| last.elapsed() < SEEK_PAUSE) {
            return;
        }
        let known = self.state().known_parties();
        let found = join_all(known.into_iter().map(|party| self.query.follow(party))).await;
        let newest = found.into_iter().flatten().max_by_key(|placement| placement.generation);
        if let Some(newest) = newest
            && newest.generation > self.placement().generation
            && let Err(error) = self.relocate(newest).await
        {
            tracing::error!(route = self.name, %error, "a move is not durable; it is kept in memory");
        }
        *sought = Some(Instant::now());
    }

    /// What the control API tells.
    pub(crate) fn status(&self) -> RouteStatus {
        let paths: Vec<_> = self.paths().iter().map(|path| path.status()).collect();
        let longest = paths.iter().map(|path| path.longest).max().unwrap_or_default();
        let longest = longest.max(self.clients().longest);
        let in_state = |states: &[PathState]| {
            paths.iter().filter(|path| states.contains(&path.state)).count() as u64
        };
        let state = self.state();
        RouteStatus {
            name: self.name.clone(),
            upstream: state.placement.upstream.to_string(),
            generation: state.placement.generation,
            sessions: paths.len() as u64 + self.guests.count(),
            initiators: self.guests.count(),
            unanswered: paths.iter().map(|path| path.unanswered as u64).sum(),
            moving: in_state(&[PathState::Moving, PathState::Fencing]),
            held: in_state(&[PathState::Lost]),
            candidate: state.candidate.as_ref().map(Candidate::party),
            longest_request_ms: longest.as_secs_f64() * 1000.0,
        }
    }

    /// Numbers for the metrics.
    pub(crate) fn counts(&self) -> Counts {
        let live: u64 = self.paths().iter().map(|path| path.status().replayed).sum();
        Counts { replayed: self.clients().replayed + live, moves: self.state().moves }
    }

    async fn write(&self) -> Result<(), JournalError> {
        let record = {
            let mut state = self.state();
            state.durable = false;
            RouteRecord {
                name: self.name.clone(),
                placement: state.placement.clone(),
                candidate: state.candidate.clone(),
                configured: self.configured,
            }
        };
        self.ledger.write(record).await?;
        self.state().durable = true;
        Ok(())
    }

    fn restart_longest(&self) {
        let mut clients = self.clients();
        clients.longest = Duration::ZERO;
        clients.paths.values().for_each(|path| path.restart_longest());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn relocate(&mut self, to: &Placement) -> Relocation {
        let here = &self.placement;
        if to.generation < here.generation {
            return Relocation::Outdated;
        }
        if to.generation == here.generation {
            let same = to.upstream == here.upstream;
            return if same { Relocation::AlreadyThere } else { Relocation::Outdated };
        }
        self.previous = Some(std::mem::replace(&mut self.placement, to.clone()));
        self.candidate.take_if(|candidate| candidate.upstream == to.upstream);
        self.moves += 1;
        Relocation::Moved
    }

    /// Storage programs that may know where the owner is.
    fn known_parties(&self) -> Vec<Party> {
        let of = |placement: &Placement| {
            let Placement { upstream: uri, control, iscsi, .. } = placement.clone();
            control.map(|control| Party { uri, control, iscsi })
        };
        let candidate = self.candidate.clone();
        let candidate = candidate.map(|Candidate { upstream: uri, control, iscsi, .. }| Party {
            uri,
            control,
            iscsi,
        });
        let previous = self.previous.as_ref().and_then(of);
        candidate.into_iter().chain(of(&self.placement)).chain(previous).collect()
    }
}

impl Locate for Route {
    async fn upstreams(&self) -> Vec<NbdUri> {
        self.seek_owner().await;
        vec![self.placement().upstream]
    }
}
