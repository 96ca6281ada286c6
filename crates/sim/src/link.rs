//! The source's tasks beside the requests: attach and follow `W`, the activity log, checkpoints,
//! resyncs.

use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::in_flight::OpId;
use blockferry_migration::record::{Part, Party, VolumeRecord};
use blockferry_migration::source::{MirrorOutcome, PhaseName, Step};

use crate::executor::{MILLIS, SECOND, Sim, first};
use crate::message::{Call, Reply};
use crate::mutation::Mutation;
use crate::network::Connection;
use crate::route::{RESYNC_KEY, RETRY, Route};
use crate::terms::Terms;
use crate::volume::Volume;
use crate::witness::Witness;

/// Longest time that the destination may take to answer on a control connection.
const CONTROL_TIMEOUT: u64 = 2 * SECOND;

/// The clients are at work for at most so long before the migration begins.
const BEGIN_MAX: u64 = 10 * MILLIS;

/// Time between two checkpoints.
const CHECKPOINT_INTERVAL: u64 = 8 * MILLIS;

/// What keeps a source going.
pub struct Link {
    sim: Sim,
    boot: u64,
    /// The volume.
    pub volume: Rc<Volume>,
    /// The way to the destination.
    pub route: Rc<Route>,
    witness: Rc<Witness>,
    reattach: crate::executor::Signal,
    terms: Rc<Terms>,
}

impl Link {
    /// Starts the tasks.
    pub fn start(boot: u64, volume: &Rc<Volume>, route: &Rc<Route>, terms: &Rc<Terms>) {
        let link = Rc::new(Self {
            sim: volume.sim.clone(),
            boot,
            volume: volume.clone(),
            route: route.clone(),
            witness: volume.witness.clone(),
            reattach: crate::executor::Signal::default(),
            terms: terms.clone(),
        });
        let (sim, process) = (&volume.sim, volume.process);
        sim.spawn(process, link.clone().keep_attached());
        sim.spawn(process, link.clone().keep_log());
        sim.spawn(process, link.clone().keep_checkpoints());
        sim.spawn(process, link.clone().keep_compares());
        sim.spawn(process, link.keep_resyncs());
    }

    /// Whether the migration has ended, one way or the other.
    pub fn is_over(&self) -> bool {
        self.route.is_over() || self.phase() == PhaseName::Forwarding
    }

    fn phase(&self) -> PhaseName {
        self.volume.machine.borrow().phase()
    }

    async fn keep_attached(self: Rc<Self>) {
        if self.witness.source_records.part() == Some(Part::Owner) && !self.begin().await {
            return;
        }
        while !self.is_over() {
            let changed = self.volume.changed.wait();
            if self.phase() == PhaseName::Committing {
                changed.await;
                continue;
            }
            let connection = self.route.connect();
            match self.attach(&connection).await {
                Some(epoch) => self.follow(&connection, epoch).await,
                None => self.sim.sleep(RETRY).await,
            }
            connection.close();
        }
    }

    /// Begins the migration; false when its records fail, and only a restart goes on.
    async fn begin(&self) -> bool {
        self.sim.sleep(self.sim.between(0, BEGIN_MAX)).await;
        // Before the record: what cannot be kept is not begun.
        while self.witness.source_log.create().await.is_err() {
            self.sim.sleep(RETRY).await;
        }
        let (nbd, control) = (String::new(), String::new());
        let sending = VolumeRecord::Sending {
            migration: "1".to_owned(),
            token: String::new(),
            destination: Party { nbd, control, iscsi: None },
            throttle: false,
        };
        if self.witness.source_records.append(sending).await.is_err() {
            return false;
        }
        self.witness.begun();
        let first = async |term| {
            self.witness.source_records.append(VolumeRecord::Term { term }).await.is_ok()
        };
        if self.terms.check(1, first).await.is_err() {
            return false;
        }
        self.volume.machine.borrow_mut().begin();
        self.volume.after_change();
        true
    }

    /// Fences what was, at both ends, and goes on from `W_durable` ("Restarts").
    async fn attach(&self, connection: &Connection) -> Option<u64> {
        self.volume.machine.borrow_mut().detached();
        self.route.set_epoch(None);
        self.volume.after_change();
        self.witness.note("attaching", || format!("boot {}", self.boot));
        let attach = connection.call(Call::Attach(self.boot));
        let reply = self.sim.timeout(CONTROL_TIMEOUT, attach).await;
        let Some(Ok(Reply::Attached { epoch, reserved, stream })) = reply else { return None };
        if !self.volume.machine.borrow_mut().attached(epoch, reserved, stream) {
            return None;
        }
        self.witness.note("attached", || format!("epoch {epoch}, W {reserved}"));
        self.witness.replicas_agree("I9", Extent::whole(self.witness.size));
        self.route.set_epoch(Some(epoch));
        self.volume.after_change();
        Some(epoch)
    }

    /// Learns how `W` grows until the destination is lost, or another run of it answers.
    async fn follow(&self, connection: &Connection, epoch: u64) {
        let reattach = self.reattach.wait();
        let followed = async {
            loop {
                let sweep_reserved =
                    |volume: &Volume| volume.machine.borrow().sweep().map(|sweep| sweep.reserved());
                let Some(above) = sweep_reserved(&self.volume) else { return };
                let call = connection.call(Call::Reserved { epoch, above });
                match self.sim.timeout(CONTROL_TIMEOUT, call).await {
                    Some(Ok(Reply::Standing { epoch: Some(now), reserved, .. }))
                        if now == epoch =>
                    {
                        self.volume.machine.borrow_mut().reserved_grew(epoch, reserved);
                        self.volume.after_change();
                    }
                    _ => return,
                }
            }
        };
        first(followed, reattach).await;
    }

    /// Makes the batches of the activity log durable, one after the other.
    async fn keep_log(self: Rc<Self>) {
        loop {
            let changed = self.volume.changed.wait();
            let batch = self.volume.machine.borrow_mut().take_log_batch();
            let Some(batch) = batch else {
                changed.await;
                continue;
            };
            self.sim.trace(|| format!("log {batch:?}"));
            if self.witness.breaks(Mutation::LogBehindWrites) {
                self.volume.machine.borrow_mut().log_durable(batch.id);
                self.volume.after_change();
            }
            let id = batch.id;
            match self.witness.source_log.append(batch).await {
                Ok(()) => self.volume.machine.borrow_mut().log_durable(id),
                Err(_) => self.volume.machine.borrow_mut().log_failed(id),
            }
            self.volume.after_change();
        }
    }

    async fn keep_checkpoints(self: Rc<Self>) {
        while !self.is_over() {
            self.sim.sleep(CHECKPOINT_INTERVAL).await;
            if let (true, Some(epoch)) = (self.wants_checkpoint(), self.route.epoch()) {
                let connection = self.route.connect();
                self.checkpoint(&connection, epoch).await;
                connection.close();
            }
        }
    }

    /// A stream that does not move needs none, unless the volume's end is not durable yet.
    fn wants_checkpoint(&self) -> bool {
        let machine = self.volume.machine.borrow();
        let Some(sweep) = machine.sweep() else { return false };
        let moved = sweep.reserved() > sweep.durable();
        let settling = machine.phase() == PhaseName::Settling;
        let unfinished = settling && sweep.durable() < self.witness.size;
        machine.phase() != PhaseName::Committing && (moved || unfinished)
    }

    /// Both sides flush what lies below `W`; then it is `W_durable`.
    async fn checkpoint(&self, connection: &Connection, epoch: u64) {
        self.volume.machine.borrow_mut().checkpoint_begin();
        let begin = connection.call(Call::Checkpoint(epoch));
        let reply = self.sim.timeout(CONTROL_TIMEOUT, begin).await;
        let Some(Ok(Reply::Checkpoint { address, digest })) = reply else {
            self.volume.machine.borrow_mut().checkpoint_failed();
            return;
        };
        let begun = self.volume.machine.borrow_mut().checkpoint_agree(address, digest);
        if let Err(mismatch) = begun {
            self.sim.trace(|| mismatch.to_string());
            self.witness.add("digest-mismatch", 1);
            self.volume.machine.borrow_mut().checkpoint_failed();
            self.reattach.raise();
            return;
        }
        let skipped = self.witness.breaks(Mutation::LogWithoutFlush);
        if !skipped && self.volume.disk.flush().await.is_err() {
            self.volume.machine.borrow_mut().checkpoint_failed();
            self.reattach.raise();
            return;
        }
        let finish = connection.call(Call::FinishCheckpoint { epoch, address });
        match self.sim.timeout(CONTROL_TIMEOUT, finish).await {
            Some(Ok(Reply::Done)) => self.volume.machine.borrow_mut().checkpoint_done(address),
            _ => {
                self.volume.machine.borrow_mut().checkpoint_failed();
                self.volume.after_change();
                return;
            }
        }
        self.volume.after_change();
        let sweep = |volume: &Volume| volume.machine.borrow().sweep().map(|s| s.digest_state());
        let Some(stream) = sweep(&self.volume) else { return };
        let record = VolumeRecord::Durable { address, stream };
        if self.witness.source_records.append(record).await.is_err() {
            self.reattach.raise();
        }
    }

    async fn keep_resyncs(self: Rc<Self>) {
        while !self.is_over() {
            let changed = self.volume.changed.wait();
            let next = self.volume.machine.borrow_mut().next_resync();
            match next {
                Some((id, extent)) => {
                    let link = self.clone();
                    self.sim.spawn(self.volume.process, link.resync(id, extent));
                }
                None => changed.await,
            }
        }
    }

    /// Makes a dirty extent equal again, under its lock.
    async fn resync(self: Rc<Self>, id: OpId, extent: Extent) {
        if !matches!(self.volume.next_step(id).await, Step::Apply { .. }) {
            return;
        }
        self.witness.note("resync", || format!("{id:?} {extent}"));
        if self.witness.breaks(Mutation::CleanAtSend) {
            let executed = MirrorOutcome::Executed;
            self.volume.machine.borrow_mut().resync_done(id, extent, executed);
        }
        let outcome = match self.volume.disk.read(extent).await {
            Ok(content) => self.route.mirror(RESYNC_KEY, extent, content.into()).await,
            Err(_) => MirrorOutcome::Failed,
        };
        if outcome != MirrorOutcome::Executed {
            self.sim.sleep(RETRY).await;
        }
        self.volume.machine.borrow_mut().resync_done(id, extent, outcome);
        self.volume.forget(id);
        if outcome == MirrorOutcome::Failed {
            self.route.mirror_failed(RESYNC_KEY, &self.volume);
        } else {
            self.witness.replicas_agree("I7", extent);
        }
        self.volume.after_change();
    }
}
