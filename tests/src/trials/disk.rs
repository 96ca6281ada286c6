//! The volume as a disk of a trial's initiators: who logs in, what they keep changing beside the load, and
//! what has to be left of it in the end.
//!
//! Beside the load each initiator counts, in cells of one block that all of them change by COMPARE AND
//! WRITE: whoever overwrites the block without having seen another's step takes that step back. And each
//! registers one reservation key after the other, under a reservation that nobody gives up.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use blockferry_block::Extent;
use blockferry_device::Device;
use blockferry_iscsi::pdu::Status;
use blockferry_iscsi::{Isid, PortalAddress};
use tokio::task::JoinSet;

use crate::cast::VOLUME;
use blockferry_initiator::{
    Command, Completion, InOrder, Initiator, InitiatorSpec, Order, RESERVATION_TYPE, Sense,
};

/// Length of a cell, and of the block that has them all.
const CELL: usize = 8;
const BLOCK: u64 = 512;

/// Cells of one initiator: so many of its commands race each other.
const CELLS_EACH: usize = 2;

/// Pause between two steps of a count, and between two keys.
const STEP: Duration = Duration::from_millis(60);
const KEY: Duration = Duration::from_millis(150);

/// Steps and keys that have to follow when everything else has ended.
const LAST: u64 = 3;

/// How the disk is reached.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) portals: Vec<PortalAddress>,
    pub(super) detours: HashMap<PortalAddress, PathBuf>,
}

/// The initiators of a trial, at work.
pub(super) struct Disk {
    initiators: Vec<Arc<Initiator>>,
    way: Way,
    cells: Extent,
    stop: Arc<AtomicBool>,
    work: JoinSet<Result<Done>>,
}

/// What one of the tasks beside the load was told.
enum Done {
    /// A cell, and the steps that it has.
    Counted(usize, u64),
    /// An initiator, and its last key.
    Registered(usize, u64),
}

/// What has to be left.
pub(super) struct Left {
    disk: Disk,
    done: Vec<Done>,
}

impl Disk {
    /// Logs so many initiators in, two of a host, and has the first reserve the disk for them all. The
    /// block with the cells is zeroed.
    pub(super) async fn log_in(way: Way, count: usize, cells: u64) -> Result<Self> {
        let mut initiators = Vec::new();
        for number in 0..count {
            let spec = way.spec(&format!("host-{}", number / 2), number);
            let initiator = Initiator::log_in(spec).await?;
            good(&initiator, Command::register(key(number, 0))).await?;
            initiators.push(Arc::new(initiator));
        }
        let first = initiators.first().context("a trial has a connection")?;
        good(first, Command::reserve(key(0, 0))).await?;
        let cells = Extent::between(cells, cells + BLOCK);
        good(first, Command::zero(cells, false)).await?;
        let (stop, work) = (Arc::default(), JoinSet::new());
        Ok(Self { initiators, way, cells, stop, work })
    }

    /// The initiators for a load. Writes that overlap wait for each other.
    pub(super) fn devices(&self) -> Vec<Arc<dyn Device>> {
        let order = Arc::<Order>::default();
        let in_order = |initiator: &Arc<Initiator>| -> Arc<dyn Device> {
            Arc::new(InOrder::new(Arc::clone(initiator), Arc::clone(&order)))
        };
        self.initiators.iter().map(in_order).collect()
    }

    /// Begins what goes on beside the load.
    pub(super) fn begin(&mut self) {
        for (number, initiator) in self.initiators.iter().enumerate() {
            for cell in (0..CELLS_EACH).map(|cell| number * CELLS_EACH + cell) {
                let (cells, stop) = (self.cells, Arc::clone(&self.stop));
                self.work.spawn(count(Arc::clone(initiator), cells, cell, stop));
            }
            self.work.spawn(register(Arc::clone(initiator), number, Arc::clone(&self.stop)));
        }
    }

    /// Ends it.
    pub(super) async fn end(mut self) -> Result<Left> {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = Vec::new();
        while let Some(ended) = self.work.join_next().await {
            done.push(ended??);
        }
        Ok(Left { disk: self, done })
    }
}

impl Way {
    fn spec(&self, host: &str, number: usize) -> InitiatorSpec {
        let [.., high, low] = number.to_be_bytes();
        InitiatorSpec {
            name: format!("iqn.2026-01.io.blockferry.test:{host}"),
            isid: Isid([0x80, 0, 0, 1, high, low]),
            target: format!("iqn.2026-01.io.blockferry:{VOLUME}"),
            portals: self.portals.clone(),
            detours: self.detours.clone(),
        }
    }
}

impl Left {
    /// The block of the cells, which the load leaves alone.
    pub(super) const fn cells(&self) -> Extent {
        self.disk.cells
    }

    /// Checks that every step and every key that was answered is there, and that the reservation stands.
    pub(super) async fn judge(&self) -> Result<()> {
        for initiator in &self.disk.initiators {
            let faults = initiator.faults();
            ensure!(faults.is_empty(), "a target broke the protocol: {faults:?}");
        }
        let first = self.disk.initiators.first().context("an initiator")?;
        let cells = good(first, Command::read(self.disk.cells)).await?.data;
        let mut keys = BTreeSet::new();
        for done in &self.done {
            match *done {
                Done::Counted(cell, steps) => {
                    let found = number_at(&cells, cell * CELL);
                    ensure!(found == steps, "cell {cell} has {found}, and {steps} were answered");
                }
                Done::Registered(number, last) => {
                    keys.insert(key(number, last));
                }
            }
        }
        let found = keys_of(first).await?;
        ensure!(found == keys, "registered are {found:x?}, and answered were {keys:x?}");
        self.reservation_stands(first, &keys).await
    }

    async fn reservation_stands(&self, first: &Initiator, keys: &BTreeSet<u64>) -> Result<()> {
        let told = good(first, Command::read_reservation()).await?.data;
        let holder = number_at(&told, 8);
        let kind = told.get(21).copied().unwrap_or(0);
        let stands = keys.first() == Some(&holder) && kind == RESERVATION_TYPE;
        ensure!(stands, "the reservation is of type {kind}, held with {holder:#x}");
        let stranger = Initiator::log_in(self.disk.way.spec("stranger", 999)).await?;
        let write = Command::write(self.disk.cells.start(), vec![0; BLOCK as usize].into(), false);
        let refused = stranger.execute(write).await.status;
        ensure!(refused == Status::RESERVATION_CONFLICT, "a stranger's write: {refused:?}");
        Ok(())
    }
}

/// Counts in a cell until it is told to stop, and then a little more.
async fn count(
    initiator: Arc<Initiator>,
    cells: Extent,
    cell: usize,
    stop: Arc<AtomicBool>,
) -> Result<Done> {
    let (mut steps, mut may_have_stepped, mut last) = (0, false, 0);
    while last < LAST {
        let found = good(&initiator, Command::read(cells)).await?.data;
        let there = number_at(&found, cell * CELL);
        let is_right = there == steps || (may_have_stepped && there == steps + 1);
        ensure!(is_right, "cell {cell} has {there} where {steps} were answered");
        let mut next = found.to_vec();
        next[cell * CELL..][..CELL].copy_from_slice(&(there + 1).to_be_bytes());
        let step = Command::compare_and_write(cells.start(), &found, &next);
        let made = initiator.execute(step).await;
        (steps, may_have_stepped) = match made.status {
            Status::GOOD => (there + 1, false),
            // Where it was sent again, it may have been its own step that made the difference.
            Status::CHECK_CONDITION if made.sense.key == Sense::MISCOMPARE => {
                (there, made.repeated)
            }
            // The target could not tell what has become of it.
            Status::CHECK_CONDITION => (there, true),
            status => bail!("a step of cell {cell} ended with {status:?}"),
        };
        last += u64::from(made.status == Status::GOOD && stop.load(Ordering::Relaxed));
        tokio::time::sleep(STEP).await;
    }
    Ok(Done::Counted(cell, steps))
}

/// Registers one key after the other until it is told to stop, and then a few more.
async fn register(initiator: Arc<Initiator>, number: usize, stop: Arc<AtomicBool>) -> Result<Done> {
    let (mut last, mut more) = (0, 0);
    while more < LAST {
        let keys = keys_of(&initiator).await?;
        let own: Vec<_> =
            keys.iter().filter(|other| *other >> 32 == key(number, 0) >> 32).collect();
        ensure!(own == [&key(number, last)], "initiator {number} has {own:x?} instead of {last:x}");
        last += 1;
        good(&initiator, Command::register(key(number, last))).await?;
        more += u64::from(stop.load(Ordering::Relaxed));
        tokio::time::sleep(KEY).await;
    }
    Ok(Done::Registered(number, last))
}

/// A key of an initiator: none is 0, which would end the registration.
fn key(number: usize, count: u64) -> u64 {
    (number as u64 + 1) << 32 | count
}

async fn keys_of(initiator: &Initiator) -> Result<BTreeSet<u64>> {
    let told = good(initiator, Command::read_keys()).await?.data;
    Ok(told.get(8..).unwrap_or_default().chunks_exact(CELL).map(|key| number_at(key, 0)).collect())
}

async fn good(initiator: &Initiator, command: Command) -> Result<Completion> {
    let completion = initiator.execute(command).await;
    ensure!(completion.status == Status::GOOD, "a command of an initiator: {completion:?}");
    Ok(completion)
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..at + CELL).and_then(|bytes| bytes.try_into().ok());
    found.map_or(0, u64::from_be_bytes)
}
