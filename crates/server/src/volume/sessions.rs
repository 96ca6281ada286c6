//! The connections of one volume, and the fences between the generations of a session (I12, I13).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blockferry_block::{Generation, SessionId};
use blockferry_migration::source::SessionKey;
use blockferry_nbd_session::Role;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::plain::{OnPlainWay, PlainWay};

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) key: SessionKey,
    pub(crate) role: Role,
    pub(crate) session: SessionId,
    pub(crate) generation: Generation,
    pub(crate) cut: CancellationToken,
    fenced: AtomicBool,
    plain: PlainWay,
    running: AtomicUsize,
    idle: Notify,
}

/// A request under way on a connection.
pub(crate) struct Running<'a>(&'a Connection);

impl Connection {
    /// Counts a request in that goes straight to the store, where that is the way.
    #[inline]
    pub(super) fn enter_plain(&self) -> Option<OnPlainWay<'_>> {
        self.plain.enter()
    }

    /// Waits until no request is on the plain way, which is closed.
    pub(super) async fn plain_ended(&self) {
        self.plain.ended().await;
    }

    fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::SeqCst)
    }

    fn stop(&self) {
        self.fenced.store(true, Ordering::SeqCst);
        self.plain.fence();
        self.cut.cancel();
    }

    /// Counts a request in, unless the connection is fenced.
    pub(crate) fn enter(&self) -> Option<Running<'_>> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(self);
        // Counted first and checked afterwards: a fence either sees the request or stops it.
        (!self.is_fenced()).then_some(running)
    }

    async fn drained(&self) {
        self.plain_ended().await;
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// All connections of a volume.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    next: AtomicU64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<SessionKey, Arc<Connection>>,
    fences: HashMap<SessionId, Generation>,
    /// Whether clients go the plain way, while nobody keeps it closed.
    plain: bool,
    /// Those who keep it closed for a while.
    closers: usize,
}

impl Sessions {
    /// The table as the records left it.
    pub(crate) fn with_fences(fences: impl IntoIterator<Item = (SessionId, Generation)>) -> Self {
        let table = Table { fences: fences.into_iter().collect(), ..Table::default() };
        Self { next: AtomicU64::new(1), table: Mutex::new(table) }
    }

    /// Adds a connection; `None` when its generation is fenced.
    pub(crate) fn open(
        &self,
        role: Role,
        session: SessionId,
        generation: Generation,
    ) -> Option<Arc<Connection>> {
        let mut table = self.lock();
        if table.fences.get(&session).is_some_and(|fence| generation < *fence) {
            return None;
        }
        let key = SessionKey(self.next.fetch_add(1, Ordering::Relaxed));
        let connection = Arc::new(Connection {
            key,
            role,
            session,
            generation,
            cut: CancellationToken::new(),
            fenced: AtomicBool::new(false),
            plain: PlainWay::new(table.is_plain_way_open() && role == Role::Client),
            running: AtomicUsize::new(0),
            idle: Notify::new(),
        });
        table.connections.insert(key, Arc::clone(&connection));
        Some(connection)
    }

    /// Forgets a connection that ended.
    pub(crate) fn close(&self, key: SessionKey) {
        self.lock().connections.remove(&key);
    }

    /// Connections of clients.
    pub(crate) fn clients(&self) -> u64 {
        let table = self.lock();
        table.connections.values().filter(|c| c.role == Role::Client).count() as u64
    }

    /// Stops every connection of the session that is older than the generation, and waits until
    /// nothing of it executes. Make the fence durable before calling it done.
    pub(crate) async fn fence(&self, session: SessionId, generation: Generation) {
        let older = {
            let mut table = self.lock();
            let fence = table.fences.entry(session).or_insert(generation);
            *fence = (*fence).max(generation);
            table.matching(|c| c.session == session && c.generation < generation)
        };
        stop(older).await;
    }

    /// Stops every connection of these roles and waits until nothing of them executes.
    pub(crate) async fn stop_roles(&self, roles: &[Role]) {
        let matching = self.lock().matching(|c| roles.contains(&c.role));
        stop(matching).await;
    }

    /// No migration is under way, and this side owns the volume: clients go the plain way.
    pub(super) fn allow_plain_way(&self) {
        let mut table = self.lock();
        table.plain = true;
        table.open_plain_way();
    }

    /// A migration is under way: clients go the plain way no more.
    pub(super) fn forbid_plain_way(&self) {
        self.lock().plain = false;
    }

    /// Until [`Self::reopen_plain_way`] nobody goes the plain way; gives those who may still be on it.
    pub(super) fn close_plain_way(&self) -> Vec<Arc<Connection>> {
        let mut table = self.lock();
        table.closers += 1;
        table.connections.values().for_each(|c| c.plain.close());
        table.matching(|_| true)
    }

    /// One of those who have closed the plain way needs that no more.
    pub(super) fn reopen_plain_way(&self) {
        let mut table = self.lock();
        table.closers -= 1;
        table.open_plain_way();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    const fn is_plain_way_open(&self) -> bool {
        self.plain && self.closers == 0
    }

    fn open_plain_way(&self) {
        if self.is_plain_way_open() {
            let clients = self.connections.values().filter(|c| c.role == Role::Client);
            clients.for_each(|client| client.plain.open());
        }
    }

    fn matching(&self, wanted: impl Fn(&Connection) -> bool) -> Vec<Arc<Connection>> {
        self.connections.values().filter(|c| wanted(c)).cloned().collect()
    }
}

async fn stop(connections: Vec<Arc<Connection>>) {
    connections.iter().for_each(|connection| connection.stop());
    for connection in connections {
        connection.drained().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId::from_bytes([1; 16]);

    #[tokio::test]
    async fn i13_a_fence_is_confirmed_only_when_nothing_older_executes() {
        let sessions = Sessions::default();
        let old = sessions.open(Role::Client, SESSION, Generation(1)).expect("not fenced");
        let running = old.enter().expect("not fenced");
        let mut fence = std::pin::pin!(sessions.fence(SESSION, Generation(2)));
        let pending = futures_util::poll!(fence.as_mut()).is_pending();
        assert!(pending, "a request of the old generation is under way");
        assert!(old.enter().is_none(), "a fenced connection took a request");
        drop(running);
        fence.await;
    }

    #[tokio::test]
    async fn i13_a_fence_waits_for_requests_that_went_straight_to_the_store_too() {
        let sessions = Sessions::default();
        sessions.allow_plain_way();
        let old = sessions.open(Role::Client, SESSION, Generation(1)).expect("not fenced");
        let running = old.enter_plain().expect("not fenced");
        let mut fence = std::pin::pin!(sessions.fence(SESSION, Generation(2)));
        let pending = futures_util::poll!(fence.as_mut()).is_pending();
        assert!(pending, "a request of the old generation is under way");
        assert!(old.enter_plain().is_none(), "a fenced connection took a request");
        drop(running);
        fence.await;
    }

    #[test]
    fn only_clients_go_the_plain_way_and_only_while_it_is_open() {
        let sessions = Sessions::default();
        let open = |role, session| {
            let opened = sessions.open(role, SessionId::from_bytes([session; 16]), Generation(1));
            opened.expect("not fenced")
        };
        let (before, mirror) = (open(Role::Client, 1), open(Role::Mirror, 2));
        assert!(before.enter_plain().is_none(), "nobody has opened it");
        sessions.allow_plain_way();
        let after = open(Role::Client, 3);
        assert!(before.enter_plain().is_some() && after.enter_plain().is_some());
        assert!(mirror.enter_plain().is_none() && open(Role::Copy, 4).enter_plain().is_none());
        sessions.close_plain_way();
        let last = open(Role::Client, 5);
        let clients = [before, after, last];
        assert!(clients.iter().all(|client| client.enter_plain().is_none()));
        sessions.close_plain_way();
        sessions.reopen_plain_way();
        assert!(clients.iter().all(|client| client.enter_plain().is_none()), "one keeps it closed");
        sessions.reopen_plain_way();
        assert!(clients.iter().all(|client| client.enter_plain().is_some()));
        sessions.close_plain_way();
        sessions.forbid_plain_way();
        sessions.reopen_plain_way();
        assert!(
            clients.iter().all(|client| client.enter_plain().is_none()),
            "a migration has begun"
        );
    }

    #[tokio::test]
    async fn i12_a_fenced_generation_never_opens_again() {
        let sessions = Sessions::with_fences([(SESSION, Generation(5))]);
        assert!(sessions.open(Role::Mirror, SESSION, Generation(4)).is_none());
        assert!(sessions.open(Role::Mirror, SESSION, Generation(5)).is_some());
    }
}
