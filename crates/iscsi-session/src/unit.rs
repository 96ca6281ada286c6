//! A volume's disk: what all sessions of it share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use blockferry_device::{Errno, Failure};
use blockferry_scsi::{Begun, ConnectError, InitiatorPort, LogicalUnit, NexusId, UnitState};
use futures_util::future::{BoxFuture, join_all};
use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

/// Keeps what of a unit must not get lost.
pub trait KeepState: Send + Sync + 'static {
    /// Ends when the state will be found again, whatever crashes. States are kept in the order in which
    /// they came about.
    fn keep(&self, state: UnitState) -> BoxFuture<'static, Result<(), Failure>>;
}

/// A volume's disk.
pub struct Unit {
    shared: Mutex<Shared>,
    keep: Box<dyn KeepState>,
    /// Whose state is being kept comes first.
    keeping: Arc<tokio::sync::Mutex<()>>,
}

struct Shared {
    unit: LogicalUnit,
    sessions: BTreeMap<NexusId, Arc<Mailbox>>,
    next: u64,
    /// Sessions begin no commands.
    is_hushed: bool,
    /// The volume is elsewhere, for good.
    has_left: bool,
}

/// What a session is told by others.
#[derive(Default)]
pub(crate) struct Mailbox {
    orders: Mutex<Vec<Order>>,
    waker: AtomicWaker,
}

/// What a session has to do; the sender is dropped when it is done.
pub(crate) enum Order {
    /// Every command ends unanswered, for a reset.
    Abort(oneshot::Sender<()>),
    /// The same, and the session with them.
    Reset(oneshot::Sender<()>),
    /// No command begins any more, and those under way are answered.
    Hush(oneshot::Sender<()>),
    /// Commands begin again.
    Resume,
    /// The initiator is asked to log out, and what has not begun waits until it has logged in elsewhere.
    Leave,
}

/// No session begins a command, and no state is kept, until this is dropped, or the sessions have left.
pub struct Hushed {
    hush: Hush,
    _keeping: tokio::sync::OwnedMutexGuard<()>,
}

/// Ends a hush when it is dropped, also one that is waited for in vain.
struct Hush(Arc<Unit>);

/// A session's part in a unit; it ends when this is dropped.
pub(crate) struct Membership {
    unit: Arc<Unit>,
    nexus: NexusId,
    mailbox: Arc<Mailbox>,
}

impl Unit {
    /// A disk; `keep` keeps its state.
    pub fn new(unit: LogicalUnit, keep: impl KeepState) -> Self {
        let shared =
            Shared { unit, sessions: BTreeMap::new(), next: 1, is_hushed: false, has_left: false };
        Self { shared: Mutex::new(shared), keep: Box::new(keep), keeping: Default::default() }
    }

    /// Looks at the disk, or changes it.
    pub fn with<R>(&self, look: impl FnOnce(&mut LogicalUnit) -> R) -> R {
        look(&mut self.lock().unit)
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Takes a session in.
    pub(crate) fn join(self: &Arc<Self>, port: InitiatorPort) -> Result<Membership, ConnectError> {
        let mut shared = self.lock();
        let nexus = NexusId(shared.next);
        shared.unit.connect(nexus, port)?;
        shared.next += 1;
        let mailbox = Arc::<Mailbox>::default();
        if shared.is_hushed {
            mailbox.order(Order::Hush);
        }
        if shared.has_left {
            mailbox.put(Order::Leave);
        }
        shared.sessions.insert(nexus, Arc::clone(&mailbox));
        Ok(Membership { unit: Arc::clone(self), nexus, mailbox })
    }

    /// Ends when the state is kept, as it is now or later.
    async fn keep(&self) -> Result<(), Failure> {
        let _first = self.keeping.lock().await;
        let state = {
            let shared = self.lock();
            if shared.has_left {
                return Err(left());
            }
            shared.unit.state()
        };
        self.keep.keep(state).await
    }

    /// Ends when no session has a command under way, and no state is being kept, also for none that has
    /// ended; neither begins before the end of what is given.
    pub async fn hush(self: &Arc<Self>) -> Hushed {
        let hush = Hush(Arc::clone(self));
        self.lock().is_hushed = true;
        self.order(|_| true, Order::Hush).await;
        let keeping = Arc::clone(&self.keeping).lock_owned().await;
        Hushed { hush, _keeping: keeping }
    }

    /// Has sessions do something, and waits until they have.
    async fn order(
        &self,
        of: impl Fn(NexusId) -> bool + Send,
        what: fn(oneshot::Sender<()>) -> Order,
    ) {
        let ordered: Vec<_> = {
            let shared = self.lock();
            let sessions = shared.sessions.iter().filter(|(nexus, _)| of(**nexus));
            sessions.map(|(_, mailbox)| mailbox.order(what)).collect()
        };
        // A session that has ended has no commands either.
        join_all(ordered).await;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hushed {
    /// The volume has moved: every session asks its initiator to log out, also one that begins now.
    pub fn leave(self) {
        let mut shared = self.hush.0.lock();
        shared.has_left = true;
        shared.sessions.values().for_each(|mailbox| mailbox.put(Order::Leave));
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        if shared.has_left {
            return;
        }
        shared.is_hushed = false;
        shared.sessions.values().for_each(|mailbox| mailbox.put(Order::Resume));
    }
}

impl Mailbox {
    fn order(&self, what: fn(oneshot::Sender<()>) -> Order) -> oneshot::Receiver<()> {
        let (done, ended) = oneshot::channel();
        self.put(what(done));
        ended
    }

    fn put(&self, order: Order) {
        self.lock().push(order);
        self.waker.wake();
    }

    /// What has been ordered; `Pending` while there is nothing.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Vec<Order>> {
        self.waker.register(cx.waker());
        let orders = std::mem::take(&mut *self.lock());
        if orders.is_empty() { Poll::Pending } else { Poll::Ready(orders) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Membership {
    pub(crate) fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    pub(crate) fn begin(&self, cdb: &[u8], data_out: u64) -> Begun {
        self.unit.with(|unit| unit.begin(self.nexus, cdb, data_out))
    }

    pub(crate) fn parameters(&self, cdb: &[u8], list: &[u8]) -> Begun {
        self.unit.with(|unit| unit.parameters(self.nexus, cdb, list))
    }

    /// What has to be done before a command is answered: others end theirs, and its change is kept.
    pub(crate) fn settle(
        &self,
        abort: Vec<NexusId>,
        changed: bool,
    ) -> BoxFuture<'static, Result<(), Failure>> {
        let unit = Arc::clone(&self.unit);
        // It is kept even if nobody waits for that any more.
        let keeping = changed.then(|| {
            let unit = Arc::clone(&unit);
            tokio::spawn(async move { unit.keep().await })
        });
        Box::pin(async move {
            unit.order(|nexus| abort.contains(&nexus), Order::Abort).await;
            match keeping {
                Some(keeping) => keeping.await.unwrap_or_else(|_| Err(ended())),
                None => Ok(()),
            }
        })
    }

    /// Everybody else ends all commands.
    pub(crate) fn clear(&self) -> BoxFuture<'static, ()> {
        self.order_others(Order::Abort)
    }

    fn order_others(&self, what: fn(oneshot::Sender<()>) -> Order) -> BoxFuture<'static, ()> {
        let (unit, own) = (Arc::clone(&self.unit), self.nexus);
        Box::pin(async move { unit.order(|nexus| nexus != own, what).await })
    }

    /// The unit is reset, and everybody else ends all commands; `whole_target` ends their sessions, too.
    pub(crate) fn reset(&self, whole_target: bool) -> BoxFuture<'static, Result<(), Failure>> {
        let what = if whole_target { Order::Reset } else { Order::Abort };
        let (unit, others) = (Arc::clone(&self.unit), self.order_others(what));
        Box::pin(async move {
            others.await;
            let changed = unit.with(LogicalUnit::reset);
            if changed { unit.keep().await } else { Ok(()) }
        })
    }
}

fn left() -> Failure {
    Failure::new(Errno::Shutdown, "the volume has moved; log in again")
}

fn ended() -> Failure {
    Failure::new(Errno::Shutdown, "the program ends")
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut shared = self.unit.lock();
        shared.sessions.remove(&self.nexus);
        shared.unit.disconnect(self.nexus);
    }
}

#[cfg(test)]
mod tests {
    use blockferry_scsi::{
        BlockLength, Geometry, Identity, PhysicalBlock, Provisioning, UnitConfig,
    };
    use tokio::sync::mpsc;

    use super::*;

    struct Told(mpsc::UnboundedSender<UnitState>);

    impl KeepState for Told {
        fn keep(&self, state: UnitState) -> BoxFuture<'static, Result<(), Failure>> {
            self.0.send(state).expect("somebody listens");
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn unit() -> (Arc<Unit>, mpsc::UnboundedReceiver<UnitState>) {
        let config = UnitConfig {
            identity: Identity { uuid: [1; 16], name: "vol".parse().unwrap() },
            geometry: Geometry::new(1 << 20, BlockLength::B512, PhysicalBlock::Logical).unwrap(),
            provisioning: Provisioning::Thin,
            read_only: false,
            rotational: false,
        };
        let (tell, kept) = mpsc::unbounded_channel();
        (Arc::new(Unit::new(LogicalUnit::new(config, UnitState::new()), Told(tell))), kept)
    }

    fn join(unit: &Arc<Unit>, name: &str) -> Membership {
        unit.join(InitiatorPort::iscsi(name, [0; 6]).unwrap()).unwrap()
    }

    fn orders(session: &Membership) -> Vec<Order> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match session.mailbox().poll(&mut context) {
            Poll::Ready(orders) => orders,
            Poll::Pending => Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_state_is_kept_though_the_session_that_changed_it_has_ended() {
        let (unit, mut kept) = unit();
        let (one, other) = (join(&unit, "iqn.a:one"), join(&unit, "iqn.a:other"));
        drop(one.settle(vec![other.nexus], true));
        assert_eq!(kept.recv().await, Some(unit.with(|unit| unit.state())));
    }

    #[tokio::test]
    async fn what_a_session_left_behind_that_has_ended_is_not_kept_behind_a_hush_nor_after_a_move()
    {
        let (unit, mut kept) = unit();
        let (one, other) = (join(&unit, "iqn.a:one"), join(&unit, "iqn.a:other"));
        drop(one.settle(Vec::new(), true));
        drop((one, other));
        let hushed = unit.hush().await;
        tokio::task::yield_now().await;
        assert!(kept.try_recv().is_err(), "a state was kept behind a hush");
        drop(hushed);
        assert!(kept.recv().await.is_some(), "a state was not kept though the volume stays");
        let one = join(&unit, "iqn.a:one");
        drop(one.settle(Vec::new(), true));
        drop(one);
        unit.hush().await.leave();
        drop(unit);
        assert_eq!(kept.recv().await, None, "a state was kept though the volume has left");
    }

    #[tokio::test]
    async fn who_comes_when_the_volume_has_moved_is_asked_to_leave_like_the_others() {
        let (unit, _kept) = unit();
        let before = join(&unit, "iqn.a:one");
        let mut hushing = std::pin::pin!(unit.hush());
        assert!(futures_util::poll!(hushing.as_mut()).is_pending(), "a session may have commands");
        assert!(matches!(orders(&before)[..], [Order::Hush(_)]));
        hushing.await.leave();
        let after = join(&unit, "iqn.a:other");
        assert!(matches!(orders(&before)[..], [Order::Leave]));
        assert!(matches!(orders(&after)[..], [Order::Hush(_), Order::Leave]));
    }

    #[tokio::test]
    async fn a_move_that_comes_to_nothing_lets_sessions_go_on() {
        let (unit, _kept) = unit();
        let session = join(&unit, "iqn.a:one");
        let mut hushing = std::pin::pin!(unit.hush());
        assert!(futures_util::poll!(hushing.as_mut()).is_pending());
        drop(orders(&session));
        drop(hushing.await);
        assert!(matches!(orders(&session)[..], [Order::Resume]));
    }
}
