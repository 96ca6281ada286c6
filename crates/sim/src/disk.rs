//! A disk with a volatile cache, and a journal that has none.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blockferry_block::Extent;

use crate::content::{BLOCK, Content, Stamp, blocks};
use crate::executor::{Lock, Micros, Sim};

/// How long a disk takes: the shortest and the longest time in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Speed(pub Micros, pub Micros);

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
    speed: Cell<Speed>,
    blocks: RefCell<Vec<Block>>,
    writes: Cell<u64>,
    lost: Cell<bool>,
}

impl Disk {
    /// A disk that reads as zeroes.
    pub fn new(sim: &Sim, size: u64, speed: Speed) -> Rc<Self> {
        let blocks = vec![Block::default(); size.div_ceil(BLOCK) as usize];
        let (speed, blocks) = (Cell::new(speed), RefCell::new(blocks));
        let (writes, lost) = (Cell::new(0), Cell::new(false));
        Rc::new(Self { sim: sim.clone(), speed, blocks, writes, lost })
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
    pub async fn read(&self, extent: Extent) -> Vec<Stamp> {
        self.delay().await;
        let range = blocks(extent);
        let torn = self.sim.draw(|random| random.between(range.start as u64, range.end as u64));
        let mut content: Vec<_> = (range.start..torn as usize).map(|b| self.peek(b)).collect();
        if self.sim.draw(|random| random.one_in(2)) {
            self.delay().await;
        }
        content.extend((torn as usize..range.end).map(|b| self.peek(b)));
        content
    }

    /// Writes into the cache, perhaps torn between two blocks.
    pub async fn write(&self, extent: Extent, content: &Content) {
        self.delay().await;
        let torn = self.sim.draw(|random| random.between(0, content.len() as u64)) as usize;
        let range = blocks(extent);
        self.put(range.start, &content[..torn]);
        if self.sim.draw(|random| random.one_in(2)) {
            self.delay().await;
        }
        self.put(range.start + torn, &content[torn..]);
        self.delay().await;
    }

    fn put(&self, first: usize, content: &[Stamp]) {
        let number = self.writes.get() + 1;
        self.writes.set(number);
        for (block, stamp) in self.blocks.borrow_mut()[first..].iter_mut().zip(content) {
            block.cached.push((number, *stamp));
        }
    }

    /// Makes durable what was written before.
    pub async fn flush(&self) {
        let upto = self.writes.get();
        self.delay().await;
        self.delay().await;
        self.blocks.borrow_mut().iter_mut().for_each(|block| block.keep(upto));
        self.delay().await;
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
    speed: Speed,
    records: RefCell<Vec<R>>,
    turn: Lock,
}

impl<R: Clone> Journal<R> {
    /// An empty journal.
    pub fn new(sim: &Sim, speed: Speed) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            speed,
            records: RefCell::default(),
            turn: Lock::default(),
        })
    }

    /// Makes a record durable. When the process dies on the way it is durable or not.
    pub async fn append(&self, record: R) {
        let _turn = self.turn.turn().await;
        self.sim.sleep(self.sim.between(self.speed.0, self.speed.1)).await;
        self.records.borrow_mut().push(record);
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
