//! A volume at the program that answers for it: requests follow the steps of `source::Source`.
//!
//! The same for the owner without a migration, the source of one, and the destination after it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::in_flight::OpId;
use blockferry_migration::source::{
    Answer, MirrorOutcome, PhaseName, ReadStart, SessionKey, Source, Step,
};

use crate::content::{BLOCK, Content, Stamp};
use crate::disk::Disk;
use crate::executor::{Pid, Signal, Sim};
use crate::message::{Reply, Request};
use crate::mutation::Mutation;
use crate::route::Route;
use crate::witness::Witness;

/// What serves a volume.
pub struct Volume {
    /// The world.
    pub sim: Sim,
    /// The process that serves.
    pub process: Pid,
    /// Its disk.
    pub disk: Rc<Disk>,
    /// The decisions.
    pub machine: RefCell<Source>,
    /// The way to the destination, while there is one.
    pub route: Option<Rc<Route>>,
    /// The machine may have changed.
    pub changed: Signal,
    /// The checks from outside.
    pub witness: Rc<Witness>,
    woken: RefCell<BTreeMap<OpId, Signal>>,
    /// The last mirror write failed.
    mirror_failed: Cell<bool>,
}

impl Volume {
    /// A volume that is served from now on.
    pub fn new(
        witness: &Rc<Witness>,
        process: Pid,
        disk: &Rc<Disk>,
        machine: Source,
        route: Option<Rc<Route>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            sim: witness.sim.clone(),
            process,
            disk: disk.clone(),
            machine: RefCell::new(machine),
            route,
            changed: Signal::default(),
            witness: witness.clone(),
            woken: RefCell::default(),
            mirror_failed: Cell::new(false),
        })
    }

    /// Executes a client's request that came over the session.
    pub async fn execute(self: &Rc<Self>, session: SessionKey, request: Request) -> Reply {
        match request {
            Request::Read(extent) => self.read(session, extent).await,
            Request::Update { extent, content, fua } => {
                self.update(session, extent, content, fua).await
            }
            Request::CompareAndWrite { extent, expected, stamp } => {
                self.compare_and_write(session, extent, [expected, stamp]).await
            }
            Request::Flush => self.flush(session).await,
        }
    }

    async fn flush(self: &Rc<Self>, session: SessionKey) -> Reply {
        if self.machine.borrow().phase() == PhaseName::Forwarding {
            return self.forward(session, Request::Flush).await;
        }
        match self.disk.flush().await {
            Ok(()) => Reply::Done,
            Err(_) => Reply::Failed,
        }
    }

    async fn read(self: &Rc<Self>, session: SessionKey, extent: Extent) -> Reply {
        let start = self.machine.borrow_mut().begin_read(extent);
        match start {
            ReadStart::Unlocked => {
                let content = self.disk.read(extent).await;
                self.machine.borrow_mut().end_unlocked_read();
                self.after_change();
                content.map_or(Reply::Failed, Reply::Content)
            }
            ReadStart::Forward => self.forward(session, Request::Read(extent)).await,
            ReadStart::Recorded(id) => self.read_recorded(id, session, extent).await,
        }
    }

    async fn read_recorded(
        self: &Rc<Self>,
        id: OpId,
        session: SessionKey,
        extent: Extent,
    ) -> Reply {
        let mut content = Ok(Vec::new());
        loop {
            match self.next_step(id).await {
                Step::Apply { .. } => {
                    content = self.disk.read(extent).await;
                    self.machine.borrow_mut().local_done(id, content.is_ok());
                    self.after_change();
                }
                Step::Forward => return self.forward(session, Request::Read(extent)).await,
                Step::Reply(_) => return content.map_or(Reply::Failed, Reply::Content),
                Step::Wait => {}
            }
        }
    }

    async fn update(
        self: &Rc<Self>,
        session: SessionKey,
        extent: Extent,
        content: Content,
        fua: bool,
    ) -> Reply {
        let id = self.machine.borrow_mut().begin_update(session, extent);
        let mirrored = Rc::new(Cell::new(false));
        loop {
            match self.next_step(id).await {
                Step::Apply { mirror } => {
                    self.witness.applied(self, id, extent, mirror);
                    self.apply(id, extent, &content, fua);
                    let stays =
                        content[0].is_zeroes() && self.witness.breaks(Mutation::TrimNotMirrored);
                    if let (Some(_), true) = (mirror, stays) {
                        self.machine.borrow_mut().mirror_done(id, MirrorOutcome::Executed);
                    } else if let Some(part) = mirror {
                        self.mirror(id, session, part, part_of(extent, &content, part), &mirrored);
                    }
                }
                Step::Forward => {
                    self.witness.left(self, id);
                    return self.forward(session, Request::Update { extent, content, fua }).await;
                }
                Step::Reply(answer) => {
                    self.witness.acknowledged(self, id, extent, mirrored.get());
                    let broken = self.witness.breaks(Mutation::MirrorErrorToClient);
                    return match answer {
                        Answer::Done if broken && self.mirror_failed.get() => Reply::Failed,
                        Answer::Done => Reply::Done,
                        Answer::LocalFailed | Answer::NotLogged => Reply::Failed,
                        Answer::Skipped => Reply::Refused("nothing to do"),
                    };
                }
                Step::Wait => {}
            }
        }
    }

    /// An update whose content is known when its turn has come; none where the block holds something else.
    async fn compare_and_write(
        self: &Rc<Self>,
        session: SessionKey,
        extent: Extent,
        [expected, stamp]: [Stamp; 2],
    ) -> Reply {
        let mut found = Some(self.disk.peek_all(extent)[0]);
        let id = self.machine.borrow_mut().begin_update(session, extent);
        let mirrored = Rc::new(Cell::new(false));
        loop {
            match self.next_step(id).await {
                Step::Apply { mirror } => {
                    self.witness.applied(self, id, extent, mirror);
                    if !self.witness.breaks(Mutation::CompareBeforeTurn) {
                        found = self.disk.read(extent).await.ok().map(|content| content[0]);
                    }
                    if found != Some(expected) {
                        let mut machine = self.machine.borrow_mut();
                        machine.local_done(id, found.is_some());
                        machine.mirror_done(id, MirrorOutcome::Executed);
                        drop(machine);
                        self.after_change();
                        continue;
                    }
                    let content: Content = Rc::new([stamp]);
                    self.apply(id, extent, &content, false);
                    if let Some(part) = mirror {
                        self.mirror(id, session, part, content, &mirrored);
                    }
                }
                Step::Forward => {
                    self.witness.left(self, id);
                    let step = Request::CompareAndWrite { extent, expected, stamp };
                    return self.forward(session, step).await;
                }
                Step::Reply(_) if found != Some(expected) => {
                    self.witness.left(self, id);
                    return found.map_or(Reply::Failed, Reply::Differs);
                }
                Step::Reply(answer) => {
                    self.witness.acknowledged(self, id, extent, mirrored.get());
                    return match answer {
                        Answer::Done => Reply::Done,
                        _ => Reply::Failed,
                    };
                }
                Step::Wait => {}
            }
        }
    }

    fn apply(self: &Rc<Self>, id: OpId, extent: Extent, content: &Content, fua: bool) {
        let (volume, content) = (self.clone(), content.clone());
        self.sim.spawn(self.process, async move {
            let mut applied = volume.disk.write(extent, &content).await;
            if fua && applied.is_ok() {
                applied = volume.disk.flush().await;
            }
            volume.machine.borrow_mut().local_done(id, applied.is_ok());
            volume.after_change();
        });
    }

    fn mirror(
        self: &Rc<Self>,
        id: OpId,
        session: SessionKey,
        part: Extent,
        content: Content,
        mirrored: &Rc<Cell<bool>>,
    ) {
        let Some(route) = self.route.clone() else { return };
        let (volume, mirrored) = (self.clone(), mirrored.clone());
        // The message is in the session's connection before any later one of the session.
        let sent = route.mirror(session, part, content);
        self.sim.spawn(self.process, async move {
            if volume.witness.breaks(Mutation::AnswerBeforeMirror) {
                volume.machine.borrow_mut().mirror_done(id, MirrorOutcome::Executed);
                volume.after_change();
            }
            let outcome = sent.await;
            volume.mirror_failed.set(outcome == MirrorOutcome::Failed);
            mirrored.set(outcome == MirrorOutcome::Executed);
            volume.machine.borrow_mut().mirror_done(id, outcome);
            if outcome == MirrorOutcome::Failed {
                route.mirror_failed(session, &volume);
            }
            volume.after_change();
        });
    }

    async fn forward(self: &Rc<Self>, session: SessionKey, request: Request) -> Reply {
        match &self.route {
            Some(route) => route.forward(session, request).await,
            None => Reply::Refused("not the owner"),
        }
    }

    /// The next step that is not to wait.
    pub async fn next_step(self: &Rc<Self>, id: OpId) -> Step {
        loop {
            let woken = self.woken.borrow_mut().entry(id).or_default().wait();
            let step = self.machine.borrow_mut().step(id);
            self.after_change();
            if matches!(step, Step::Forward | Step::Reply(_)) {
                self.woken.borrow_mut().remove(&id);
            }
            if step != Step::Wait {
                return step;
            }
            woken.await;
        }
    }

    /// After each call of the machine: whoever waits for it learns that it may have changed.
    pub fn after_change(&self) {
        let woken = self.machine.borrow_mut().take_woken();
        let signals = self.woken.borrow();
        woken.iter().filter_map(|id| signals.get(id)).for_each(Signal::raise);
        drop(signals);
        self.changed.raise();
    }

    /// An operation has ended without another step.
    pub fn forget(&self, id: OpId) {
        self.woken.borrow_mut().remove(&id);
    }
}

/// The blocks of a part of an extent.
pub fn part_of(extent: Extent, content: &Content, part: Extent) -> Content {
    let first = ((part.start() - extent.start()) / BLOCK) as usize;
    let count = part.len().div_ceil(BLOCK) as usize;
    content[first..first + count].into()
}
