//! The destination program: the ordered stream, mirror writes below it, and the ownership.

mod steps;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_block::{Attempt, BootId, Extent};
use blockferry_migration::destination::{Destination, Refusal};
use blockferry_migration::digest::Frontier;
use blockferry_migration::record::{Party, VolumeRecord};
use blockferry_migration::source::{SessionKey, Source};
use blockferry_records::{RecordsError, Restarted, restart};

use crate::content::{Content, with_pieces};
use crate::disk::DiskError;
use crate::executor::{Lock, MILLIS, Pid, Signal, Sim, Turn};
use crate::fences::Fences;
use crate::message::{Call, Generation, Reply, Request, Role, Session};
use crate::mutation::Mutation;
use crate::network::{Answer, ConnectionId, Host, Serve};
use crate::records::{self, Records};
use crate::terms::Terms;
use crate::unit::Unit;
use crate::volume::Volume;
use crate::witness::Witness;

/// Longest time that a question for `W` waits.
const RESERVED_WAIT: u64 = 200 * MILLIS;

const NOT_OWNER: Reply = Reply::Refused("not the owner");
const STALE: Reply = Reply::Refused("the epoch is over");

const GONE: Reply = Reply::Refused("there is no such volume");
const UNRECORDED: Reply = Reply::Refused("the journal failed");
const LOST: Reply = Reply::Refused("the store may have lost what was answered");

/// One run of the destination program.
pub struct DestinationProgram {
    sim: Sim,
    process: Pid,
    witness: Rc<Witness>,
    machine: RefCell<Destination>,
    owner: RefCell<Option<Rc<Volume>>>,
    /// The volume as a disk, once it is owned.
    unit: RefCell<Option<Rc<Unit>>>,
    owning: Cell<bool>,
    /// Attaches, checkpoints and promises exclude one another while a record is written: an attach
    /// that answered the address of before would be contradicted by the next restart.
    steps: Lock,
    fences: Rc<Fences>,
    roles: RefCell<BTreeMap<ConnectionId, Role>>,
    changed: Signal,
    terms: Terms,
    /// An abort has removed the volume.
    gone: Cell<bool>,
}

impl DestinationProgram {
    /// Starts the program on what its files and its disk hold. The first run receives the volume, into a
    /// store that was prepared for it.
    ///
    /// # Errors
    /// Those of its files.
    pub async fn start(witness: &Rc<Witness>, process: Pid) -> Result<Rc<Self>, RecordsError> {
        let first = (!witness.has_received()).then(|| receiving(witness.size));
        let state = witness.destination_records.open(first).await?;
        if state.is_some() {
            witness.received();
        } else {
            witness.destination_records.remove().await;
        }
        // Runs are numbered by the clock and far apart, so that their epochs never meet.
        let boot = BootId((witness.sim.unique() + 1) << 20);
        let seeded = witness.faults.mutations.machine;
        let restarted: Restarted = match &state {
            Some(state) => restart(state, boot, seeded, || Err(RecordsError::NoMigration))?,
            None => Restarted::Retired,
        };
        let (machine, owner) = match restarted {
            Restarted::Receiver(machine) => (Some(machine), None),
            Restarted::Owner(owner, _) => (None, Some(owner)),
            Restarted::Retired => (None, None),
        };
        let nothing = || Destination::new(witness.size, boot, 0, Frontier::new(), witness.size);
        let migration = state.as_ref().and_then(|state| state.migration.as_ref());
        let known = migration.map_or(0, |migration| migration.term);
        let unproved = witness.breaks(Mutation::OwnerWithoutProof)
            && migration.is_some_and(|migration| migration.ready.is_some());
        let program = Rc::new(Self {
            machine: RefCell::new(machine.unwrap_or_else(nothing)),
            process,
            witness: witness.clone(),
            owner: RefCell::default(),
            unit: RefCell::default(),
            owning: Cell::new(false),
            steps: Lock::default(),
            fences: Fences::from_records(state.iter().flat_map(records::fences)),
            roles: RefCell::default(),
            changed: Signal::default(),
            terms: Terms::new(witness, Host::Destination, known),
            gone: Cell::new(state.is_none()),
            sim: witness.sim.clone(),
        });
        match owner {
            Some(owner) => program.become_owner(owner),
            None if unproved => program.become_owner(program.new_owner()),
            None => {}
        }
        witness.watch_destination(&program);
        Ok(program)
    }

    fn records(&self) -> &Records {
        &self.witness.destination_records
    }

    fn new_owner(&self) -> Source {
        Source::new(self.witness.size, Default::default())
    }

    /// The epoch and `W`, while neither an attach is under way nor the volume owned.
    pub fn receiving(&self) -> Option<(u64, u64)> {
        let machine = self.machine.borrow();
        let valid = self.owner.borrow().is_none() && !machine.is_attaching() && !self.gone.get();
        valid.then(|| (machine.epoch(), machine.reserved()))
    }

    async fn answer(self: Rc<Self>, connection: ConnectionId, call: Call) -> Reply {
        match call {
            Call::Inquire => self.standing(),
            Call::Abort { .. } => self.abort().await,
            _ if self.gone.get() => GONE,
            Call::Open(role) => self.open(connection, role).await,
            Call::Fence(session, generation) => self.fence(session, generation).await,
            Call::LogIn(session) => self.log_in(connection, session).await,
            Call::Set(value) => self.set(connection, value).await,
            Call::Value => self.value(connection).await,
            Call::Disk { serial, state } => self.disk(serial, state).await,
            Call::Request(request) => self.request(connection, request).await,
            Call::CopyWrite(extent, content) => self.copy(connection, extent, content).await,
            Call::Attach(boot) => self.attach(boot).await,
            Call::Reserved { epoch, above } => self.reserved(epoch, above).await,
            Call::Checkpoint(epoch) => self.checkpoint(epoch).await,
            Call::FinishCheckpoint { epoch, address } => {
                self.finish_checkpoint(epoch, address).await
            }
            Call::Ready { epoch, attempt, term } => self.ready(epoch, attempt, term).await,
            Call::Own => self.own().await,
            _ => Reply::Refused("the destination does not understand"),
        }
    }

    async fn open(&self, connection: ConnectionId, role: Role) -> Reply {
        if let Role::Copy { term, .. } = role
            && let Err(refusal) = self.check_term(term).await
        {
            return refusal;
        }
        match role {
            Role::Client(session, generation) | Role::Forward(session, generation)
                if !self.fences.allows(session, generation) =>
            {
                return Reply::Refused("fenced");
            }
            Role::Client(..) if self.owner.borrow().is_none() => return NOT_OWNER,
            Role::Copy { epoch, .. } | Role::Mirror(_, _, epoch)
                if self.receiving().is_none_or(|(valid, _)| valid != epoch) =>
            {
                return STALE;
            }
            // The source forwards only after its commit record (D1.5).
            Role::Forward(..) => {
                let owned = self.own().await;
                if !matches!(owned, Reply::Done) {
                    return owned;
                }
            }
            _ => {}
        }
        self.roles.borrow_mut().insert(connection, role);
        Reply::Done
    }

    async fn fence(&self, session: Session, generation: Generation) -> Reply {
        self.witness.note("fencing", || format!("{session:?} {generation:?}"));
        self.fences.raise(session, generation);
        self.fences.drained(session, generation).await;
        if self.records().append(records::fence(session, generation)).await.is_err() {
            return UNRECORDED;
        }
        self.witness.note("fenced-destination", || format!("{session:?} {generation:?}"));
        Reply::Done
    }

    async fn request(&self, connection: ConnectionId, request: Request) -> Reply {
        let (unit, owner) = (self.unit.borrow().clone(), self.owner.borrow().clone());
        if let (Some(unit), Some(volume)) = (unit, owner)
            && unit.knows(connection)
        {
            return match unit.begin(connection).await {
                Ok((_running, key)) => volume.execute(key, request).await,
                Err(reply) => reply,
            };
        }
        let role = self.roles.borrow().get(&connection).copied();
        let (session, generation) = match role {
            Some(
                Role::Client(session, generation)
                | Role::Forward(session, generation)
                | Role::Mirror(session, generation, _),
            ) => (session, generation),
            _ => return Reply::Refused("no connection for requests"),
        };
        let Some(_running) = self.fences.enter(session, generation) else {
            return Reply::Refused("fenced");
        };
        match (role, request) {
            (Some(Role::Mirror(_, _, epoch)), Request::Update { extent, content, .. }) => {
                self.mirror(epoch, extent, content).await
            }
            (Some(Role::Mirror(_, _, epoch)), Request::Read(extent)) => {
                self.mirror_read(epoch, extent).await
            }
            (Some(Role::Mirror(..)), _) => Reply::Refused("a mirror connection does not flush"),
            (_, request) => {
                let owner = self.owner.borrow().clone();
                match owner {
                    Some(volume) => volume.execute(SessionKey(session.0), request).await,
                    None => NOT_OWNER,
                }
            }
        }
    }

    async fn mirror(&self, epoch: u64, extent: Extent, content: Content) -> Reply {
        if self.owning.get() {
            return Reply::Refused("mirroring is over");
        }
        let begun = self.machine.borrow_mut().mirror_begin(epoch, extent);
        match begun {
            Ok(()) => {}
            Err(Refusal::AboveReserved { reserved }) => return Reply::AboveReserved(reserved),
            Err(_) => return STALE,
        }
        let reserved = self.machine.borrow().reserved();
        if extent.end() > reserved {
            self.witness.violate(format!("I3: mirror write {extent} above W {reserved}"));
        }
        self.witness.note("mirror", || extent.to_string());
        let written = self.witness.destination_disk.write(extent, &content).await;
        // Asked after the write: either the flush for Ready comes later, or this one counts.
        let broken = self.witness.breaks(Mutation::NoWriteThrough);
        let through = self.machine.borrow().is_write_through() && !broken;
        let reply = match written {
            Ok(()) if through && !self.flush().await => Reply::Failed,
            Ok(()) => Reply::Done,
            Err(error) => {
                if through && error == DiskError::Io {
                    self.may_have_lost();
                }
                Reply::Failed
            }
        };
        self.machine.borrow_mut().mirror_done();
        self.changed.raise();
        reply
    }

    /// What a comparison reads; below `W` only, like a mirror write.
    async fn mirror_read(&self, epoch: u64, extent: Extent) -> Reply {
        if self.owning.get() || self.machine.borrow_mut().mirror_begin(epoch, extent).is_err() {
            return STALE;
        }
        let content = self.witness.destination_disk.read(extent).await;
        self.machine.borrow_mut().mirror_done();
        self.changed.raise();
        content.map_or(Reply::Failed, Reply::Content)
    }

    /// Makes durable what was answered; false when some of it may be lost, and then only an attach
    /// goes on.
    async fn flush(&self) -> bool {
        let flushed = self.witness.destination_disk.flush().await;
        if flushed.is_ok() || self.witness.breaks(Mutation::FailedFlushUnnoticed) {
            return true;
        }
        self.may_have_lost();
        false
    }

    fn may_have_lost(&self) {
        self.witness.note("flush-failed", String::new);
        self.machine.borrow_mut().flush_failed();
        self.changed.raise();
    }

    async fn copy(&self, connection: ConnectionId, extent: Extent, content: Content) -> Reply {
        let Some(Role::Copy { epoch, term }) = self.roles.borrow().get(&connection).copied() else {
            return Reply::Refused("no copy connection");
        };
        let Some(_running) = self.terms.enter(term) else { return Reply::Refused("fenced") };
        let (before, mut stream) = {
            let mut machine = self.machine.borrow_mut();
            let broken = self.witness.breaks(Mutation::EpochIgnored);
            let epoch = if broken { machine.epoch() } else { epoch };
            match machine.copy_begin(epoch, extent) {
                Ok(()) => (machine.reserved(), machine.stream().clone()),
                Err(Refusal::WrongAddress { expected }) => return Reply::Expected(expected),
                Err(_) => return STALE,
            }
        };
        let early = self.witness.breaks(Mutation::AddressBeforeWrite);
        if early {
            let mut stream = stream.clone();
            with_pieces(&content, |pieces| pieces.iter().for_each(|piece| stream.push(*piece)));
            self.machine.borrow_mut().copy_done(Some(stream));
            self.changed.raise();
        }
        if self.witness.destination_disk.write(extent, &content).await.is_err() {
            self.witness.note("copy-failed", || extent.to_string());
            self.machine.borrow_mut().copy_done(None);
            self.changed.raise();
            return Reply::Failed;
        }
        with_pieces(&content, |pieces| pieces.iter().for_each(|piece| stream.push(*piece)));
        self.machine.borrow_mut().copy_done(Some(stream));
        let after = self.machine.borrow().reserved();
        if before != extent.start() || after != extent.end() {
            self.witness.violate(format!("I2: copy {extent} took W from {before} to {after}"));
        }
        self.witness.note("copied", || format!("{extent}"));
        self.witness.add("copied-bytes", extent.len());
        self.witness.cursors();
        self.changed.raise();
        Reply::Done
    }

    async fn reserved(&self, epoch: u64, above: u64) -> Reply {
        let news = async {
            loop {
                let changed = self.changed.wait();
                let (valid, reserved) = {
                    let machine = self.machine.borrow();
                    (machine.epoch(), machine.reserved())
                };
                if valid != epoch || reserved > above {
                    return;
                }
                changed.await;
            }
        };
        self.sim.timeout(RESERVED_WAIT, news).await;
        self.standing()
    }

    fn standing(&self) -> Reply {
        let machine = self.machine.borrow();
        Reply::Standing {
            epoch: (!machine.is_attaching()).then(|| machine.epoch()),
            reserved: machine.reserved(),
            committed: self.owner.borrow().is_some(),
            aborted: self.gone.get(),
            term: self.terms.known(),
        }
    }

    fn become_owner(&self, machine: Source) {
        self.owning.set(true);
        self.witness.owned();
        if self.owner.borrow().is_none() {
            self.witness.destination_disk.forget_losses();
            let disk = &self.witness.destination_disk;
            let volume = Volume::new(&self.witness, self.process, disk, machine, None);
            *self.owner.borrow_mut() = Some(volume);
            let unit = Unit::new(&self.witness, self.records(), false);
            *self.unit.borrow_mut() = Some(unit);
        }
    }
}

impl Serve for DestinationProgram {
    fn serve(self: Rc<Self>, connection: ConnectionId, call: Call) -> Answer {
        Box::pin(self.answer(connection, call))
    }
}

/// What a destination records first.
fn receiving(size: u64) -> VolumeRecord {
    let (nbd, control) = (String::new(), String::new());
    VolumeRecord::Receiving {
        migration: "1".to_owned(),
        token: String::new(),
        source: Party { nbd, control, iscsi: None },
        size,
        generation: 1,
        backing: "disk".to_owned(),
        prepared: true,
    }
}
