//! The keeper itself: clients come in, workers come and go, and each client always has one.

use std::collections::HashMap;
use std::future::pending;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::door::{Admitted, Door, Handover, Outcome, Wish};
use crate::estate::Estate;
use crate::message::{ClientId, PROTOCOL, ToKeeper, ToWorker};
use crate::seats::Seats;
use crate::supervision::{Effect, Ending, Program, Run, Supervision};
use crate::worker::{News, Worker};

/// Workers' news that wait to be heard.
const NEWS_MAX: usize = 1024;
/// How long clients may take to take their last answers when the keeper ends.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// See the module.
pub struct Keeper<D: Door, C> {
    /// There until everything is to end.
    door: Option<D>,
    listen: String,
    /// What the last worker said of what it had bound.
    bound: String,
    command: C,
    supervision: Supervision,
    seats: Seats<D::Socket>,
    /// The one of the supervision's, and the one to come.
    workers: Vec<(Run, Worker)>,
    news: mpsc::Sender<News>,
    last_exit: Option<ExitStatus>,
    over: Option<Over>,
    /// Called when this keeper's first worker serves.
    announce: Option<fn(&D)>,
}

/// Nothing more is to be done for any worker.
#[derive(Clone, Copy)]
enum Over {
    Finished,
    NeverServed,
}

/// Something that the keeper has to deal with.
enum Event<S> {
    Came(Admitted<S>),
    Opened,
    News(News),
    Wish(Wish),
    SeatChanged,
    Time,
}

impl<D: Door, C: FnMut(Program) -> Command> Keeper<D, C> {
    /// A keeper for the clients who come in at `door`; `command` starts a worker, and `announce` is
    /// called when the first one serves.
    pub fn new(door: D, command: C, announce: fn(&D)) -> Self {
        Self {
            listen: door.address(),
            door: Some(door),
            bound: String::new(),
            command,
            supervision: Supervision::new(Instant::now()),
            seats: Seats::new(),
            workers: Vec::new(),
            // Replaced when it runs.
            news: mpsc::channel(1).0,
            last_exit: None,
            over: None,
            announce: Some(announce),
        }
    }

    /// Goes on with what another keeper has left, and those of its clients whose sockets are there.
    #[must_use]
    pub fn that_inherits(
        mut self,
        estate: Estate,
        sockets: HashMap<ClientId, Admitted<D::Socket>>,
    ) -> Self {
        self.bound.clone_from(&estate.bound);
        self.supervision = self.supervision.that_inherits();
        self.seats.inherit(estate, sockets);
        self
    }

    /// Commits a fault on purpose: see [`Talk::that_forgets_answers`](crate::Talk).
    #[must_use]
    pub fn that_forgets_answers(mut self, forget_answers: bool) -> Self {
        self.seats.forget_answers = forget_answers;
        self
    }

    /// Runs until `wishes` asks for the end, or no worker can serve. Runs on a single thread as well
    /// as on several.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) -> Outcome<D> {
        let (news, mut hear) = mpsc::channel(NEWS_MAX);
        self.news = news;
        loop {
            self.supervision.advance(Instant::now(), self.seats.attached());
            while let Some(effect) = self.supervision.next_effect() {
                self.carry_out(effect);
            }
            if let Some(over) = self.over {
                return self.conclude(over).await;
            }
            let event = self.next_event(&mut wishes, &mut hear).await;
            self.apply(event);
        }
    }

    async fn conclude(mut self, over: Over) -> Outcome<D> {
        let left = match (over, self.door.take()) {
            (Over::Finished, Some(door)) => Some((door, self.seats.leave().await)),
            _ => None,
        };
        // Who does not take its last answers in time goes without them.
        let _ = timeout(FAREWELL_MAX, self.seats.all_gone()).await;
        match (over, left) {
            (Over::NeverServed, _) => Outcome::NeverServed(self.last_exit),
            (Over::Finished, None) => Outcome::Ended,
            (Over::Finished, Some((door, (clients, sockets)))) => {
                let (clock, next) = self.seats.counts();
                let (listen, bound) = (self.listen, self.bound);
                let estate = Estate { listen, bound, clock, next, clients };
                Outcome::Left(Box::new(Handover { door, estate, sockets }))
            }
        }
    }

    async fn next_event(
        &mut self,
        wishes: &mut mpsc::Receiver<Wish>,
        hear: &mut mpsc::Receiver<News>,
    ) -> Event<D::Socket> {
        let deadline = self.supervision.deadline();
        let door = self.door.as_ref().filter(|_| !self.supervision.is_ending());
        let (shut, open): (Option<&D>, Option<&D>) = match door {
            Some(door) if door.shut().is_some() => (Some(door), None),
            door => (None, door),
        };
        tokio::select! {
            Some(news) = hear.recv() => Event::News(news),
            Some(wish) = wishes.recv() => Event::Wish(wish),
            () = self.seats.changed() => Event::SeatChanged,
            admitted = admit(open) => Event::Came(admitted),
            () = opened(shut) => Event::Opened,
            () = until(deadline) => Event::Time,
        }
    }

    fn apply(&mut self, event: Event<D::Socket>) {
        let now = Instant::now();
        match event {
            Event::Came(admitted) => {
                let client = self.seats.add(admitted);
                let serving = self.supervision.serving();
                let worker = serving.and_then(|run| Some((run, find(&self.workers, run)?)));
                worker.into_iter().for_each(|worker| self.seats.begin(client, worker));
            }
            Event::Opened => {
                self.listen = self.door.as_ref().map(D::address).unwrap_or_default();
                if let Some(run) = self.supervision.serving() {
                    self.say(run, ToWorker::Shut(String::new()));
                }
            }
            Event::News(News::Said(run, said)) => self.hear(run, said, now),
            Event::News(News::Exited(run, status)) => {
                if self.supervision.has_served() {
                    tracing::info!(run, %status, "a worker has ended");
                }
                self.workers.retain(|(other, _)| *other != run);
                self.last_exit = Some(status);
                self.seats.drain(run);
                self.supervision.exited(run, now);
            }
            Event::Wish(Wish::Reload) => self.supervision.reload(),
            Event::Wish(Wish::ShutDown) => {
                self.door = None;
                self.supervision.end(Ending::ForGood, now);
                self.seats.dismiss_the_waiting();
            }
            Event::Wish(Wish::Leave) => self.supervision.end(Ending::ToAnother, now),
            Event::SeatChanged if self.supervision.is_ending_for_good() => {
                self.seats.dismiss_the_waiting();
            }
            Event::SeatChanged | Event::Time => {}
        }
    }

    fn hear(&mut self, run: Run, said: ToKeeper, now: Instant) {
        match said {
            ToKeeper::Hello(PROTOCOL) => self.supervision.hello(run),
            ToKeeper::Hello(other) => {
                tracing::error!(
                    "the new program's keeper speaks version {other}, this one {PROTOCOL}: \
                     restart the service to bring it in"
                );
                self.supervision.reject(run);
            }
            ToKeeper::Ready(bound) => {
                self.bound = bound;
                self.supervision.ready(run, now);
            }
            ToKeeper::Alive => self.supervision.alive(run, now),
            ToKeeper::Ended { client, cut } => self.seats.dismiss(client, cut),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start(run, program) => self.start(run, program),
            Effect::Begin(run) => {
                let (listen, bound) = (self.listen.clone(), self.bound.clone());
                self.say(run, ToWorker::Begin { run, listen, bound });
            }
            Effect::Serve(run) => self.serve(run),
            Effect::HandOver(run) => self.say(run, ToWorker::HandOver),
            Effect::ShutDown(run) => self.say(run, ToWorker::ShutDown),
            Effect::Kill(run) => {
                tracing::warn!(run, "killing a worker that is late, silent or unknown");
                self.worker(run).into_iter().for_each(Worker::kill);
            }
            Effect::Refused(run) => {
                tracing::error!(run, "the new worker did not start; the present one goes on");
            }
            Effect::Finish => self.over = Some(Over::Finished),
            Effect::GiveUp => {
                self.seats.dismiss_the_waiting();
                self.over = Some(Over::NeverServed);
            }
        }
    }

    fn start(&mut self, run: Run, program: Program) {
        match Worker::start(run, (self.command)(program), self.news.clone()) {
            Ok(worker) => self.workers.push((run, worker)),
            Err(error) => {
                tracing::error!(%error, "a worker cannot be started");
                self.supervision.exited(run, Instant::now());
            }
        }
    }

    fn serve(&mut self, run: Run) {
        if let (Some(door), Some(announce)) = (&self.door, self.announce.take()) {
            announce(door);
        }
        let Some(worker) = find(&self.workers, run) else { return };
        if let Some(why) = self.door.as_ref().and_then(D::shut) {
            worker.say(ToWorker::Shut(why), Vec::new());
        }
        let resumed = self.seats.resume_all(run, worker);
        worker.say(ToWorker::Complete, Vec::new());
        self.seats.begin_all(run, worker);
        tracing::info!(pid = worker.pid, run, resumed, "a worker serves");
    }

    fn say(&self, run: Run, message: ToWorker) {
        self.worker(run).into_iter().for_each(|worker| worker.say(message.clone(), Vec::new()));
    }

    fn worker(&self, run: Run) -> Option<&Worker> {
        find(&self.workers, run)
    }
}

fn find(workers: &[(Run, Worker)], run: Run) -> Option<&Worker> {
    workers.iter().find(|(other, _)| *other == run).map(|(_, worker)| worker)
}

async fn admit<D: Door>(door: Option<&D>) -> Admitted<D::Socket> {
    match door {
        Some(door) => door.admit().await,
        None => pending().await,
    }
}

async fn opened<D: Door>(door: Option<&D>) {
    match door {
        Some(door) => door.opened().await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
