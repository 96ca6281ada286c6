//! The controller: copies in order, and decides when the owner changes. It keeps nothing that
//! matters; another one goes on from what both sides say.

use std::collections::VecDeque;
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_migration::digest::LEAF;

use crate::client::Clients;
use crate::content::{BLOCK, Content};
use crate::executor::{MILLIS, SECOND, Sim};
use crate::message::{Call, Reply, Role};
use crate::mutation::Mutation;
use crate::network::{Connection, Host, Lost, Network};
use crate::witness::Witness;

/// Longest time that any answer may take.
const TIMEOUT: u64 = 5 * SECOND;

/// Something was refused or lost: ask again where both sides stand.
struct Again;

impl From<Lost> for Again {
    fn from(_: Lost) -> Self {
        Self
    }
}

/// One run of the controller.
pub struct Controller {
    sim: Sim,
    network: Rc<Network>,
    witness: Rc<Witness>,
    clients: Rc<Clients>,
    chunk: u64,
    read_ahead: usize,
}

impl Controller {
    /// A controller that copies so many leaves at a time and reads so many chunks ahead.
    pub fn new(
        witness: &Rc<Witness>,
        network: &Rc<Network>,
        clients: &Rc<Clients>,
        (chunk_leaves, read_ahead): (u64, usize),
    ) -> Self {
        Self {
            sim: witness.sim.clone(),
            network: network.clone(),
            witness: witness.clone(),
            clients: clients.clone(),
            chunk: chunk_leaves * LEAF,
            read_ahead,
        }
    }

    /// Drives the migration to its end.
    pub async fn run(self) {
        while self.advance().await.is_err() {
            self.sim.sleep(self.sim.between(1, 30) * MILLIS).await;
        }
        self.witness.note("migrated", String::new);
        self.clients.finish();
    }

    async fn advance(&self) -> Result<(), Again> {
        let source = self.network.connect(Host::Controller, Host::Source);
        let destination = self.network.connect(Host::Controller, Host::Destination);
        let there = self.call(&destination, Call::Inquire).await?;
        let Reply::Standing { committed: owned, .. } = there else { return Err(Again) };
        if !owned {
            self.bring_over(&source, &destination).await?;
        }
        self.clients.move_all().await;
        Ok(())
    }

    async fn bring_over(&self, source: &Connection, destination: &Connection) -> Result<(), Again> {
        let here = self.call(source, Call::Inquire).await?;
        let Reply::Standing { epoch, committed, .. } = here else { return Err(Again) };
        if !committed {
            let epoch = epoch.ok_or(Again)?;
            self.copy(epoch).await?;
            self.commit(source, destination).await?;
        }
        self.done(destination, Call::Own).await
    }

    /// The ordered copy: read, write at `W`, the next write only after the answer.
    async fn copy(&self, epoch: u64) -> Result<(), Again> {
        let from = self.network.connect(Host::Controller, Host::Source);
        let to = self.network.connect(Host::Controller, Host::Destination);
        self.done(&from, Call::Open(Role::Copy(epoch))).await?;
        self.done(&to, Call::Open(Role::Copy(epoch))).await?;
        let standing = self.call(&to, Call::Inquire).await?;
        let Reply::Standing { reserved, .. } = standing else { return Err(Again) };
        let mut ahead: VecDeque<(Extent, Content)> = VecDeque::new();
        let (mut read, mut written) = (reserved, reserved);
        let size = self.witness.size;
        let skips = self.witness.breaks(Mutation::LastLeafSkipped);
        let all = if skips { size / LEAF * LEAF } else { size };
        while written < all {
            while ahead.len() < self.read_ahead && read < self.witness.size {
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

    async fn read_chunk(&self, from: &Connection, at: u64) -> Result<(Extent, Content), Again> {
        let end = self.witness.size.min(at + self.chunk);
        let far = self.witness.size.min(at + 16 * self.chunk);
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

    async fn commit(&self, source: &Connection, destination: &Connection) -> Result<(), Again> {
        loop {
            let settled = self.call(source, Call::Settle).await?;
            let Reply::Settled { attempt, epoch, missing } = settled else { return Err(Again) };
            if missing.is_some() {
                self.sim.sleep(MILLIS).await;
                continue;
            }
            self.done(destination, Call::Ready { epoch, attempt }).await?;
            return self.done(source, Call::Commit(attempt)).await;
        }
    }

    async fn done(&self, connection: &Connection, call: Call) -> Result<(), Again> {
        match self.call(connection, call).await? {
            Reply::Done => Ok(()),
            _ => Err(Again),
        }
    }

    async fn call(&self, connection: &Connection, call: Call) -> Result<Reply, Again> {
        match self.sim.timeout(TIMEOUT, connection.call(call)).await {
            Some(reply) => Ok(reply?),
            None => Err(Again),
        }
    }
}
