//! The source's connections to the destination: for each client session a mirror connection before
//! the commit and a forward connection after it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::source::{MirrorOutcome, PhaseName, SessionKey};

use crate::content::{Content, Stamp};
use crate::executor::{MILLIS, Micros, Pid, SECOND, Signal, Sim, first};
use crate::message::{Call, Generation, Reply, Request, Role, Session};
use crate::mutation::Mutation;
use crate::network::{Connection, Host, Network};
use crate::volume::Volume;
use crate::witness::Witness;

/// Longest time that a client waits for the destination before the commit.
pub const MIRROR_TIMEOUT: Micros = SECOND;

/// How long to wait before something is tried again.
pub const RETRY: Micros = 20 * MILLIS;

/// The key of the source's own session, which carries the resyncs.
pub const RESYNC_KEY: SessionKey = SessionKey(u64::MAX);

const FENCED: Reply = Reply::Refused("fenced");

/// Why there is no forward connection.
enum Closed {
    /// Not now; try again.
    Lost,
    /// The client has fenced its session at the destination: its requests end here, and it sends them
    /// again on a younger path.
    Fenced,
}

/// The way to the destination.
pub struct Route {
    sim: Sim,
    network: Rc<Network>,
    process: Pid,
    /// The epoch of the last attach, while it is valid.
    epoch: Cell<Option<u64>>,
    epoch_changed: Signal,
    over: Cell<bool>,
    witness: Rc<Witness>,
    paths: RefCell<BTreeMap<SessionKey, Rc<Path>>>,
}

/// The connections of one session.
struct Path {
    session: Session,
    client: u64,
    last: Cell<u64>,
    mirror: RefCell<Option<(Connection, u64)>>,
    /// A mirror connection failed: what it carried may be executed until the session is fenced.
    unfenced: Cell<bool>,
    forward: RefCell<Option<(Connection, Generation)>>,
    opening: Cell<bool>,
    opened: Signal,
}

impl Path {
    fn next_generation(&self) -> Generation {
        self.last.set(self.last.get() + 1);
        Generation { client: self.client, path: self.last.get() }
    }
}

impl Route {
    /// No connection yet.
    pub fn new(witness: &Rc<Witness>, network: &Rc<Network>, process: Pid) -> Rc<Self> {
        Rc::new(Self {
            sim: witness.sim.clone(),
            witness: witness.clone(),
            network: network.clone(),
            process,
            epoch: Cell::new(None),
            epoch_changed: Signal::default(),
            over: Cell::new(false),
            paths: RefCell::default(),
        })
    }

    /// A new connection to the destination.
    pub fn connect(&self) -> Connection {
        self.network.connect(Host::Source, Host::Destination)
    }

    /// The epoch of the last attach, while it is valid.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch.get()
    }

    /// Mirror connections of another epoch are closed, and opened again in this one.
    pub fn set_epoch(&self, epoch: Option<u64>) {
        self.epoch.set(epoch);
        for path in self.paths.borrow().values() {
            if let Some((connection, _)) = path.mirror.borrow_mut().take() {
                connection.close();
            }
        }
        self.epoch_changed.raise();
    }

    /// The migration is given up: nothing goes to the destination any more.
    pub fn end(&self) {
        self.over.set(true);
        self.set_epoch(None);
    }

    /// Whether it was given up.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// A session of a client has begun; its mirror connection is kept open from now on.
    pub fn add_session(self: &Rc<Self>, volume: &Rc<Volume>, key: SessionKey, of: (Session, u64)) {
        let path = Rc::new(Path {
            session: of.0,
            client: of.1,
            last: Cell::new(0),
            mirror: RefCell::default(),
            unfenced: Cell::new(false),
            forward: RefCell::default(),
            opening: Cell::new(false),
            opened: Signal::default(),
        });
        self.paths.borrow_mut().insert(key, path.clone());
        self.sim.spawn(self.process, self.clone().keep_mirror(volume.clone(), key, path));
    }

    async fn keep_mirror(self: Rc<Self>, volume: Rc<Volume>, key: SessionKey, path: Rc<Path>) {
        while !self.over.get() && volume.machine.borrow().phase() != PhaseName::Forwarding {
            let epoch_changes = self.epoch_changed.wait();
            let Some(epoch) = self.epoch.get() else {
                epoch_changes.await;
                continue;
            };
            let connection = self.connect();
            let opened = self.open_mirror(&connection, &path, epoch).await;
            if !opened || self.epoch.get() != Some(epoch) {
                connection.close();
                self.sim.sleep(RETRY).await;
                continue;
            }
            path.unfenced.set(false);
            *path.mirror.borrow_mut() = Some((connection.clone(), epoch));
            volume.machine.borrow_mut().mirror_open(key);
            volume.after_change();
            first(connection.lost(), epoch_changes).await;
            connection.close();
            self.mirror_failed(key, &volume);
        }
    }

    async fn open_mirror(&self, connection: &Connection, path: &Path, epoch: u64) -> bool {
        let generation = path.next_generation();
        if path.unfenced.get() && !self.witness.breaks(Mutation::MirrorWithoutFence) {
            let fenced = connection.call(Call::Fence(path.session, generation)).await;
            if !matches!(fenced, Ok(Reply::Done)) {
                return false;
            }
        }
        let role = Role::Mirror(path.session, generation, epoch);
        matches!(connection.call(Call::Open(role)).await, Ok(Reply::Done))
    }

    /// A mirror write of the session has failed, or its connection: unless another connection has
    /// taken its place already, the machine learns it, and the keeper fences and opens the next.
    pub fn mirror_failed(&self, key: SessionKey, volume: &Volume) {
        let Some(path) = self.path(key) else { return };
        let lost = path.mirror.borrow_mut().take_if(|(connection, _)| connection.is_lost());
        if lost.is_some() {
            path.unfenced.set(true);
            volume.machine.borrow_mut().mirror_lost(key);
            volume.after_change();
        }
    }

    /// Sends a mirror write; the outcome tells how it ended.
    pub fn mirror(
        &self,
        key: SessionKey,
        extent: Extent,
        content: Content,
    ) -> impl Future<Output = MirrorOutcome> + use<> {
        let sim = self.sim.clone();
        let mirror = self.path(key).and_then(|path| path.mirror.borrow().clone());
        async move {
            let Some((connection, epoch)) = mirror else { return MirrorOutcome::Failed };
            let write = Call::Request(Request::Update { extent, content, fua: false });
            match sim.timeout(MIRROR_TIMEOUT, connection.call(write)).await {
                Some(Ok(Reply::Done)) => MirrorOutcome::Executed,
                Some(Ok(Reply::AboveReserved(reserved))) => {
                    MirrorOutcome::Refused { epoch, reserved }
                }
                // It has ended there, so nothing has to be fenced.
                Some(Ok(Reply::Failed)) => MirrorOutcome::Failed,
                _ => {
                    connection.close();
                    MirrorOutcome::Failed
                }
            }
        }
    }

    /// Reads at the destination what both sides are to have.
    pub async fn mirror_read(&self, key: SessionKey, extent: Extent) -> Option<Vec<Stamp>> {
        let (connection, _) = self.path(key)?.mirror.borrow().clone()?;
        let read = connection.call(Call::Request(Request::Read(extent)));
        match self.sim.timeout(MIRROR_TIMEOUT, read).await {
            Some(Ok(Reply::Content(content))) => Some(content),
            _ => None,
        }
    }

    /// Lets the destination execute a request of the session, as long as it takes.
    pub async fn forward(&self, key: SessionKey, request: Request) -> Reply {
        let Some(path) = self.path(key) else { return Reply::Refused("no such session") };
        loop {
            let connection = match self.forward_connection(&path).await {
                Ok(connection) => connection,
                Err(Closed::Fenced) => return FENCED,
                Err(Closed::Lost) => {
                    self.sim.sleep(RETRY).await;
                    continue;
                }
            };
            // A mirror write that failed may have been executed, and so may what was sent before.
            self.witness.resent(&request);
            match connection.call(Call::Request(request.clone())).await {
                Ok(reply) => return reply,
                Err(_) => path.unfenced.set(true),
            }
        }
    }

    /// The session's forward connection; what an older connection carried is fenced before.
    async fn forward_connection(&self, path: &Path) -> Result<Connection, Closed> {
        while path.opening.get() {
            path.opened.wait().await;
        }
        let living = path.forward.borrow().clone().filter(|(c, _)| !c.is_lost());
        match living {
            Some((connection, _)) if !path.unfenced.get() => return Ok(connection),
            _ => {}
        }
        path.opening.set(true);
        let opened = self.open_forward(path, living).await;
        path.opening.set(false);
        path.opened.raise();
        opened
    }

    async fn open_forward(
        &self,
        path: &Path,
        living: Option<(Connection, Generation)>,
    ) -> Result<Connection, Closed> {
        let is_new = living.is_none();
        let (connection, generation) =
            living.unwrap_or_else(|| (self.connect(), path.next_generation()));
        let broken = self.witness.breaks(Mutation::ForwardWithoutFence);
        if path.unfenced.replace(false) && !broken {
            let fenced = connection.call(Call::Fence(path.session, generation)).await;
            if !matches!(fenced, Ok(Reply::Done)) {
                path.unfenced.set(true);
                return Err(Closed::Lost);
            }
        }
        if is_new {
            let role = Role::Forward(path.session, generation);
            match connection.call(Call::Open(role)).await {
                Ok(Reply::Done) => {}
                Ok(_) => return Err(Closed::Fenced),
                Err(_) => return Err(Closed::Lost),
            }
            *path.forward.borrow_mut() = Some((connection.clone(), generation));
        }
        Ok(connection)
    }

    fn path(&self, key: SessionKey) -> Option<Rc<Path>> {
        self.paths.borrow().get(&key).cloned()
    }

    /// A fence reaches through to the destination, until it confirms.
    pub async fn fence(&self, session: Session, generation: Generation) {
        loop {
            let connection = self.connect();
            let fenced = connection.call(Call::Fence(session, generation)).await;
            if matches!(fenced, Ok(Reply::Done)) {
                return;
            }
            connection.close();
            self.sim.sleep(RETRY).await;
        }
    }
}
