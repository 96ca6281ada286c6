//! The controller: copies in order, and decides when the owner changes. It keeps nothing that
//! matters; another one takes over and goes on from what both sides say.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::digest::LEAF;
use blockferry_migration::source::Missing;

use crate::client::Clients;
use crate::content::{BLOCK, Content};
use crate::executor::{MILLIS, SECOND, Sim};
use crate::message::{Call, Reply, Role};
use crate::mutation::Mutation;
use crate::network::{Connection, Host, Lost, Network};
use crate::witness::Witness;

/// Longest time that any answer may take.
const TIMEOUT: u64 = 5 * SECOND;

/// Passes of a comparison before a volume that still differs is given up.
const PASSES_MAX: u32 = 3;

/// Why a round came to nothing.
enum Halt {
    /// Something was refused or lost: ask again where both sides stand.
    Again,
    /// A newer controller has taken over.
    Superseded,
}

use Halt::{Again, Superseded};

impl From<Lost> for Halt {
    fn from(_: Lost) -> Self {
        Again
    }
}

/// What a controller was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// To bring the volume over.
    Migrate,
    /// To give the migration up, if it is not too late.
    Abort,
}

/// How it drives.
#[derive(Clone, Copy, Debug)]
pub struct Driving {
    /// Leaves that are copied at a time.
    pub chunk_leaves: u64,
    /// Chunks that are read ahead.
    pub read_ahead: usize,
    /// Whether both sides are compared before the commit.
    pub verify: bool,
}

/// One run of the controller.
pub struct Controller {
    sim: Sim,
    network: Rc<Network>,
    witness: Rc<Witness>,
    clients: Rc<Clients>,
    driving: Driving,
    intent: Cell<Intent>,
    term: Cell<u64>,
    compared: Cell<bool>,
}

impl Controller {
    /// A controller that has not begun.
    pub fn new(
        witness: &Rc<Witness>,
        network: &Rc<Network>,
        clients: &Rc<Clients>,
        driving: Driving,
        intent: Intent,
    ) -> Self {
        Self {
            sim: witness.sim.clone(),
            network: network.clone(),
            witness: witness.clone(),
            clients: clients.clone(),
            driving,
            intent: Cell::new(intent),
            term: Cell::new(0),
            compared: Cell::new(false),
        }
    }

    /// Drives the migration to its end. One whose place a newer one has taken ends before; an
    /// operator starts the newest again.
    pub async fn run(self, is_newest: impl Fn() -> bool) {
        loop {
            match self.advance().await {
                Ok(()) => break self.clients.finish(),
                Err(Again) => {}
                Err(Superseded) => {
                    self.witness.note("superseded", || self.term.get().to_string());
                    self.term.set(0);
                    if !is_newest() {
                        break;
                    }
                }
            }
            self.sim.sleep(self.sim.between(1, 30) * MILLIS).await;
        }
    }

    async fn advance(&self) -> Result<(), Halt> {
        let source = self.network.connect(Host::Controller, Host::Source);
        let destination = self.network.connect(Host::Controller, Host::Destination);
        let there = self.call(&destination, Call::Inquire).await?;
        let Reply::Standing { committed: owned, .. } = there else { return Err(Again) };
        if !owned && !self.bring_over(&source, &destination).await? {
            self.witness.note("given-up", String::new);
            return Ok(());
        }
        self.clients.move_all().await;
        self.witness.note("migrated", String::new);
        Ok(())
    }

    /// Whether the destination owns the volume at the end, and not the source.
    async fn bring_over(
        &self,
        source: &Connection,
        destination: &Connection,
    ) -> Result<bool, Halt> {
        let here = self.call(source, Call::Inquire).await?;
        let Reply::Standing { epoch, committed, aborted, term, .. } = here else {
            return Err(Again);
        };
        if !committed && !aborted {
            self.take_over(source, term).await?;
        }
        if aborted || (!committed && self.intent.get() == Intent::Abort) {
            return self.abort(source, destination, aborted).await;
        }
        if !committed {
            self.copy(epoch.ok_or(Again)?).await?;
            if self.driving.verify && !self.compared.get() {
                self.compare(source, destination).await?;
            }
            self.commit(source, destination).await?;
        }
        self.done(destination, Call::Own).await?;
        Ok(true)
    }

    /// A new term for each round: what an older one has under way is fenced.
    async fn take_over(&self, source: &Connection, newest: u64) -> Result<(), Halt> {
        if self.term.get() > 0 && newest > self.term.get() {
            return Err(Superseded);
        }
        let Reply::Term(term) = self.call(source, Call::TakeOver).await? else { return Err(Again) };
        self.term.set(term);
        Ok(())
    }

    /// The source decides whether it is still before its commit; then the destination forgets.
    async fn abort(
        &self,
        source: &Connection,
        destination: &Connection,
        aborted: bool,
    ) -> Result<bool, Halt> {
        let term = self.term.get();
        if !aborted {
            match self.call(source, Call::Abort { term }).await? {
                Reply::Done => {}
                Reply::TooLate => {
                    self.intent.set(Intent::Migrate);
                    return Err(Again);
                }
                _ => return Err(Again),
            }
        }
        self.done(destination, Call::Abort { term }).await?;
        Ok(false)
    }

    /// The ordered copy: read, write at `W`, the next write only after the answer.
    async fn copy(&self, epoch: u64) -> Result<(), Halt> {
        let from = self.network.connect(Host::Controller, Host::Source);
        let to = self.network.connect(Host::Controller, Host::Destination);
        let term = self.term.get();
        self.done(&from, Call::Open(Role::Copy { epoch, term })).await?;
        self.done(&to, Call::Open(Role::Copy { epoch, term })).await?;
        let standing = self.call(&to, Call::Inquire).await?;
        let Reply::Standing { reserved, .. } = standing else { return Err(Again) };
        let mut ahead: VecDeque<(Extent, Content)> = VecDeque::new();
        let (mut read, mut written) = (reserved, reserved);
        let size = self.witness.size;
        let skips = self.witness.breaks(Mutation::LastLeafSkipped);
        let all = if skips { size / LEAF * LEAF } else { size };
        while written < all {
            self.compared.set(false);
            self.witness.destination_disk.be_honest(false);
            while ahead.len() < self.driving.read_ahead && read < self.witness.size {
                let (extent, content) = self.read_chunk(&from, read).await?;
                read = extent.end();
                ahead.push_back((extent, content));
            }
            let (extent, content) = ahead.pop_front().ok_or(Again)?;
            match self.call(&to, Call::CopyWrite(extent, content)).await? {
                Reply::Done => written = extent.end(),
                Reply::Expected(expected) => {
                    (read, written) = (expected, expected);
                    ahead.clear();
                }
                _ => return Err(Again),
            }
        }
        Ok(())
    }

    async fn read_chunk(&self, from: &Connection, at: u64) -> Result<(Extent, Content), Halt> {
        let chunk = self.driving.chunk_leaves * LEAF;
        let end = self.witness.size.min(at + chunk);
        let far = self.witness.size.min(at + 16 * chunk);
        let status = Call::Status(Extent::between(at, far));
        let Reply::Hole(hole) = self.call(from, status).await? else { return Err(Again) };
        if !hole.is_empty() {
            let hole_end = far.min(at + hole.len() as u64 * BLOCK);
            return Ok((Extent::between(at, hole_end), hole.into()));
        }
        let extent = Extent::between(at, end);
        match self.call(from, Call::CopyRead(extent)).await? {
            Reply::Content(content) => Ok((extent, content.into())),
            _ => Err(Again),
        }
    }

    /// Compares until a pass finds no difference, and gives up when the last one still did. A disk
    /// that lies behind a pass is found by none, so the simulated one does not.
    async fn compare(&self, source: &Connection, destination: &Connection) -> Result<(), Halt> {
        for _ in 0..PASSES_MAX {
            self.witness.destination_disk.be_honest(true);
            if self.witness.breaks(Mutation::NotCompared)
                || self.pass(source, destination).await? == 0
            {
                self.compared.set(true);
                return Ok(());
            }
            self.witness.destination_disk.be_honest(false);
            self.sim.sleep(self.sim.between(0, 50 * MILLIS)).await;
        }
        self.intent.set(Intent::Abort);
        Err(Again)
    }

    /// One pass; how many bytes differed.
    async fn pass(&self, source: &Connection, destination: &Connection) -> Result<u64, Halt> {
        let mut restart = true;
        loop {
            let asked = self.call(source, Call::Verify { restart }).await?;
            let Reply::Verified { address, mismatched } = asked else { return Err(Again) };
            if address >= self.witness.size && !restart {
                return Ok(mismatched);
            }
            restart = false;
            self.sim.sleep(2 * MILLIS).await;
            let there = self.call(destination, Call::Inquire).await?;
            let Reply::Standing { reserved, .. } = there else { return Err(Again) };
            if reserved < self.witness.size {
                return Err(Again); // what was copied last is to be copied again
            }
        }
    }

    async fn commit(&self, source: &Connection, destination: &Connection) -> Result<(), Halt> {
        let term = self.term.get();
        loop {
            let settled = self.call(source, Call::Settle { term }).await?;
            let Reply::Settled { attempt, epoch, missing } = settled else { return Err(Again) };
            match missing {
                None => {}
                // A restart of the source has forgotten whether the digests agree.
                Some(Missing::Digest) => {
                    self.compare(source, destination).await?;
                    continue;
                }
                Some(_) => {
                    self.sim.sleep(MILLIS).await;
                    continue;
                }
            }
            self.done(destination, Call::Ready { epoch, attempt, term }).await?;
            return self.done(source, Call::Commit { attempt, term }).await;
        }
    }

    async fn done(&self, connection: &Connection, call: Call) -> Result<(), Halt> {
        match self.call(connection, call).await? {
            Reply::Done => Ok(()),
            _ => Err(Again),
        }
    }

    async fn call(&self, connection: &Connection, call: Call) -> Result<Reply, Halt> {
        match self.sim.timeout(TIMEOUT, connection.call(call)).await {
            Some(Ok(Reply::Superseded)) => Err(Superseded),
            Some(reply) => Ok(reply?),
            None => Err(Again),
        }
    }
}
