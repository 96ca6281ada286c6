//! The volume as a disk of initiators, at one program: who is logged in, whose commands may execute, and
//! what the initiators have set.
//!
//! A session of an initiator has no generation that the initiator counts: a login ends the older session,
//! and is answered when nothing of it executes any more. Before a commit all are hushed; after it their
//! initiators are told to log in elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_migration::record::{DiskRecord, VolumeRecord};
use blockferry_migration::source::SessionKey;

use crate::executor::{Lock, SECOND, Signal, Sim};
use crate::fences::{Fences, Running};
use crate::message::{Call, Generation, Reply, Session};
use crate::mutation::Mutation;
use crate::network::{Connection, ConnectionId};
use crate::records::Records;
use crate::witness::Witness;

/// Commands that are under way end within this time, or there is no commit now.
const HUSH_TIMEOUT: u64 = 2 * SECOND;

/// The destination keeps a state within this time.
const SEND_TIMEOUT: u64 = 2 * SECOND;

/// A program's disk.
pub struct Unit {
    sim: Sim,
    witness: Rc<Witness>,
    sessions: RefCell<BTreeMap<ConnectionId, Login>>,
    /// Which sessions may execute, and what does.
    fences: Rc<Fences>,
    hushed: Cell<bool>,
    left: Cell<bool>,
    changed: Signal,
    keeping: Lock,
    values: RefCell<BTreeMap<u64, u64>>,
}

/// A session of an initiator.
#[derive(Clone, Copy)]
struct Login {
    session: Session,
    generation: Generation,
    key: SessionKey,
}

impl Unit {
    /// A disk as the records tell; `left` when the volume has moved away from here.
    pub fn new(witness: &Rc<Witness>, records: &Records, left: bool) -> Rc<Self> {
        let state = records.state().and_then(|state| state.disk);
        Rc::new(Self {
            sim: witness.sim.clone(),
            witness: witness.clone(),
            sessions: RefCell::default(),
            fences: Rc::default(),
            hushed: Cell::new(false),
            left: Cell::new(left),
            changed: Signal::default(),
            keeping: Lock::default(),
            values: RefCell::new(state.map(|disk| decoded(&disk.state)).unwrap_or_default()),
        })
    }

    /// Takes an initiator in, once its older session has ended. The generation is younger than those of all
    /// its sessions before, here and in other runs of the program.
    pub async fn log_in(
        &self,
        connection: ConnectionId,
        session: Session,
        key: SessionKey,
    ) -> Option<Generation> {
        let generation = Generation { client: self.sim.unique(), path: 0 };
        if !self.witness.breaks(Mutation::EndedSessionExecutes) {
            self.fences.raise(session, generation);
            self.changed.raise();
            self.fences.drained(session, generation).await;
        }
        if self.has_left() || !self.fences.allows(session, generation) {
            return None;
        }
        self.sessions.borrow_mut().insert(connection, Login { session, generation, key });
        self.witness.note("login", || format!("{session:?} {generation:?}"));
        Some(generation)
    }

    /// Whether an initiator has logged in over the connection.
    pub fn knows(&self, connection: ConnectionId) -> bool {
        self.sessions.borrow().contains_key(&connection)
    }

    fn has_left(&self) -> bool {
        self.left.get() && !self.witness.breaks(Mutation::LoginAfterCommit)
    }

    /// Begins a command of a session: what keeps it under way, and the session's key.
    ///
    /// # Errors
    /// What its initiator is told instead.
    pub async fn begin(&self, connection: ConnectionId) -> Result<(Running, SessionKey), Reply> {
        let login = self.sessions.borrow().get(&connection).copied();
        let Some(Login { session, generation, key }) = login else {
            return Err(Reply::Refused("nobody is logged in"));
        };
        loop {
            let changed = self.changed.wait();
            if self.has_left() {
                return Err(Reply::LogOut);
            }
            if !self.fences.allows(session, generation) {
                return Err(Reply::Refused("the session has ended"));
            }
            if !self.hushed.get() {
                break;
            }
            changed.await;
        }
        let running = self.fences.enter(session, generation);
        running.map(|running| (running, key)).ok_or(Reply::Refused("the session has ended"))
    }

    /// Ends when no command is under way and no state is being kept; neither begins before
    /// [`Unit::unhush`]. `false` when that takes too long.
    pub async fn hush(&self) -> bool {
        if self.witness.breaks(Mutation::CommitWithoutHush) {
            return true;
        }
        self.hushed.set(true);
        let ended = self.sim.timeout(HUSH_TIMEOUT, self.fences.idle()).await;
        ended.is_some()
    }

    /// The volume stays here.
    pub fn unhush(&self) {
        self.hushed.set(false);
        self.changed.raise();
    }

    /// The volume has moved: commands that have not begun are for elsewhere.
    pub fn leave(&self) {
        self.left.set(true);
        self.unhush();
    }

    /// Sets an initiator's value, durable here; for a command that has begun.
    pub async fn set(&self, records: &Records, connection: ConnectionId, value: u64) -> Reply {
        let _turn = self.keeping.turn().await;
        let session = self.sessions.borrow().get(&connection).map_or(0, |login| login.session.0);
        self.values.borrow_mut().insert(session, value);
        let disk = records.state().and_then(|state| state.disk);
        let serial = disk.map_or(0, |disk| disk.serial) + 1;
        let state = encoded(&self.values.borrow());
        match records.append(record(serial, state)).await {
            Ok(()) => Reply::Done,
            Err(_) => Reply::Refused("the journal failed"),
        }
    }

    /// An initiator's value.
    pub fn value(&self, connection: ConnectionId) -> Reply {
        let session = self.sessions.borrow().get(&connection).map_or(0, |login| login.session.0);
        Reply::Value(self.values.borrow().get(&session).copied().unwrap_or(0))
    }

    /// Makes the state durable at the destination, too. `false` when it may not be.
    pub async fn send(&self, records: &Records, connection: &Connection) -> bool {
        if self.witness.breaks(Mutation::DiskNotSent) {
            return true;
        }
        let disk = records.state().and_then(|state| state.disk);
        let Some(DiskRecord { serial, state, .. }) = disk else { return true };
        let sent = connection.call(Call::Disk { serial, state });
        let kept = matches!(self.sim.timeout(SEND_TIMEOUT, sent).await, Some(Ok(Reply::Done)));
        connection.close();
        kept
    }
}

/// What is recorded of a disk.
pub fn record(serial: u64, state: String) -> VolumeRecord {
    VolumeRecord::Disk(DiskRecord { uuid: String::new(), serial, state })
}

fn encoded(values: &BTreeMap<u64, u64>) -> String {
    let values: Vec<_> =
        values.iter().map(|(session, value)| format!("{session}={value}")).collect();
    values.join(" ")
}

fn decoded(state: &str) -> BTreeMap<u64, u64> {
    let pairs = state.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs
        .filter_map(|(session, value)| Some((session.parse().ok()?, value.parse().ok()?)))
        .collect()
}
