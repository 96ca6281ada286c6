//! All clients, and which worker has which.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};

use crate::clock::Clock;
use crate::door::Admitted;
use crate::estate::{Estate, Left};
use crate::message::{ClientId, ToWorker};
use crate::pump::Pump;
use crate::record::new_record;
use crate::seat::{ClientSocket, Order, Parted, Seat};
use crate::supervision::Run;
use crate::talk::{Next, Resume, Talk};
use crate::worker::Worker;

/// Orders to a seat that wait: no more than a few for each worker that it has.
const ORDERS_MAX: usize = 16;
/// Reports of seats that wait.
const REPORTS_MAX: usize = 1024;

/// See the module.
pub(crate) struct Seats<S> {
    entries: BTreeMap<ClientId, Entry<S>>,
    next: ClientId,
    clock: Arc<Clock>,
    reports: (mpsc::Sender<Parted>, mpsc::Receiver<Parted>),
    tasks: JoinSet<()>,
    /// The client of each task.
    clients: HashMap<Id, ClientId>,
    pub(crate) forget_answers: bool,
}

struct Entry<S> {
    peer: Option<SocketAddr>,
    /// The client's socket, where it can be lent.
    lent: Option<OwnedFd>,
    orders: mpsc::Sender<Order<S>>,
    place: Place,
}

/// Where a client is.
#[derive(Debug)]
enum Place {
    /// No worker knows it.
    New,
    /// With this worker.
    With(Run),
    /// Its worker has gone.
    Left(Resume),
    /// Nothing more will come of it.
    Dismissed,
}

impl<S: ClientSocket> Seats<S> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            next: 1,
            clock: Arc::default(),
            reports: mpsc::channel(REPORTS_MAX),
            tasks: JoinSet::new(),
            clients: HashMap::new(),
            forget_answers: false,
        }
    }

    /// Takes a client in.
    pub(crate) fn add(&mut self, admitted: Admitted<S>) -> ClientId {
        let client = self.next;
        self.next += 1;
        self.seat(client, admitted, Talk::default(), Place::New);
        client
    }

    /// Takes in what another keeper has left; clients whose sockets are gone are gone.
    pub(crate) fn inherit(&mut self, estate: Estate, mut sockets: HashMap<ClientId, Admitted<S>>) {
        self.clock.go_on_at(estate.clock);
        self.next = self.next.max(estate.next);
        for Left { client, mut talk, .. } in estate.clients {
            let Some(admitted) = sockets.remove(&client) else { continue };
            match talk.part() {
                Next::Fresh => self.seat(client, admitted, talk, Place::New),
                Next::Resume(resume) => self.seat(client, admitted, talk, Place::Left(resume)),
                Next::Over(lost) => {
                    tracing::error!(client, "a client cannot be gone on with: {lost}")
                }
            }
        }
    }

    /// Leaves every client whom no worker has to another keeper; the others have been dismissed.
    pub(crate) async fn leave(&mut self) -> (Vec<Left>, Vec<(ClientId, S)>) {
        let (mut clients, mut sockets) = (Vec::new(), Vec::new());
        for (client, entry) in &mut self.entries {
            if matches!(entry.place, Place::New | Place::Left(_)) {
                let (heir, left) = oneshot::channel();
                entry.order(Order::Leave(heir));
                entry.place = Place::Dismissed;
                // A client that has just gone leaves nothing.
                let Ok((socket, talk)) = left.await else { continue };
                clients.push(Left { client: *client, peer: entry.peer, talk });
                sockets.push((*client, socket));
            }
        }
        (clients, sockets)
    }

    /// How much was received so far, and the number of the next client.
    pub(crate) fn counts(&self) -> (u64, ClientId) {
        (self.clock.now(), self.next)
    }

    fn seat(&mut self, client: ClientId, admitted: Admitted<S>, talk: Talk, at: Place) {
        let Admitted { socket, peer, place } = admitted;
        let lent = socket.to_lend();
        let talk = talk.that_forgets_answers(self.forget_answers).that_lends(lent.is_some());
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let seat = Seat {
            client,
            pump: Pump::new(socket, talk),
            clock: Arc::clone(&self.clock),
            orders: receiver,
            reports: self.reports.0.clone(),
            _place: place,
        };
        let task = self.tasks.spawn(seat.run());
        self.clients.insert(task.id(), client);
        self.entries.insert(client, Entry { peer, lent, orders, place: at });
    }

    /// How many clients are with a worker, dead or alive.
    pub(crate) fn attached(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.place, Place::With(_))).count()
    }

    /// Waits until something has changed with a client, and notes it.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            Some(parted) = self.reports.1.recv() => self.parted(parted),
            ended = join_next(&mut self.tasks) => self.gone(ended),
        }
    }

    /// Waits until no client is left.
    pub(crate) async fn all_gone(&mut self) {
        while !self.entries.is_empty() {
            self.changed().await;
        }
    }

    fn parted(&mut self, Parted { client, next }: Parted) {
        let Some(entry) = self.entries.get_mut(&client) else { return };
        if matches!(entry.place, Place::Dismissed) {
            return;
        }
        entry.place = match next {
            Next::Fresh => Place::New,
            Next::Resume(resume) => Place::Left(resume),
            Next::Over(lost) => {
                // Where its worker lives it says that the connection is over, and this comes first.
                tracing::debug!(client, "a client cannot be given to another worker: {lost}");
                entry.order(Order::Dismiss { cut: false });
                Place::Dismissed
            }
        };
    }

    fn gone(&mut self, task: Id) {
        if let Some(client) = self.clients.remove(&task) {
            self.entries.remove(&client);
        }
    }

    /// Gives a new client to a worker.
    pub(crate) fn begin(&mut self, client: ClientId, (run, worker): (Run, &Worker)) {
        if let Some(entry) = self.entries.get_mut(&client) {
            entry.give(run, worker, ToWorker::Client(client, entry.peer));
        }
    }

    /// Gives all new clients to a worker.
    pub(crate) fn begin_all(&mut self, run: Run, worker: &Worker) {
        for (client, entry) in &mut self.entries {
            if matches!(entry.place, Place::New) {
                entry.give(run, worker, ToWorker::Client(*client, entry.peer));
            }
        }
    }

    /// Gives all clients of former workers to a worker; tells how many.
    pub(crate) fn resume_all(&mut self, run: Run, worker: &Worker) -> usize {
        let mut count = 0;
        for (client, entry) in &mut self.entries {
            if let Place::Left(resume) = &entry.place {
                let message = ToWorker::Resume(*client, entry.peer, resume.clone());
                entry.give(run, worker, message);
                count += 1;
            }
        }
        count
    }

    /// This worker is dead.
    pub(crate) fn drain(&self, run: Run) {
        let with = |entry: &&Entry<S>| matches!(entry.place, Place::With(with) if with == run);
        self.entries.values().filter(with).for_each(|entry| entry.order(Order::Drain));
    }

    /// A worker says that a connection is over.
    pub(crate) fn dismiss(&mut self, client: ClientId, cut: bool) {
        if let Some(entry) = self.entries.get_mut(&client) {
            entry.place = Place::Dismissed;
            entry.order(Order::Dismiss { cut });
        }
    }

    /// Those whom no worker has go.
    pub(crate) fn dismiss_the_waiting(&mut self) {
        for entry in self.entries.values_mut() {
            if matches!(entry.place, Place::New | Place::Left(_)) {
                entry.place = Place::Dismissed;
                entry.order(Order::Dismiss { cut: false });
            }
        }
    }
}

impl<S> Entry<S> {
    /// What the seat gets and what its worker gets: two ends of a new pair and, where the client's
    /// socket can be lent, memory for a record of that, the worker with the socket itself.
    fn sockets(&self) -> io::Result<(Order<S>, Vec<OwnedFd>)> {
        let (near, far) = UnixStream::pair()?;
        let far = OwnedFd::from(far.into_std()?);
        let Some(lent) = &self.lent else { return Ok((Order::Serve(near, None), vec![far])) };
        let record = new_record()?;
        let for_worker = vec![far, lent.try_clone()?, record.try_clone()?];
        Ok((Order::Serve(near, Some(record)), for_worker))
    }

    fn order(&self, order: Order<S>) {
        // A seat that has ended needs no orders.
        let _ = self.orders.try_send(order);
    }

    fn give(&mut self, run: Run, worker: &Worker, message: ToWorker) {
        match self.sockets() {
            Ok((serve, sockets)) => {
                worker.say(message, sockets);
                self.order(serve);
                self.place = Place::With(run);
            }
            Err(error) => {
                tracing::error!(%error, "a client cannot be given to a worker");
                self.order(Order::Dismiss { cut: false });
                self.place = Place::Dismissed;
            }
        }
    }
}

async fn join_next(tasks: &mut JoinSet<()>) -> Id {
    match tasks.join_next_with_id().await {
        Some(Ok((id, ()))) => id,
        Some(Err(error)) => {
            tracing::error!(%error, "a client's seat has failed");
            error.id()
        }
        None => pending().await,
    }
}
