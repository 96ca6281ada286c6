//! A disk with a volatile cache that may fail, and a journal that has none and does not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_block::Extent;

use crate::content::{BLOCK, Content, Stamp, blocks};
use crate::executor::{Lock, Micros, Sim};

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
        let range = blocks(extent);
        self.put(range.start, &content[..torn]);
        trouble?;
        if self.sim.draw(|random| random.one_in(2)) {
            self.delay().await;
        }
        self.put(range.start + torn, &content[torn..]);
        self.delay().await;
        Ok(())
    }

    fn put(&self, first: usize, content: &[Stamp]) {
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
}

/// Records that are durable one after the other.
pub struct Journal<R> {
    sim: Sim,
    points: Points,
    speed: Speed,
    records: RefCell<Vec<R>>,
    turn: Lock,
}

impl<R: Clone> Journal<R> {
    /// An empty journal.
    pub fn new(sim: &Sim, speed: Speed, points: Points) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            points,
            speed,
            records: RefCell::default(),
            turn: Lock::default(),
        })
    }

    /// Makes a record durable. When the process dies on the way it is durable or not.
    pub async fn append(&self, record: R) {
        let _turn = self.turn.turn().await;
        self.sim.pass(self.points.0);
        self.sim.sleep(self.sim.between(self.speed.0, self.speed.1)).await;
        self.records.borrow_mut().push(record);
        self.sim.pass(self.points.1);
        self.sim.sleep(self.sim.between(self.speed.0, self.speed.1)).await;
    }

    /// What a restart finds.
    pub fn records(&self) -> Vec<R> {
        self.records.borrow().clone()
    }

    /// Whether a restart would find such a record.
    pub fn has(&self, wanted: impl Fn(&R) -> bool) -> bool {
        self.records.borrow().iter().any(wanted)
    }
}
