//! Initiators: they log in where the volume is, log in again when their session has ended, and then send
//! again whatever was not answered.
//!
//! They never overlap a write of theirs that may have to be sent again, but COMPARE AND WRITEs race each
//! other: one that is sent again changes nothing a second time, since what it expects is gone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::in_flight::Mode;

use crate::client::Clients;
use crate::content::{Content, Stamp, block_extent, blocks};
use crate::executor::{MILLIS, Pid, SECOND, Signal, Sim, first};
use crate::message::{Call, Reply, Request, Session};
use crate::network::{Connection, Host, Network};
use crate::registers::Tick;
use crate::route::RETRY;
use crate::witness::Witness;

/// Their sessions' numbers begin above those of all other clients.
const SESSIONS: u64 = 1_000;

/// Their stamps' numbers begin above those of all other clients.
const STAMPS: u64 = 1 << 32;

/// Commands under way of each initiator.
const DEPTH: u64 = 3;

/// A login is answered within this time, or is tried elsewhere.
const LOGIN_MAX: u64 = 4 * SECOND;

/// They race for so many blocks.
const RACED: u64 = 3;

/// All initiators of the volume.
pub struct Initiators {
    sim: Sim,
    network: Rc<Network>,
    witness: Rc<Witness>,
    clients: Rc<Clients>,
    initiators: Vec<Rc<Initiator>>,
    stamps: Cell<u64>,
    working: Cell<u64>,
    /// By what each value was replaced, and when that was sent last.
    replaced: RefCell<BTreeMap<(usize, Stamp), (Stamp, Tick)>>,
}

struct Initiator {
    session: Session,
    connection: RefCell<Option<Connection>>,
    changed: Signal,
}

impl Initiators {
    /// Initiators that have not begun.
    pub fn new(
        witness: &Rc<Witness>,
        network: &Rc<Network>,
        clients: &Rc<Clients>,
        count: u64,
    ) -> Rc<Self> {
        let initiator = |number| Initiator {
            session: Session(SESSIONS + number),
            connection: RefCell::default(),
            changed: Signal::default(),
        };
        Rc::new(Self {
            sim: witness.sim.clone(),
            network: network.clone(),
            witness: witness.clone(),
            clients: clients.clone(),
            initiators: (0..count).map(|number| Rc::new(initiator(number))).collect(),
            stamps: Cell::new(STAMPS),
            working: Cell::new(count * (DEPTH + 1)),
            replaced: RefCell::default(),
        })
    }

    /// Begins their load.
    pub fn start(self: &Rc<Self>) {
        for initiator in &self.initiators {
            self.sim.spawn(Pid::WORLD, self.clone().stay_logged_in(initiator.clone()));
            self.sim.spawn(Pid::WORLD, self.clone().register(initiator.clone()));
            for _ in 0..DEPTH {
                self.sim.spawn(Pid::WORLD, self.clone().work(initiator.clone()));
            }
        }
    }

    /// Whether every command has been answered.
    pub fn is_finished(&self) -> bool {
        self.working.get() == 0
    }

    async fn stay_logged_in(self: Rc<Self>, initiator: Rc<Initiator>) {
        let mut at = Host::Source;
        loop {
            let changed = initiator.changed.wait();
            let living = initiator.connection.borrow().clone();
            if let Some(connection) = living.filter(|connection| !connection.is_lost()) {
                first(changed, connection.lost()).await;
                continue;
            }
            let connection = self.network.connect(Host::Clients, at);
            let login = connection.call(Call::LogIn(initiator.session));
            match self.sim.timeout(LOGIN_MAX, login).await {
                Some(Ok(Reply::Done)) => {
                    *initiator.connection.borrow_mut() = Some(connection);
                    initiator.changed.raise();
                    continue;
                }
                Some(Ok(Reply::LogOut)) => at = Host::Destination,
                _ if at == Host::Source => at = Host::Destination,
                _ => at = Host::Source,
            }
            connection.close();
            self.sim.sleep(RETRY).await;
        }
    }

    async fn work(self: Rc<Self>, initiator: Rc<Initiator>) {
        let mut last = None;
        for number in 0_u64.. {
            if self.clients.is_finished() {
                last.get_or_insert(number + 4);
            }
            if last == Some(number) {
                break;
            }
            self.sim.sleep(self.sim.between(0, 4 * MILLIS)).await;
            match self.sim.between(0, 9) {
                0..3 => drop(self.read(&initiator, self.clients.extent()).await),
                3..6 => self.write(&initiator).await,
                _ => self.compare_and_write(&initiator).await,
            }
            self.witness.add("command", 1);
        }
        self.working.set(self.working.get() - 1);
    }

    /// Sets one value after the other, which have to stay whatever happens.
    async fn register(self: Rc<Self>, initiator: Rc<Initiator>) {
        let mut last = None;
        for value in 1_u64.. {
            self.send(&initiator, &Call::Set(value)).await;
            let (found, ..) = self.send(&initiator, &Call::Value).await;
            if !matches!(found, Reply::Value(found) if found == value) {
                let session = initiator.session;
                self.witness
                    .violate(format!("I8: {session:?} has set {value} and finds {found:?}"));
            }
            if self.clients.is_finished() {
                last.get_or_insert(value + 2);
            }
            if last == Some(value) {
                break;
            }
            self.sim.sleep(self.sim.between(0, 10 * MILLIS)).await;
        }
        self.working.set(self.working.get() - 1);
    }

    async fn read(&self, initiator: &Initiator, extent: Extent) -> Vec<Stamp> {
        let turn = self.clients.turn(extent, Mode::Shared).await;
        let begun = self.witness.registers.borrow_mut().tick();
        let read = Call::Request(Request::Read(extent));
        let (reply, ..) = self.send(initiator, &read).await;
        self.clients.end_turn(turn);
        let Reply::Content(content) = reply else { return Vec::new() };
        self.has_read(extent, &content, begun);
        content
    }

    fn has_read(&self, extent: Extent, content: &[Stamp], begun: Tick) {
        let first = blocks(extent).start;
        let fault = self.witness.registers.borrow_mut().end_read(first, content, begun);
        fault.into_iter().for_each(|fault| self.witness.violate(fault));
    }

    fn stamp(&self) -> Stamp {
        self.stamps.set(self.stamps.get() + 1);
        Stamp::of_write(self.stamps.get())
    }

    async fn write(&self, initiator: &Initiator) {
        let (extent, stamp) = (self.clients.extent(), self.stamp());
        let content: Content = blocks(extent).map(|_| stamp).collect();
        let turn = self.clients.turn(extent, Mode::Exclusive).await;
        self.witness.registers.borrow_mut().begin_write(blocks(extent), stamp);
        let write = Call::Request(Request::Update { extent, content, fua: false });
        let (reply, sent, _) = self.send(initiator, &write).await;
        self.clients.end_turn(turn);
        if matches!(reply, Reply::Done) {
            self.has_written(extent, stamp, sent);
        }
    }

    fn has_written(&self, extent: Extent, stamp: Stamp, sent: Tick) {
        let fault =
            self.witness.registers.borrow_mut().end_write(blocks(extent), stamp, sent, false);
        fault.into_iter().for_each(|fault| self.witness.violate(fault));
    }

    /// Replaces what a block has by something else: nobody else may replace the same.
    async fn compare_and_write(&self, initiator: &Initiator) {
        let among = blocks(Extent::whole(self.witness.size)).len() as u64;
        let block = self.sim.between(0, RACED.min(among) - 1) as usize;
        let extent = block_extent(block);
        let Some(&expected) = self.read(initiator, extent).await.first() else { return };
        let stamp = self.stamp();
        let turn = self.clients.turn(extent, Mode::Shared).await;
        self.witness.registers.borrow_mut().begin_write(blocks(extent), stamp);
        let begun = self.witness.registers.borrow_mut().tick();
        let step = Request::CompareAndWrite { extent, expected, stamp };
        let (reply, sent, repeated) = self.send(initiator, &Call::Request(step)).await;
        self.clients.end_turn(turn);
        match reply {
            Reply::Done => self.has_replaced(block, [expected, stamp], (begun, sent)),
            Reply::Differs(found) if repeated && found == stamp => {
                self.has_replaced(block, [expected, stamp], (begun, sent));
            }
            Reply::Differs(found) => self.has_read(extent, &[found], begun),
            _ => {}
        }
    }

    fn has_replaced(&self, block: usize, [old, new]: [Stamp; 2], (begun, sent): (Tick, Tick)) {
        self.witness.add("replaced", 1);
        let restored = self.witness.registers.borrow().restored();
        let other = self.replaced.borrow_mut().insert((block, old), (new, sent));
        // A loss of power may have brought the older value back, also behind an answer that was under way.
        let stands = |at: Tick| at > restored;
        if let Some((other, at)) = other.filter(|(_, at)| stands(*at) && stands(sent)) {
            let what = format!("I15: block {block}: {other} at {at} and {new} both replaced {old}");
            self.witness.violate(what);
        }
        self.has_read(block_extent(block), &[old], begun);
        self.has_written(block_extent(block), new, sent);
    }

    /// Sends a command until it is answered, however many sessions that takes. Gives the moment when it was
    /// sent last, and whether it may have been executed before.
    async fn send(&self, initiator: &Initiator, call: &Call) -> (Reply, Tick, bool) {
        let mut repeated = false;
        loop {
            let connection = initiator.session().await;
            let sent = self.witness.registers.borrow_mut().tick();
            match connection.call(call.clone()).await {
                // It has not begun.
                Ok(Reply::LogOut | Reply::Refused(_)) => {}
                Ok(reply) => return (reply, sent, repeated),
                Err(_) => repeated = true,
            }
            initiator.has_lost(&connection);
        }
    }
}

impl Initiator {
    async fn session(&self) -> Connection {
        loop {
            let changed = self.changed.wait();
            let living = self.connection.borrow().clone();
            if let Some(connection) = living.filter(|connection| !connection.is_lost()) {
                return connection;
            }
            changed.await;
        }
    }

    fn has_lost(&self, connection: &Connection) {
        connection.close();
        let mut current = self.connection.borrow_mut();
        if current.as_ref().is_some_and(|current| current.id() == connection.id()) {
            *current = None;
        }
        drop(current);
        self.changed.raise();
    }
}
