//! The source program: serves clients, the copier and the controller.
//!
//! Every answer that must survive a crash is given after its record is durable; everything else is
//! decided by the machine.

mod steps;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_block::{Attempt, BootId, Extent};
use blockferry_migration::digest::{LEAF, Noted};
use blockferry_migration::record::{Part, VolumeRecord};
use blockferry_migration::source::{ClaimStep, PhaseName, SessionKey};
use blockferry_records::{RecordsError, Restarted};

use crate::content::{BLOCK, Stamp, blocks, with_pieces};
use crate::executor::{Lock, Pid, Sim, first};
use crate::fences::{Fences, Running};
use crate::link::Link;
use crate::message::{Call, Generation, Reply, Role, Session};
use crate::mutation::Mutation;
use crate::network::{Answer, ConnectionId, Host, Network, Serve};
use crate::records::{self, Records};
use crate::route::{RESYNC_KEY, Route};
use crate::terms::Terms;
use crate::unit::Unit;
use crate::volume::Volume;
use crate::witness::Witness;

const UNRECORDED: Reply = Reply::Refused("the journal failed");

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
    terms: Rc<Terms>,
    unit: Rc<Unit>,
    /// A commit and an abort exclude one another until either is durable.
    ending: Lock,
}

impl SourceProgram {
    /// Starts the program on what its files and its disk hold.
    ///
    /// # Errors
    /// Those of its files.
    pub async fn start(
        witness: &Rc<Witness>,
        network: &Rc<Network>,
        process: Pid,
    ) -> Result<Rc<Self>, RecordsError> {
        let sim = witness.sim.clone();
        let backing = "disk".to_owned();
        let first = VolumeRecord::Owner { generation: 1, size: witness.size, backing };
        let opened = witness.source_records.open(Some(first)).await?;
        let state = opened.ok_or(RecordsError::NoMigration)?;
        // Boot ids grow here, so that the paths of two runs never meet in a generation.
        let boot = sim.unique();
        let (seeded, forgotten) =
            (witness.faults.mutations.machine, witness.breaks(Mutation::LogForgotten));
        let restarted = witness.source_log.restart(&state, BootId(boot), seeded, forgotten).await?;
        let Restarted::Owner(machine, log) = restarted else {
            return Err(RecordsError::NoMigration);
        };
        witness.source_log.keep(log);
        witness.source_disk.forget_losses();
        if state.part != Part::Owner {
            witness.begun();
        }
        if state.part == Part::Forwarding && witness.count("committed") == 0 {
            witness.note("committed", || "before a crash".to_owned());
        }
        let route = Route::new(witness, network, process);
        let route_of_volume = Some(route.clone());
        let volume = Volume::new(witness, process, &witness.source_disk, machine, route_of_volume);
        witness.watch_source(&volume);
        let known = state.migration.as_ref().map_or(0, |migration| migration.term);
        let terms = Rc::new(Terms::new(witness, Host::Source, known));
        let program = Rc::new(Self {
            sim,
            witness: witness.clone(),
            volume,
            route,
            fences: Fences::from_records(records::fences(&state)),
            roles: RefCell::default(),
            sessions: Cell::new(0),
            committing: Cell::new(false),
            terms,
            unit: Unit::new(witness, &witness.source_records, state.part == Part::Forwarding),
            ending: Lock::default(),
        });
        if state.part == Part::Source || !witness.has_begun() {
            program.go_on(boot);
        }
        Ok(program)
    }

    /// Begins the migration, or goes on with it.
    fn go_on(&self, boot: u64) {
        let Self { volume, route, terms, .. } = self;
        route.add_session(volume, RESYNC_KEY, (Session(0), boot));
        Link::start(boot, volume, route, terms);
    }

    fn records(&self) -> &Records {
        &self.witness.source_records
    }

    async fn answer(self: Rc<Self>, connection: ConnectionId, call: Call) -> Reply {
        match call {
            Call::Open(role) => self.open(connection, role).await,
            Call::Fence(session, generation) => self.fence(session, generation).await,
            Call::Request(request) if self.unit.knows(connection) => {
                match self.unit.begin(connection).await {
                    Ok((_running, key)) => self.volume.execute(key, request).await,
                    Err(reply) => reply,
                }
            }
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
            Call::LogIn(session) => self.log_in(connection, session).await,
            Call::Set(value) => self.set(connection, value).await,
            Call::Value => match self.unit.begin(connection).await {
                Ok(_) => self.unit.value(connection),
                Err(reply) => reply,
            },
            Call::Status(extent) => self.status(connection, extent).await,
            Call::CopyRead(extent) => self.copy_read(connection, extent).await,
            Call::Inquire => self.inquire(),
            Call::TakeOver => self.take_over().await,
            Call::Settle { term } => self.settle(term).await,
            Call::Commit { attempt, term } => self.commit(attempt, term).await,
            Call::Abort { term } => self.abort(term).await,
            Call::Verify { restart } => self.verify(restart),
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

    async fn log_in(&self, connection: ConnectionId, session: Session) -> Reply {
        self.sessions.set(self.sessions.get() + 1);
        let key = SessionKey(self.sessions.get());
        let Some(generation) = self.unit.log_in(connection, session, key).await else {
            return Reply::LogOut;
        };
        self.route.add_session(&self.volume, key, (session, generation.client));
        Reply::Done
    }

    /// Durable here; what the destination has not kept is sent again before the commit.
    async fn set(&self, connection: ConnectionId, value: u64) -> Reply {
        let _running = match self.unit.begin(connection).await {
            Ok((running, _)) => running,
            Err(reply) => return reply,
        };
        let reply = self.unit.set(self.records(), connection, value).await;
        if self.route.epoch().is_some() {
            self.unit.send(self.records(), &self.route.connect()).await;
        }
        reply
    }

    fn verify(&self, restart: bool) -> Reply {
        let Some(pass) = self.volume.machine.borrow_mut().ask_comparison(restart) else {
            return Reply::Refused("the commit has begun");
        };
        self.volume.after_change();
        Reply::Verified { address: pass.address(), mismatched: pass.mismatched() }
    }

    /// Nothing older of the session executes here, or, through its forward connections, there.
    async fn fence(&self, session: Session, generation: Generation) -> Reply {
        self.fences.raise(session, generation);
        if self.volume.machine.borrow().phase() == PhaseName::Forwarding {
            self.route.fence(session, generation).await;
        }
        self.fences.drained(session, generation).await;
        // The commit may have come while older requests were finishing here.
        if self.volume.machine.borrow().phase() == PhaseName::Forwarding {
            self.route.fence(session, generation).await;
        }
        if self.records().append(records::fence(session, generation)).await.is_err() {
            return UNRECORDED;
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

    fn is_given_up(&self) -> bool {
        self.witness.has_begun() && self.records().part() == Some(Part::Owner)
    }

    fn inquire(&self) -> Reply {
        let machine = self.volume.machine.borrow();
        Reply::Standing {
            epoch: self.route.epoch(),
            reserved: machine.sweep().map_or(0, |sweep| sweep.reserved()),
            committed: machine.phase() == PhaseName::Forwarding,
            aborted: self.is_given_up(),
            term: self.terms.known(),
        }
    }
}

impl Serve for SourceProgram {
    fn serve(self: Rc<Self>, connection: ConnectionId, call: Call) -> Answer {
        Box::pin(self.answer(connection, call))
    }
}
