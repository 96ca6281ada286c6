//! A disk with a volatile cache that may fail, or lie.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use blockferry_block::Extent;

use crate::content::{BLOCK, Content, Stamp, blocks};
use crate::executor::{Micros, Sim};

/// How long a disk takes: the shortest and the longest time in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Speed(pub Micros, pub Micros);

/// The names of the points before and after something becomes durable.
#[derive(Clone, Copy, Debug)]
pub struct Points(pub &'static str, pub &'static str);

/// What a disk is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A read.
    Read,
    /// A write or a trim.
    Write,
    /// A flush.
    Flush,
}

/// The disk failed. What was to be written may be there, in part or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// `EIO`.
    Io,
    /// `ENOSPC`.
    Full,
}

/// What a disk does with a write that it calls done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    Drop,
    /// It writes elsewhere.
    Misdirect,
}

/// How long a kind of call fails.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    error: DiskError,
    /// Up to this moment; the next call alone when there is none.
    until: Option<Micros>,
}

#[derive(Clone, Debug, Default)]
struct Block {
    durable: Stamp,
    cached: Vec<(u64, Stamp)>,
}

impl Block {
    fn now(&self) -> Stamp {
        self.cached.last().map_or(self.durable, |(_, stamp)| *stamp)
    }

    /// Everything up to the given write reaches the medium.
    fn keep(&mut self, upto: u64) {
        let count = self.cached.partition_point(|(number, _)| *number <= upto);
        if let Some((_, stamp)) = self.cached.drain(..count).next_back() {
            self.durable = stamp;
        }
    }
}

/// A disk. It outlives the process that uses it.
pub struct Disk {
    sim: Sim,
    points: Points,
    speed: Cell<Speed>,
    blocks: RefCell<Vec<Block>>,
    writes: Cell<u64>,
    lost: Cell<bool>,
    troubles: RefCell<BTreeMap<Kind, Trouble>>,
    failed: RefCell<Vec<(Micros, Kind, Extent)>>,
    lies: Cell<Option<(Lie, Micros)>>,
    honest: Cell<bool>,
    /// Blocks whose last write was dropped or replaced.
    wrong: RefCell<BTreeSet<usize>>,
}

impl Disk {
    /// A disk that reads as zeroes.
    pub fn new(sim: &Sim, size: u64, speed: Speed, points: Points) -> Rc<Self> {
        let blocks = vec![Block::default(); size.div_ceil(BLOCK) as usize];
        let (speed, blocks) = (Cell::new(speed), RefCell::new(blocks));
        Rc::new(Self {
            sim: sim.clone(),
            points,
            speed,
            blocks,
            writes: Cell::new(0),
            lost: Cell::new(false),
            troubles: RefCell::default(),
            failed: RefCell::default(),
            lies: Cell::new(None),
            honest: Cell::new(false),
            wrong: RefCell::default(),
        })
    }

    /// Puts content on the medium before the run begins.
    pub fn fill(&self, block: usize, stamp: Stamp) {
        self.blocks.borrow_mut()[block].durable = stamp;
    }

    /// What a read at this moment gives.
    pub fn peek(&self, block: usize) -> Stamp {
        self.blocks.borrow()[block].now()
    }

    /// What the extent holds at this moment.
    pub fn peek_all(&self, extent: Extent) -> Vec<Stamp> {
        blocks(extent).map(|block| self.peek(block)).collect()
    }

    async fn delay(&self) {
        let Speed(low, high) = self.speed.get();
        self.sim.sleep(self.sim.between(low, high)).await;
    }

    /// Reads, perhaps torn between two blocks.
    ///
    /// # Errors
    /// [`DiskError`].
    pub async fn read(&self, extent: Extent) -> Result<Vec<Stamp>, DiskError> {
        self.delay().await;
        self.trouble(Kind::Read, extent)?;
        let range = blocks(extent);
        let torn = self.sim.draw(|random| random.between(range.start as u64, range.end as u64));
        let mut content: Vec<_> = (range.start..torn as usize).map(|b| self.peek(b)).collect();
        if self.sim.draw(|random| random.one_in(2)) {
            self.delay().await;
        }
        content.extend((torn as usize..range.end).map(|b| self.peek(b)));
        Ok(content)
    }

    /// Writes into the cache, perhaps torn between two blocks.
    ///
    /// # Errors
    /// [`DiskError`]; some of the blocks may be written.
    pub async fn write(&self, extent: Extent, content: &Content) -> Result<(), DiskError> {
        self.delay().await;
        let trouble = self.trouble(Kind::Write, extent);
        let torn = self.sim.draw(|random| random.between(0, content.len() as u64)) as usize;
        let first = blocks(extent).start;
        if trouble.is_ok() && self.lies_about(first, content) {
            self.delay().await;
            return Ok(());
        }
        self.put(first, &content[..torn]);
        trouble?;
        if self.sim.draw(|random| random.one_in(2)) {
            self.delay().await;
        }
        self.put(first + torn, &content[torn..]);
        self.delay().await;
        Ok(())
    }

    fn put(&self, first: usize, content: &[Stamp]) {
        self.wrong.borrow_mut().retain(|block| !(first..first + content.len()).contains(block));
        self.store(first, content);
    }

    fn store(&self, first: usize, content: &[Stamp]) {
        let number = self.writes.get() + 1;
        self.writes.set(number);
        for (block, stamp) in self.blocks.borrow_mut()[first..].iter_mut().zip(content) {
            block.cached.push((number, *stamp));
        }
    }

    /// Makes durable what was written before. After one that failed all fail, until the losses are
    /// forgotten: a second success would be a lie about the writes of the first.
    ///
    /// # Errors
    /// [`DiskError`].
    pub async fn flush(&self) -> Result<(), DiskError> {
        let upto = self.writes.get();
        self.sim.pass(self.points.0);
        self.delay().await;
        let whole = Extent::between(0, u64::MAX);
        let trouble = self.trouble(Kind::Flush, whole);
        self.lost.set(self.lost.get() || trouble.is_err());
        if self.lost.get() {
            self.note_failed(Kind::Flush, whole);
            return Err(DiskError::Io);
        }
        self.delay().await;
        self.blocks.borrow_mut().iter_mut().for_each(|block| block.keep(upto));
        self.sim.pass(self.points.1);
        self.delay().await;
        if self.lost.get() {
            self.note_failed(Kind::Flush, whole);
            return Err(DiskError::Io);
        }
        Ok(())
    }

    /// The power fails: of what was not flushed, each block keeps some of the older writes.
    pub fn lose_power(&self) {
        for block in self.blocks.borrow_mut().iter_mut() {
            let kept = self.sim.draw(|random| random.between(0, block.cached.len() as u64));
            if kept > 0 {
                block.durable = block.cached[kept as usize - 1].1;
            }
            block.cached.clear();
        }
    }
}

impl Disk {
    /// Calls of the kind fail for so long from now on; the next one alone for a length of 0.
    pub fn fail(&self, kind: Kind, error: DiskError, length: Micros) {
        let until = (length > 0).then_some(self.sim.now() + length);
        self.troubles.borrow_mut().insert(kind, Trouble { error, until });
    }

    fn trouble(&self, kind: Kind, extent: Extent) -> Result<(), DiskError> {
        let mut troubles = self.troubles.borrow_mut();
        let Some(Trouble { error, until }) = troubles.get(&kind).copied() else { return Ok(()) };
        if until.is_none_or(|until| self.sim.now() >= until) {
            troubles.remove(&kind);
        }
        if until.is_some_and(|until| self.sim.now() >= until) {
            return Ok(());
        }
        self.sim.trace(|| format!("disk {kind:?} {extent} fails: {error:?}"));
        self.note_failed(kind, extent);
        Err(error)
    }

    /// Whether a call of the kind may still fail.
    pub fn is_failing(&self, kind: Kind) -> bool {
        let troubles = self.troubles.borrow();
        let may = |trouble: &Trouble| trouble.until.is_none_or(|until| self.sim.now() < until);
        troubles.get(&kind).is_some_and(may)
    }

    fn note_failed(&self, kind: Kind, extent: Extent) {
        self.failed.borrow_mut().push((self.sim.now(), kind, extent));
    }

    /// How many calls failed so far.
    pub fn failures(&self) -> u64 {
        self.failed.borrow().len() as u64
    }

    /// Whether a call of the kind that touches the extent has failed since.
    pub fn has_failed(&self, since: Micros, kind: Kind, extent: Extent) -> bool {
        let failed = self.failed.borrow();
        failed.iter().any(|f| f.0 >= since && f.1 == kind && f.2.overlaps(extent))
    }

    /// The power of the disk alone fails, while its program runs on: a flush must not pass that over.
    pub fn forget_cache(&self) {
        let cached = self.blocks.borrow().iter().any(|block| !block.cached.is_empty());
        self.lost.set(self.lost.get() || cached);
        self.lose_power();
    }

    /// Whether what was answered may be lost, so that a flush fails.
    pub fn has_lost(&self) -> bool {
        self.lost.get()
    }

    /// Everything that was not flushed is written again.
    pub fn forget_losses(&self) {
        self.lost.set(false);
    }

    /// Writes are dropped or misdirected for so long from now on; the next one alone for a length of 0.
    pub fn lie(&self, lie: Lie, length: Micros) {
        self.lies.set(Some((lie, self.sim.now() + length)));
    }

    /// Whether it tells the truth, whatever was planned.
    pub fn be_honest(&self, honest: bool) {
        self.honest.set(honest);
    }

    /// Whether the block does not hold what was written there last.
    pub fn is_wrong(&self, block: usize) -> bool {
        self.wrong.borrow().contains(&block)
    }

    fn lies_about(&self, first: usize, content: &[Stamp]) -> bool {
        let Some((lie, until)) = self.lies.get().filter(|_| !self.honest.get()) else {
            return false;
        };
        if self.sim.now() >= until {
            self.lies.set(None);
        }
        self.sim.trace(|| format!("disk {lie:?} of {} at block {first}", content.len()));
        self.sim.pass("lie");
        self.wrong.borrow_mut().extend(first..first + content.len());
        if lie == Lie::Misdirect {
            let room = (self.blocks.borrow().len() - content.len()) as u64;
            let elsewhere = self.sim.draw(|random| random.between(0, room)) as usize;
            self.wrong.borrow_mut().extend(elsewhere..elsewhere + content.len());
            self.store(elsewhere, content);
        }
        true
    }
}
