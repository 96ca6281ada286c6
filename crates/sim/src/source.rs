//! The source program: serves clients, the copier and the controller.
//!
//! Every answer that must survive a crash is given after its record is durable; everything else is
//! decided by the machine.

mod steps;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use blockferry_block::{Attempt, Extent};
use blockferry_migration::digest::{LEAF, Noted};
use blockferry_migration::source::{ClaimStep, PhaseName, SessionKey, Source};

use crate::compare::Compared;
use crate::content::{BLOCK, Stamp, blocks, with_pieces};
use crate::executor::{Lock, Pid, Sim, first};
use crate::fences::{Fences, Running};
use crate::link::Link;
use crate::message::{Call, Generation, Reply, Role, Session};
use crate::mutation::Mutation;
use crate::network::{Answer, ConnectionId, Host, Network, Serve};
use crate::records::SourceRecord;
use crate::route::{RESYNC_KEY, Route};
use crate::terms::Terms;
use crate::volume::Volume;
use crate::witness::Witness;

/// One run of the source program.
pub struct SourceProgram {
    sim: Sim,
    witness: Rc<Witness>,
    volume: Rc<Volume>,
    route: Rc<Route>,
    fences: Rc<Fences>,
    roles: RefCell<BTreeMap<ConnectionId, (Role, SessionKey)>>,
    sessions: Cell<u64>,
    committing: Cell<bool>,
    terms: Terms,
    compared: Rc<Compared>,
    /// A commit and an abort exclude one another until either is durable.
    ending: Lock,
}

impl SourceProgram {
    /// Starts the program on what its journal and disk hold.
    pub fn start(witness: &Rc<Witness>, network: &Rc<Network>, process: Pid) -> Rc<Self> {
        let sim = witness.sim.clone();
        witness.source_disk.forget_losses();
        witness.source_journal.reopen();
        let records = witness.source_journal.records();
        let route = Route::new(witness, network, process);
        let machine = recover(&records, witness);
        let route_of_volume = Some(route.clone());
        let volume = Volume::new(witness, process, &witness.source_disk, machine, route_of_volume);
        witness.watch_source(&volume);
        let fences = records.iter().filter_map(|record| match record {
            SourceRecord::Fence(session, generation) => Some((*session, *generation)),
            _ => None,
        });
        // Boot ids grow here, so that the paths of two runs never meet in a generation.
        let boot = sim.unique();
        let ended = [SourceRecord::Committed, SourceRecord::Aborted];
        let compared = Rc::new(Compared::default());
        if !records.iter().any(|record| ended.contains(record)) {
            route.add_session(&volume, RESYNC_KEY, (Session(0), boot));
            Link::start(boot, &volume, &route, &compared);
        }
        Rc::new(Self {
            sim,
            witness: witness.clone(),
            volume,
            route,
            fences: Fences::from_records(fences),
            roles: RefCell::default(),
            sessions: Cell::new(0),
            committing: Cell::new(false),
            terms: Terms::new(witness, Host::Source, last_term(&records)),
            ending: Lock::default(),
            compared,
        })
    }

    async fn answer(self: Rc<Self>, connection: ConnectionId, call: Call) -> Reply {
        match call {
            Call::Open(role) => self.open(connection, role).await,
            Call::Fence(session, generation) => self.fence(session, generation).await,
            Call::Request(request) => {
                let of = self.roles.borrow().get(&connection).copied();
                let Some((Role::Client(session, generation), key)) = of else {
                    return Reply::Refused("no client connection");
                };
                let Some(_running) = self.fences.enter(session, generation) else {
                    return Reply::Refused("fenced");
                };
                self.volume.execute(key, request).await
            }
            Call::Status(extent) => self.status(connection, extent).await,
            Call::CopyRead(extent) => self.copy_read(connection, extent).await,
            Call::Inquire => self.inquire(),
            Call::TakeOver => self.take_over().await,
            Call::Settle { term } => self.settle(term).await,
            Call::Commit { attempt, term } => self.commit(attempt, term).await,
            Call::Abort { term } => self.abort(term).await,
            Call::Verify { .. }
                if self.volume.machine.borrow().phase() == PhaseName::Forwarding =>
            {
                Reply::Refused("the commit has begun")
            }
            Call::Verify { restart } => {
                let (address, mismatched) = self.compared.ask(restart, self.witness.size);
                Reply::Verified { address, mismatched }
            }
            _ => Reply::Refused("the source does not understand"),
        }
    }

    async fn open(&self, connection: ConnectionId, role: Role) -> Reply {
        if let Role::Copy { term, .. } = role
            && let Err(refusal) = self.check_term(term).await
        {
            return refusal;
        }
        let mut key = SessionKey(0);
        if let Role::Client(session, generation) = role {
            if !self.fences.allows(session, generation) {
                return Reply::Refused("fenced");
            }
            self.sessions.set(self.sessions.get() + 1);
            key = SessionKey(self.sessions.get());
            self.route.add_session(&self.volume, key, (session, generation.client));
        }
        self.roles.borrow_mut().insert(connection, (role, key));
        Reply::Done
    }

    /// Nothing older of the session executes here, or, through its forward connections, there.
    async fn fence(&self, session: Session, generation: Generation) -> Reply {
        self.fences.raise(session, generation);
        let record = SourceRecord::Fence(session, generation);
        if self.witness.source_journal.append(record).await.is_err() {
            return Reply::Refused("the journal failed");
        }
        if self.volume.machine.borrow().phase() == PhaseName::Forwarding {
            self.route.fence(session, generation).await;
        }
        self.fences.drained(session, generation).await;
        // The commit may have come while older requests were finishing here.
        if self.volume.machine.borrow().phase() == PhaseName::Forwarding {
            self.route.fence(session, generation).await;
        }
        self.witness.note("fenced-source", || format!("{session:?} {generation:?}"));
        Reply::Done
    }

    fn copier(&self, connection: ConnectionId) -> Option<(u64, u64, Running)> {
        let role = self.roles.borrow().get(&connection).map(|(role, _)| *role);
        let Some(Role::Copy { epoch, term }) = role else { return None };
        Some((epoch, term, self.terms.enter(term)?))
    }

    /// Claims the extent, and waits until it may be read.
    async fn claim(&self, connection: ConnectionId, extent: Extent) -> Option<Running> {
        let (epoch, term, running) = self.copier(connection)?;
        let claim = self.volume.machine.borrow_mut().claim(epoch, extent, extent.len()).ok()?;
        loop {
            let (changed, raised) = (self.volume.changed.wait(), self.terms.raised.wait());
            if !self.terms.allows(term) {
                self.volume.machine.borrow_mut().drop_claim(claim);
                return None;
            }
            let step = self.volume.machine.borrow_mut().claim_step(claim);
            match step {
                ClaimStep::Wait => drop(first(changed, raised).await),
                ClaimStep::Refused(_) => return None,
                ClaimStep::Read => {
                    self.witness.claimed(&self.volume, extent);
                    return Some(running);
                }
            }
        }
    }

    /// How many bytes of the extent's beginning are a hole, in whole leaves; nothing may be written
    /// there at the source alone once it has been told.
    async fn status(&self, connection: ConnectionId, extent: Extent) -> Reply {
        let Some(_running) = self.claim(connection, extent).await else {
            return Reply::Refused("the epoch is over");
        };
        let Some(content) = self.read_claimed(extent).await else { return Reply::Failed };
        let blocks = content.iter().take_while(|stamp| stamp.is_zeroes()).count();
        let hole = blocks as u64 * BLOCK;
        let hole = if hole >= extent.len() { extent.len() } else { hole / LEAF * LEAF };
        let blocks = hole.div_ceil(BLOCK) as usize;
        let hole = &content[..blocks];
        self.note_copied(extent.start(), hole);
        Reply::Hole(hole.to_vec())
    }

    async fn copy_read(&self, connection: ConnectionId, extent: Extent) -> Reply {
        let Some(_running) = self.claim(connection, extent).await else {
            return Reply::Refused("the epoch is over");
        };
        let Some(content) = self.read_claimed(extent).await else { return Reply::Failed };
        self.note_copied(extent.start(), &content);
        Reply::Content(content)
    }

    async fn read_claimed(&self, extent: Extent) -> Option<Vec<Stamp>> {
        match self.volume.disk.read(extent).await {
            Err(_) if self.witness.breaks(Mutation::ReadErrorIgnored) => {
                Some(blocks(extent).map(|_| Stamp::NEVER).collect())
            }
            content => content.ok(),
        }
    }

    fn note_copied(&self, start: u64, content: &[Stamp]) {
        let size = self.witness.size;
        let noted = with_pieces(content, |pieces| Noted::of(start, pieces, size));
        self.volume.machine.borrow_mut().note_copied(noted);
    }

    fn inquire(&self) -> Reply {
        let machine = self.volume.machine.borrow();
        Reply::Standing {
            epoch: self.route.epoch(),
            reserved: machine.sweep().map_or(0, |sweep| sweep.reserved()),
            committed: machine.phase() == PhaseName::Forwarding,
            aborted: self.witness.source_journal.has(|record| *record == SourceRecord::Aborted),
            term: self.terms.known(),
        }
    }
}

impl Serve for SourceProgram {
    fn serve(self: Rc<Self>, connection: ConnectionId, call: Call) -> Answer {
        Box::pin(self.answer(connection, call))
    }
}

fn last_term(records: &[SourceRecord]) -> u64 {
    let term = |record: &SourceRecord| match record {
        SourceRecord::Term(term) => Some(*term),
        _ => None,
    };
    records.iter().filter_map(term).max().unwrap_or_default()
}

/// What the records say after a restart.
fn recover(records: &[SourceRecord], witness: &Witness) -> Source {
    let (size, seeded) = (witness.size, witness.faults.mutations.machine);
    if records.contains(&SourceRecord::Committed) {
        return Source::forwarding(size);
    }
    if !records.contains(&SourceRecord::Sending) || records.contains(&SourceRecord::Aborted) {
        return Source::new(size, seeded);
    }
    let mut logged = BTreeSet::new();
    for record in records {
        if let SourceRecord::Log { remove, add } = record {
            logged.retain(|unit| !remove.contains(unit));
            logged.extend(add);
        }
    }
    if witness.breaks(Mutation::LogForgotten) {
        logged.clear();
    }
    Source::recovering(size, logged, seeded)
}
