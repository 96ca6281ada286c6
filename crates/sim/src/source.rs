//! The source program: serves clients, the copier and the controller.
//!
//! Every answer that must survive a crash is given after its record is durable; everything else is
//! decided by the machine.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use blockferry_block::{Attempt, Extent};
use blockferry_migration::digest::{LEAF, Noted};
use blockferry_migration::source::{ClaimStep, PhaseName, SessionKey, Source};

use crate::content::{BLOCK, Stamp, blocks, with_pieces};
use crate::executor::{Pid, Sim};
use crate::fences::Fences;
use crate::link::Link;
use crate::message::{Call, Generation, Reply, Role, Session};
use crate::mutation::Mutation;
use crate::network::{Answer, ConnectionId, Network, Serve};
use crate::records::SourceRecord;
use crate::route::{RESYNC_KEY, Route};
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
}

impl SourceProgram {
    /// Starts the program on what its journal and disk hold.
    pub fn start(witness: &Rc<Witness>, network: &Rc<Network>, process: Pid) -> Rc<Self> {
        let sim = witness.sim.clone();
        witness.source_disk.forget_losses();
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
        if volume.machine.borrow().phase() != PhaseName::Forwarding {
            route.add_session(&volume, RESYNC_KEY, (Session(0), boot));
            Link::start(boot, &volume, &route);
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
        })
    }

    async fn answer(self: Rc<Self>, connection: ConnectionId, call: Call) -> Reply {
        match call {
            Call::Open(role) => self.open(connection, role),
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
            Call::Settle => self.settle().await,
            Call::Commit(attempt) => self.commit(attempt).await,
            _ => Reply::Refused("the source does not understand"),
        }
    }

    fn open(&self, connection: ConnectionId, role: Role) -> Reply {
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
        self.witness.source_journal.append(record).await;
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

    fn copy_epoch(&self, connection: ConnectionId) -> Option<u64> {
        match self.roles.borrow().get(&connection) {
            Some((Role::Copy(epoch), _)) => Some(*epoch),
            _ => None,
        }
    }

    /// Claims the extent, and waits until it may be read.
    async fn claim(&self, connection: ConnectionId, extent: Extent, data: u64) -> bool {
        let Some(epoch) = self.copy_epoch(connection) else { return false };
        let claim = self.volume.machine.borrow_mut().claim(epoch, extent, data);
        let Ok(claim) = claim else { return false };
        loop {
            let changed = self.volume.changed.wait();
            let step = self.volume.machine.borrow_mut().claim_step(claim);
            match step {
                ClaimStep::Wait => changed.await,
                ClaimStep::Refused(_) => return false,
                ClaimStep::Read => {
                    self.witness.claimed(&self.volume, extent);
                    return true;
                }
            }
        }
    }

    /// How many bytes of the extent's beginning are a hole, in whole leaves; nothing may be written
    /// there at the source alone once it has been told.
    async fn status(&self, connection: ConnectionId, extent: Extent) -> Reply {
        if !self.claim(connection, extent, extent.len()).await {
            return Reply::Refused("the epoch is over");
        }
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
        if !self.claim(connection, extent, extent.len()).await {
            return Reply::Refused("the epoch is over");
        }
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
        }
    }

    /// One step towards a settled attempt, which gets a number that no other ever had.
    async fn settle(&self) -> Reply {
        let phase = self.volume.machine.borrow().phase();
        let attempts = |records: &[SourceRecord]| {
            records.iter().filter(|r| matches!(r, SourceRecord::Attempt(_))).count() as u64
        };
        if phase == PhaseName::Sweeping {
            let attempt = attempts(&self.witness.source_journal.records()) + 1;
            self.witness.source_journal.append(SourceRecord::Attempt(attempt)).await;
        }
        let attempt = attempts(&self.witness.source_journal.records());
        let Some(epoch) = self.route.epoch() else { return Reply::Refused("not attached") };
        let settled = self.volume.machine.borrow_mut().settle(Attempt(attempt));
        self.volume.after_change();
        if let Err(refusal) = settled {
            self.sim.trace(|| format!("settle {attempt}: {refusal}"));
            return Reply::Refused("cannot settle");
        }
        let missing = self.volume.machine.borrow().missing();
        self.witness.note("settled", || format!("{attempt}: missing {missing:?}"));
        Reply::Settled { attempt, epoch, missing }
    }

    /// The point of no return. A repeated call is answered like the first.
    async fn commit(&self, attempt: u64) -> Reply {
        if self.volume.machine.borrow().phase() == PhaseName::Forwarding {
            return Reply::Done;
        }
        if self.committing.replace(true) {
            return Reply::Refused("a commit is under way");
        }
        let begun = self.volume.machine.borrow_mut().commit_begin(Attempt(attempt));
        if let Err(refusal) = begun {
            self.committing.set(false);
            self.sim.trace(|| format!("commit {attempt}: {refusal}"));
            return Reply::Refused("cannot commit");
        }
        self.witness.committing(attempt);
        self.witness.note("committing", || attempt.to_string());
        if self.witness.breaks(Mutation::ForwardBeforeRecord) {
            self.volume.machine.borrow_mut().commit_durable();
            self.volume.after_change();
        }
        self.witness.source_journal.append(SourceRecord::Committed).await;
        self.witness.committed();
        self.volume.machine.borrow_mut().commit_durable();
        self.witness.note("committed", || attempt.to_string());
        self.volume.after_change();
        Reply::Done
    }
}

impl Serve for SourceProgram {
    fn serve(self: Rc<Self>, connection: ConnectionId, call: Call) -> Answer {
        Box::pin(self.answer(connection, call))
    }
}

/// What the records say after a restart.
fn recover(records: &[SourceRecord], witness: &Witness) -> Source {
    let (size, seeded) = (witness.size, witness.faults.mutations.machine);
    if records.contains(&SourceRecord::Committed) {
        return Source::forwarding(size);
    }
    if !records.contains(&SourceRecord::Sending) {
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
