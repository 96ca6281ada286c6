//! The clients and their switch: requests in flight on several connections, paths that move and
//! break, and the replay of what was not answered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::in_flight::{InFlight, Mode, OpId};

use crate::content::{BLOCK, Content, Stamp, blocks};
use crate::disk::Kind;
use crate::executor::{MILLIS, Micros, Pid, Signal, Sim, first};
use crate::message::{Call, Generation, Reply, Request, Role, Session};
use crate::mutation::Mutation;
use crate::network::{Connection, Host, Network};
use crate::registers::Tick;
use crate::route::RETRY;
use crate::witness::Witness;

/// How clients behave in a run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections.
    pub connections: u64,
    /// Requests in flight on each.
    pub depth: u64,
    /// Longest pause between two requests, in microseconds.
    pub pause_max: u64,
    /// Longest request in blocks.
    pub blocks_max: u64,
    /// Requests of one worker before it slows down.
    pub requests: u64,
    /// All workers go on until so many requests are answered, though the migration be over.
    pub total_min: u64,
    /// Whether requests may overlap others that are not answered. A switch for which a request may
    /// be sent again holds such requests back: what was perhaps executed must not be seen and
    /// overwritten before it is executed again.
    pub overlapping: bool,
    /// Most requests go to so few blocks.
    pub hot_blocks: u64,
    /// One write in so many is durable before its answer.
    pub fua_one_in: u64,
}

/// All clients of the volume.
pub struct Clients {
    sim: Sim,
    network: Rc<Network>,
    witness: Rc<Witness>,
    load: Load,
    record: RefCell<InFlight>,
    granted: Signal,
    connections: Vec<Rc<Downstream>>,
    stamps: Cell<u64>,
    answered: Cell<u64>,
    finishing: Cell<bool>,
    working: Cell<u64>,
    worker_starts: Cell<Micros>,
}

/// One connection of a client, and the path below it.
struct Downstream {
    session: Session,
    generations: Cell<u64>,
    upstream: Cell<Host>,
    path: RefCell<Option<Path>>,
    /// Everything older cannot execute any more.
    fenced: Cell<u64>,
    /// Something older than this is unanswered and its connection is dead.
    wanted_fence: Cell<u64>,
    /// A worker of the switch died after this generation: nothing is sent before a fence.
    unfenced: Cell<u64>,
    /// The last update that was answered.
    answered: RefCell<Option<Request>>,
    changed: Signal,
}

#[derive(Clone)]
struct Path {
    connection: Connection,
    host: Host,
    generation: u64,
}

impl Clients {
    /// Clients that have not begun.
    pub fn new(witness: &Rc<Witness>, network: &Rc<Network>, load: Load) -> Rc<Self> {
        let connections = (1..=load.connections).map(|session| {
            Rc::new(Downstream {
                session: Session(session),
                generations: Cell::new(0),
                upstream: Cell::new(Host::Source),
                path: RefCell::default(),
                fenced: Cell::new(0),
                wanted_fence: Cell::new(0),
                unfenced: Cell::new(0),
                answered: RefCell::default(),
                changed: Signal::default(),
            })
        });
        Rc::new(Self {
            sim: witness.sim.clone(),
            network: network.clone(),
            witness: witness.clone(),
            load,
            record: RefCell::default(),
            granted: Signal::default(),
            connections: connections.collect(),
            stamps: Cell::new(0),
            answered: Cell::new(0),
            finishing: Cell::new(false),
            working: Cell::new(0),
            worker_starts: Cell::new(0),
        })
    }

    /// Begins the load.
    pub fn start(self: &Rc<Self>) {
        for downstream in &self.connections {
            self.sim.spawn(Pid::WORLD, self.clone().keep_path(downstream.clone()));
            for _ in 0..self.load.depth {
                self.working.set(self.working.get() + 1);
                self.sim.spawn(Pid::WORLD, self.clone().work(downstream.clone()));
            }
        }
    }

    /// The migration is over: each worker ends after some more requests.
    pub fn finish(&self) {
        self.finishing.set(true);
    }

    /// Whether every request has been answered.
    pub fn is_finished(&self) -> bool {
        self.finishing.get() && self.working.get() == 0
    }

    /// Moves one connection after the other to the destination: new requests go there, those in
    /// flight finish through the source.
    pub async fn move_all(self: &Rc<Self>) {
        for downstream in &self.connections {
            downstream.upstream.set(Host::Destination);
            downstream.changed.raise();
            self.witness.note("move", || format!("{:?}", downstream.session));
            self.sim.sleep(self.sim.between(0, 3 * MILLIS)).await;
        }
    }

    /// The worker of the switch dies with all its connections and everything that it knows. A new one
    /// learns of the unanswered requests from the keeper, and goes on under higher generations.
    pub fn worker_dies(&self, down: Micros) {
        self.witness.note("worker-died", String::new);
        self.worker_starts.set(self.sim.now() + down);
        for downstream in &self.connections {
            let path = downstream.path.take();
            path.into_iter().for_each(|path| path.connection.close());
            downstream.unfenced.set(downstream.generations.get());
            self.want_fence(downstream, downstream.generations.get());
        }
    }

    fn want_fence(&self, downstream: &Downstream, oldest: u64) {
        let needed = self.needed_fence(downstream, oldest);
        downstream.wanted_fence.set(downstream.wanted_fence.get().max(needed));
        downstream.changed.raise();
    }

    /// Keeps a path open to where the volume is answered for, and has fenced what must be.
    async fn keep_path(self: Rc<Self>, downstream: Rc<Downstream>) {
        let mut at = Host::Source;
        loop {
            let changed = downstream.changed.wait();
            match downstream.right_path() {
                Some(path) if downstream.fenced.get() < downstream.wanted_fence.get() => {
                    self.fence(&downstream, &path).await;
                }
                Some(path) => drop(first(changed, path.connection.lost()).await),
                None if self.sim.now() < self.worker_starts.get() => {
                    self.sim.sleep(self.worker_starts.get() - self.sim.now()).await;
                }
                None => {
                    at = downstream.next_host(at);
                    if !self.open(&downstream, at).await {
                        self.sim.sleep(RETRY).await;
                    }
                }
            }
        }
    }

    async fn fence(&self, downstream: &Downstream, path: &Path) {
        let generation = Generation { client: path.generation, path: 0 };
        let fence = Call::Fence(downstream.session, generation);
        if let Ok(Reply::Done) = path.connection.call(fence).await {
            downstream.fenced.set(path.generation);
            downstream.changed.raise();
        } else {
            self.sim.sleep(RETRY).await;
        }
    }

    async fn open(&self, downstream: &Downstream, at: Host) -> bool {
        downstream.generations.set(downstream.generations.get() + 1);
        let generation = downstream.generations.get();
        let connection = self.network.connect(Host::Clients, at);
        let path = Generation { client: generation, path: 0 };
        let open = Call::Open(Role::Client(downstream.session, path));
        match connection.call(open).await {
            Ok(Reply::Done) if generation > downstream.unfenced.get() => {
                self.witness.note("path", || {
                    format!("{:?} generation {generation} at {at:?}", downstream.session)
                });
                *downstream.path.borrow_mut() = Some(Path { connection, host: at, generation });
                downstream.changed.raise();
                true
            }
            _ => {
                connection.close();
                false
            }
        }
    }

    async fn work(self: Rc<Self>, downstream: Rc<Downstream>) {
        let mut last = None;
        for number in 0_u64.. {
            let enough = self.answered.get() >= self.load.total_min;
            if self.finishing.get() && enough && last.is_none() {
                last = Some(number + 4);
            }
            if last == Some(number) {
                break;
            }
            let slow = if number < self.load.requests || self.finishing.get() { 1 } else { 200 };
            self.sim.sleep(self.sim.between(0, self.load.pause_max * slow)).await;
            self.request(&downstream).await;
        }
        self.working.set(self.working.get() - 1);
    }

    async fn request(&self, downstream: &Downstream) {
        match self.sim.between(0, 99) {
            0..45 => self.read(downstream).await,
            45..92 => self.write(downstream).await,
            _ => self.flush(downstream).await,
        }
        self.answered.set(self.answered.get() + 1);
        self.witness.add("operation", 1);
    }

    /// Where the next request goes.
    pub(crate) fn extent(&self) -> Extent {
        let all = self.witness.size / BLOCK;
        self.sim.draw(|random| {
            let among = if random.one_in(3) { all } else { self.load.hot_blocks.min(all) };
            let start = random.below(among);
            let end = all.min(start + random.between(1, self.load.blocks_max));
            Extent::between(start * BLOCK, end * BLOCK)
        })
    }

    async fn read(&self, downstream: &Downstream) {
        let extent = self.extent();
        let turn = self.turn(extent, Mode::Shared).await;
        let since = self.sim.now();
        let begun = self.witness.registers.borrow_mut().tick();
        let (reply, _) = self.send(downstream, Request::Read(extent)).await;
        self.end_turn(turn);
        let Reply::Content(content) = reply else {
            return self.witness.client_failed(since, &[Kind::Read], extent);
        };
        self.witness.sim.trace(|| {
            let stamps: Vec<_> = content.iter().map(Stamp::to_string).collect();
            format!("read {extent} by {:?}: {}", downstream.session, stamps.join(" "))
        });
        let first = blocks(extent).start;
        let fault = self.witness.registers.borrow_mut().end_read(first, &content, begun);
        fault.into_iter().for_each(|fault| self.witness.violate(fault));
    }

    async fn write(&self, downstream: &Downstream) {
        let extent = self.extent();
        self.stamps.set(self.stamps.get() + 1);
        let number = self.stamps.get();
        let trim = self.sim.draw(|random| random.one_in(6));
        let stamp = if trim { Stamp::of_trim(number) } else { Stamp::of_write(number) };
        let fua = self.sim.draw(|random| random.one_in(self.load.fua_one_in));
        let content: Content = blocks(extent).map(|_| stamp).collect();
        let turn = self.turn(extent, Mode::Exclusive).await;
        self.witness.registers.borrow_mut().begin_write(blocks(extent), stamp);
        self.sim.trace(|| format!("send {stamp} {extent} by {:?}", downstream.session));
        let since = self.sim.now();
        let (reply, sent) = self.send(downstream, Request::Update { extent, content, fua }).await;
        self.end_turn(turn);
        if matches!(reply, Reply::Failed) {
            // It may have happened or not, as the registers keep it until it is answered.
            let kinds: &[Kind] = if fua { &[Kind::Write, Kind::Flush] } else { &[Kind::Write] };
            return self.witness.client_failed(since, kinds, extent);
        }
        self.sim.trace(|| format!("done {stamp} {extent}"));
        let fault = self.witness.registers.borrow_mut().end_write(blocks(extent), stamp, sent, fua);
        fault.into_iter().for_each(|fault| self.witness.violate(fault));
    }

    /// Waits until nothing overlaps that is not answered.
    pub(crate) async fn turn(&self, extent: Extent, mode: Mode) -> Option<OpId> {
        if self.load.overlapping {
            return None;
        }
        let id = self.record.borrow_mut().admit(extent, mode);
        loop {
            let granted = self.granted.wait();
            if self.record.borrow().is_granted(id) {
                return Some(id);
            }
            granted.await;
        }
    }

    /// Others may have their turn.
    pub(crate) fn end_turn(&self, turn: Option<OpId>) {
        if let Some(id) = turn {
            self.record.borrow_mut().erase(id);
            self.record.borrow_mut().take_granted();
            self.granted.raise();
        }
    }

    async fn flush(&self, downstream: &Downstream) {
        if self.witness.breaks(Mutation::FlushInSwitch) {
            let sent = self.witness.registers.borrow_mut().tick();
            return self.witness.registers.borrow_mut().end_flush(sent);
        }
        let since = self.sim.now();
        let (reply, sent) = self.send(downstream, Request::Flush).await;
        if matches!(reply, Reply::Failed) {
            let whole = Extent::whole(self.witness.size);
            return self.witness.client_failed(since, &[Kind::Flush], whole);
        }
        self.witness.registers.borrow_mut().end_flush(sent);
    }

    /// The fence before a request that was sent last on a path of that generation, or never (0).
    fn needed_fence(&self, downstream: &Downstream, oldest: u64) -> u64 {
        let died_after = downstream.unfenced.get();
        let after = |generation| if generation > 0 { generation + 1 } else { 0 };
        if self.witness.breaks(Mutation::SuccessorWithoutFence) && oldest <= died_after {
            return 0;
        }
        after(oldest.max(died_after))
    }

    /// Sends a request until it is answered; again only after its older copy can no longer execute
    /// (I13). Gives the moment when it was sent last, too.
    async fn send(&self, downstream: &Downstream, request: Request) -> (Reply, Tick) {
        let mut oldest = 0;
        loop {
            let path = downstream.path_after(self.needed_fence(downstream, oldest)).await;
            if oldest > 0 {
                self.witness.resent(&request);
            }
            let sent = self.witness.registers.borrow_mut().tick();
            let request = self.broken_replay(&path, downstream, &request, oldest).await;
            let call = Call::Request(request.clone());
            match path.connection.call(call).await {
                Ok(reply @ (Reply::Done | Reply::Content(_) | Reply::Failed)) => {
                    if let Request::Update { .. } = request {
                        *downstream.answered.borrow_mut() = Some(request);
                    }
                    return (reply, sent);
                }
                Ok(_) => path.connection.close(),
                Err(_) => {}
            }
            if self.witness.breaks(Mutation::ReplayWithoutFence) {
                continue;
            }
            oldest = path.generation;
            self.want_fence(downstream, oldest);
        }
    }
}

impl Clients {
    /// The request as it is sent, which differs only where a test breaks a rule.
    async fn broken_replay(
        &self,
        path: &Path,
        downstream: &Downstream,
        request: &Request,
        oldest: u64,
    ) -> Request {
        let answered = downstream.answered.borrow().clone();
        match (request.clone(), answered) {
            (Request::Update { extent, content, .. }, _)
                if oldest > 0 && self.witness.breaks(Mutation::FuaDropped) =>
            {
                Request::Update { extent, content, fua: false }
            }
            (request, Some(again))
                if oldest > 0 && self.witness.breaks(Mutation::AnsweredSentAgain) =>
            {
                drop(path.connection.call(Call::Request(again)).await);
                request
            }
            (request, _) => request,
        }
    }
}

impl Downstream {
    /// The living path, unless the connection is to move and has not yet.
    fn right_path(&self) -> Option<Path> {
        let moves = self.upstream.get() == Host::Destination;
        let path = self.path.borrow().clone().filter(|path| !path.connection.is_lost());
        path.filter(|path| !moves || path.host == Host::Destination)
    }

    /// Where to try next: the source and, when it does not answer, whether the destination owns the
    /// volume by now.
    fn next_host(&self, last: Host) -> Host {
        let moves = self.upstream.get() == Host::Destination;
        let first = self.path.borrow().is_none() && self.generations.get() == 0;
        if moves || (last == Host::Source && !first) { Host::Destination } else { Host::Source }
    }

    /// A living path, after such a fence.
    async fn path_after(&self, fence: u64) -> Path {
        loop {
            let changed = self.changed.wait();
            let path = self.path.borrow().clone().filter(|path| !path.connection.is_lost());
            if let Some(path) = path
                && self.fenced.get() >= fence
            {
                return path;
            }
            changed.await;
        }
    }
}
