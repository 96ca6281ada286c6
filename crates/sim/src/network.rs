//! Connections that keep their own order and no other, break, stall, and go on delivering what was
//! sent before they broke.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};

use crate::executor::{MILLIS, Micros, Pid, SECOND, Signal, Sim, first};
use crate::exhaust;
use crate::message::{Call, Reply};

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The first storage program.
    Source,
    /// The second.
    Destination,
    /// Who copies and decides.
    Controller,
    /// All clients.
    Clients,
}

/// A connection as its server numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// An answer on its way.
pub type Answer = Pin<Box<dyn Future<Output = Reply>>>;

/// A process that answers.
pub trait Serve {
    /// Executes a message. Messages of one connection begin in their order.
    fn serve(self: Rc<Self>, connection: ConnectionId, call: Call) -> Answer;
}

/// The connection broke before the answer came; the message may have been executed, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest delay of an ordinary message.
    pub delay_max: Micros,
    /// One message in so many takes up to 30 times as long.
    pub slow_one_in: u64,
    /// Longest time that a broken connection goes on delivering.
    pub late_max: Micros,
}

type Listener = (Pid, Rc<dyn Serve>);

/// All connections.
pub struct Network {
    sim: Sim,
    weather: Weather,
    listeners: RefCell<BTreeMap<Host, Listener>>,
    links: RefCell<Vec<Weak<Link>>>,
}

struct Link {
    id: ConnectionId,
    from: Host,
    to: Host,
    server: Option<Pid>,
    there: Cell<Micros>,
    back: Cell<Micros>,
    held_until: Cell<Micros>,
    back_held_until: Cell<Micros>,
    delivers_until: Cell<Micros>,
    lost: Cell<bool>,
    losing: Signal,
}

impl Link {
    fn lose(&self) {
        self.lost.set(true);
        self.losing.raise();
    }
}

/// The client's end of a connection; dropping it closes it.
#[derive(Clone)]
pub struct Connection {
    network: Rc<Network>,
    link: Rc<Link>,
}

impl Network {
    /// A network without listeners.
    pub fn new(sim: &Sim, weather: Weather) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            weather,
            listeners: RefCell::default(),
            links: RefCell::default(),
        })
    }

    /// A process serves at the host from now on.
    pub fn listen(&self, host: Host, process: Pid, server: Rc<dyn Serve>) {
        self.listeners.borrow_mut().insert(host, (process, server));
    }

    /// Nobody serves there any more: connections to it break, and what it had sent may yet arrive.
    pub fn fall_silent(&self, host: Host) {
        let gone = self.listeners.borrow_mut().remove(&host);
        drop(gone);
        self.break_where(|link| link.from == host || link.to == host, 50 * MILLIS);
    }

    /// Opens a connection. That nobody listens shows at the first call.
    pub fn connect(self: &Rc<Self>, from: Host, to: Host) -> Connection {
        let server = self.listeners.borrow().get(&to).map(|(process, _)| *process);
        let link = Rc::new(Link {
            id: ConnectionId(self.sim.unique()),
            from,
            to,
            server,
            there: Cell::new(0),
            back: Cell::new(0),
            held_until: Cell::new(0),
            back_held_until: Cell::new(0),
            delivers_until: Cell::new(Micros::MAX),
            lost: Cell::new(false),
            losing: Signal::default(),
        });
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.strong_count() > 0);
        links.push(Rc::downgrade(&link));
        Connection { network: self.clone(), link }
    }

    /// Breaks each connection between the two hosts with the given chance in percent.
    pub fn break_some(&self, a: Host, b: Host, percent: u64) {
        let chosen = |_: &Link| self.sim.draw(|random| random.below(100) < percent);
        let between = |l: &Link| (l.from, l.to) == (a, b) || (l.from, l.to) == (b, a);
        self.break_where(|link| between(link) && chosen(link), SECOND);
    }

    /// Holds everything between the two hosts back for a while, in both directions.
    pub fn stall(&self, a: Host, b: Host, length: Micros, percent: u64) {
        let until = self.sim.now() + length;
        for link in self.living() {
            let between = (link.from, link.to) == (a, b) || (link.from, link.to) == (b, a);
            if between && self.sim.draw(|random| random.below(100) < percent) {
                link.held_until.set(until);
                if self.sim.draw(|random| random.one_in(2)) {
                    link.back_held_until.set(until);
                }
            }
        }
    }

    fn living(&self) -> Vec<Rc<Link>> {
        self.links.borrow().iter().filter_map(Weak::upgrade).filter(|l| !l.lost.get()).collect()
    }

    fn break_where(&self, chosen: impl Fn(&Link) -> bool, noticed_max: Micros) {
        for link in self.living() {
            if chosen(&link) {
                self.break_link(&link, noticed_max);
            }
        }
    }

    /// What is under way to the server may arrive yet, in its order and up to some point.
    fn break_link(&self, link: &Rc<Link>, noticed_max: Micros) {
        let now = self.sim.now();
        let late = if self.sim.draw(|random| random.one_in(2)) { 0 } else { self.weather.late_max };
        link.delivers_until.set(now + self.sim.between(0, late));
        link.held_until.set(now + self.sim.between(0, late));
        let link = link.clone();
        self.sim.at(now + self.sim.between(0, noticed_max), move || link.lose());
    }

    fn delay(&self) -> Micros {
        let weather = self.weather;
        self.sim.draw(|random| {
            let delay = random.between(20, weather.delay_max);
            let slow = weather.slow_one_in > 0 && random.one_in(weather.slow_one_in);
            if slow { delay * random.between(2, 30) } else { delay }
        })
    }

    fn deliver(self: Rc<Self>, link: Rc<Link>, call: Call, answer: Rc<Slot>) {
        if self.sim.now() > link.delivers_until.get() {
            return;
        }
        let held_until = link.held_until.get();
        if self.sim.now() < held_until {
            self.sim.clone().at(held_until, move || self.deliver(link, call, answer));
            return;
        }
        let listener = self.listeners.borrow().get(&link.to).cloned();
        match listener {
            Some((process, server)) if Some(process) == link.server => {
                let sim = self.sim.clone();
                sim.spawn(process, async move {
                    let reply = server.serve(link.id, call).await;
                    self.send_back(&link, reply, answer);
                });
            }
            _ => {
                let delay = self.delay();
                self.sim.at(self.sim.now() + delay, move || link.lose());
            }
        }
    }

    fn send_back(&self, link: &Rc<Link>, reply: Reply, answer: Rc<Slot>) {
        if link.delivers_until.get() != Micros::MAX {
            return;
        }
        let arrival = (self.sim.now() + self.delay()).max(link.back.get() + 1);
        let arrival = arrival.max(link.back_held_until.get());
        link.back.set(arrival);
        exhaust::pass_answered(&self.sim, link.to, link.from);
        let link = link.clone();
        self.sim.at(arrival, move || {
            if !link.lost.get() {
                answer.fill(reply);
            }
        });
    }
}

impl Connection {
    /// Sends a message and waits for its answer.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn call(&self, call: Call) -> Result<Reply, Lost> {
        if self.link.lost.get() {
            return Err(Lost);
        }
        let (network, link) = (self.network.clone(), self.link.clone());
        let arrival = (network.sim.now() + network.delay()).max(link.there.get() + 1);
        link.there.set(arrival);
        exhaust::pass_sent(&network.sim, link.from, link.to);
        let answer = Rc::new(Slot::default());
        let slot = answer.clone();
        let sim = network.sim.clone();
        sim.at(arrival, move || network.deliver(link, call, slot));
        first(answer.filled(), self.link.losing.wait()).await.ok_or(Lost)
    }

    /// Closes the connection; what was sent may arrive yet.
    pub fn close(&self) {
        if !self.link.lost.get() {
            self.network.break_link(&self.link, 0);
            self.link.lose();
        }
    }

    /// Whether it is broken or closed.
    pub fn is_lost(&self) -> bool {
        self.link.lost.get()
    }

    /// Waits until it is broken or closed.
    pub async fn lost(&self) {
        while !self.link.lost.get() {
            self.link.losing.wait().await;
        }
    }

    /// Its number.
    pub fn id(&self) -> ConnectionId {
        self.link.id
    }
}

/// The place of one answer.
#[derive(Default)]
struct Slot {
    reply: RefCell<Option<Reply>>,
    filled: Signal,
}

impl Slot {
    fn fill(&self, reply: Reply) {
        *self.reply.borrow_mut() = Some(reply);
        self.filled.raise();
    }

    async fn filled(&self) -> Reply {
        loop {
            if let Some(reply) = self.reply.borrow_mut().take() {
                return reply;
            }
            self.filled.wait().await;
        }
    }
}
