//! The checks that see both sides at once, as no program can.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use blockferry_block::{Attempt, Extent};
use blockferry_migration::in_flight::OpId;
use blockferry_migration::record::Part;
use blockferry_migration::source::{Attachment, PhaseName};

use crate::content::{block_extent, blocks};
use crate::destination::DestinationProgram;
use crate::disk::{Disk, Kind};
use crate::executor::{Micros, Sim};
use crate::fault::Faults;
use crate::message::Request;
use crate::mutation::Mutation;
use crate::network::Host;
use crate::records::{Log, Records};
use crate::registers::Registers;
use crate::volume::Volume;

/// Everything of a world that outlives its processes, and a view into these.
pub struct Witness {
    /// The world.
    pub sim: Sim,
    /// Size of the volume in bytes.
    pub size: u64,
    /// The source's disk.
    pub source_disk: Rc<Disk>,
    /// The destination's.
    pub destination_disk: Rc<Disk>,
    /// What the source makes durable.
    pub source_records: Records,
    /// Its activity log.
    pub source_log: Log,
    /// What the destination makes durable.
    pub destination_records: Records,
    /// What every block may hold.
    pub registers: RefCell<Registers>,
    /// Whether clients have requests in flight that overlap each other.
    pub overlapping: bool,
    /// What goes wrong, and when.
    pub faults: Faults,
    source: RefCell<Weak<Volume>>,
    destination: RefCell<Weak<DestinationProgram>>,
    applied: RefCell<BTreeMap<OpId, (Extent, Option<Extent>)>>,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    terms: RefCell<BTreeMap<Host, u64>>,
    last_term: Cell<u64>,
    /// The migration has begun, durably.
    begun: Cell<bool>,
    received: Cell<bool>,
}

impl Witness {
    /// A witness of programs that have not been started.
    pub fn new(
        sim: &Sim,
        size: u64,
        disks: [Rc<Disk>; 2],
        (source_records, source_log, destination_records): (Records, Log, Records),
        overlapping: bool,
        faults: Faults,
    ) -> Rc<Self> {
        let [source_disk, destination_disk] = disks;
        let all = blocks(Extent::whole(size));
        let registers = Registers::new(all.map(|block| source_disk.peek(block)));
        Rc::new(Self {
            sim: sim.clone(),
            size,
            source_disk,
            destination_disk,
            source_records,
            source_log,
            destination_records,
            registers: RefCell::new(registers),
            overlapping,
            faults,
            source: RefCell::default(),
            destination: RefCell::default(),
            applied: RefCell::default(),
            counts: RefCell::default(),
            terms: RefCell::default(),
            last_term: Cell::new(0),
            begun: Cell::new(false),
            received: Cell::new(false),
        })
    }

    /// The source's volume, from its start on.
    pub fn watch_source(&self, volume: &Rc<Volume>) {
        *self.source.borrow_mut() = Rc::downgrade(volume);
        self.applied.borrow_mut().clear();
    }

    /// The destination, from its start on.
    pub fn watch_destination(&self, program: &Rc<DestinationProgram>) {
        *self.destination.borrow_mut() = Rc::downgrade(program);
    }

    /// The source is gone.
    pub fn forget_source(&self) {
        *self.source.borrow_mut() = Weak::new();
    }

    /// The destination is gone.
    pub fn forget_destination(&self) {
        *self.destination.borrow_mut() = Weak::new();
    }

    /// Counts and notes something that happens.
    pub fn note(&self, what: &'static str, line: impl FnOnce() -> String) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
        self.sim.trace(|| format!("{what} {}", line()));
        self.faults.reached(&self.sim, what);
    }

    /// Counts a point that is passed.
    pub fn pass(&self, point: &'static str) {
        self.add(point, 1);
        self.faults.reached(&self.sim, point);
    }

    /// How often it has happened.
    pub fn count(&self, what: &'static str) -> u64 {
        self.counts.borrow().get(what).copied().unwrap_or_default()
    }

    /// Adds to a count.
    pub fn add(&self, what: &'static str, amount: u64) {
        *self.counts.borrow_mut().entry(what).or_default() += amount;
    }

    /// All counts.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.borrow().clone()
    }

    /// Whether the source's commit record is durable.
    pub fn is_committed(&self) -> bool {
        self.source_records.part() == Some(Part::Forwarding)
    }

    /// Whether the destination owns the volume, durably.
    pub fn is_owned(&self) -> bool {
        self.destination_records.part() == Some(Part::Owner)
    }

    /// The records say that the migration has begun.
    pub fn begun(&self) {
        self.begun.set(true);
    }

    /// Whether the migration has begun, and is given up perhaps.
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// The destination's records say that it has received the volume.
    pub fn received(&self) {
        self.received.set(true);
    }

    /// Whether the destination has received the volume, and given it up perhaps.
    pub fn has_received(&self) -> bool {
        self.received.get()
    }

    /// Whether a test breaks this rule.
    pub fn breaks(&self, rule: Mutation) -> bool {
        self.faults.mutations.program == Some(rule)
    }

    /// An update is sent again that may have been executed before.
    pub fn resent(&self, request: &Request) {
        if let (true, Request::Update { extent, content, .. }) = (self.overlapping, request) {
            self.registers.borrow_mut().resend(blocks(*extent), content[0]);
        }
    }

    fn is_source(&self, volume: &Volume) -> bool {
        std::ptr::eq(self.source.borrow().as_ptr(), volume)
    }

    /// The source has begun to apply an update.
    pub fn applied(&self, volume: &Volume, id: OpId, extent: Extent, mirror: Option<Extent>) {
        self.note("update", || {
            let phase = volume.machine.borrow().phase();
            format!("{id:?} {extent} mirror {mirror:?} in {phase:?}")
        });
        if self.is_source(volume) {
            self.applied.borrow_mut().insert(id, (extent, mirror));
        }
    }

    /// An update has left the record.
    pub fn left(&self, volume: &Volume, id: OpId) {
        if self.is_source(volume) {
            self.applied.borrow_mut().remove(&id);
        }
    }

    /// The source acknowledges an update (I1, I7, I11).
    pub fn acknowledged(&self, volume: &Volume, id: OpId, extent: Extent, mirrored: bool) {
        self.left(volume, id);
        self.sim.trace(|| format!("answer {id:?} {extent}"));
        if !self.is_source(volume) {
            return;
        }
        if self.is_committed() && !mirrored {
            self.violate(format!("I1: {id:?} {extent} answered by the source after its commit"));
        }
        // Another update of its region may have failed, and be held.
        let committing = volume.machine.borrow().phase() == PhaseName::Committing;
        if committing && !mirrored && self.is_dirty(volume, extent) {
            self.violate(format!("I11: {id:?} {extent} answered as dirty while committing"));
        }
        self.replicas_agree("I7", extent);
    }

    fn is_dirty(&self, volume: &Volume, extent: Extent) -> bool {
        volume.machine.borrow().sweep().is_some_and(|sweep| sweep.is_dirty(extent))
    }

    /// What lies below `W` is the same on both sides, except dirty extents and updates in flight
    /// (I7, I9).
    pub fn replicas_agree(&self, invariant: &str, extent: Extent) {
        let (Some(volume), Some(program)) =
            (self.source.borrow().upgrade(), self.destination.borrow().upgrade())
        else {
            return;
        };
        let Some(reserved) = self.common_reserved(&volume, &program) else { return };
        // What a store has forgotten shows at its next flush, and is equal again after an attach.
        if self.destination_disk.has_lost() {
            return;
        }
        for block in blocks(extent) {
            let place = block_extent(block);
            let wrong = self.destination_disk.is_wrong(block);
            if wrong || place.start() >= reserved {
                continue;
            }
            if self.is_dirty(&volume, place) || self.in_flight(place) {
                continue;
            }
            self.blocks_equal(invariant, block);
        }
    }

    fn blocks_equal(&self, invariant: &str, block: usize) {
        let (ours, theirs) = (self.source_disk.peek(block), self.destination_disk.peek(block));
        if ours != theirs {
            let place = block_extent(block);
            self.violate(format!(
                "{invariant}: block {block} {place} is {ours} at the source and {theirs} at the \
                 destination, and not dirty"
            ));
        }
    }

    /// `W`, when both sides are attached to each other in the same epoch.
    fn common_reserved(&self, volume: &Volume, program: &DestinationProgram) -> Option<u64> {
        let machine = volume.machine.borrow();
        let attachment = machine.sweep()?.attachment();
        let (epoch, reserved) = program.receiving()?;
        (attachment == Attachment::Attached { epoch }).then_some(reserved)
    }

    fn in_flight(&self, place: Extent) -> bool {
        self.applied.borrow().values().any(|(extent, _)| extent.overlaps(place))
    }

    /// `W <= R` (I4).
    pub fn cursors(&self) {
        let (Some(volume), Some(program)) =
            (self.source.borrow().upgrade(), self.destination.borrow().upgrade())
        else {
            return;
        };
        let Some(reserved) = self.common_reserved(&volume, &program) else { return };
        let read_cursor = volume.machine.borrow().sweep().map(|sweep| sweep.read_cursor());
        if let Some(read_cursor) = read_cursor
            && reserved > read_cursor
        {
            self.violate(format!("I4: W is {reserved} and R is {read_cursor}"));
        }
    }

    /// A claimed extent is about to be read (I5).
    pub fn claimed(&self, volume: &Volume, claim: Extent) {
        self.note("claim", || claim.to_string());
        for (id, (extent, mirror)) in self.applied.borrow().iter() {
            for block in blocks(*extent) {
                let place = block_extent(block);
                let local_only = mirror.is_none_or(|mirror| !mirror.overlaps(place));
                if claim.overlaps(place) && local_only && !self.is_dirty(volume, place) {
                    self.violate(format!("I5: {claim} is read while {id:?} {extent} is applied"));
                    return;
                }
            }
        }
    }

    /// The source enters `Committing` (I10).
    pub fn committing(&self, attempt: u64) {
        let records = &self.destination_records;
        let durable = records.state().and_then(|state| Some(state.migration?.durable));
        if durable != Some(self.size) || !records.has_promised(Attempt(attempt)) {
            self.violate(format!("I10: attempt {attempt} commits without W_durable and Ready"));
        }
    }

    /// The commit record is durable (I14).
    pub fn committed(&self) {
        for block in blocks(Extent::whole(self.size)) {
            if !self.in_flight(block_extent(block)) {
                self.blocks_equal("I14", block);
            }
        }
    }

    /// A client was told that the disk failed: so it must have, at a side that may own the volume.
    pub fn client_failed(&self, since: Micros, kinds: &[Kind], extent: Extent) {
        self.note("client-error", || format!("{kinds:?} {extent}"));
        let failed = |disk: &Disk| kinds.iter().any(|kind| disk.has_failed(since, *kind, extent));
        // An update that the activity log cannot take is refused.
        let unlogged = kinds.contains(&Kind::Write) && self.source_log.has_failed(since);
        let owned = self.is_owned();
        let right =
            unlogged || failed(&self.source_disk) || (owned && failed(&self.destination_disk));
        if !right {
            self.violate(format!("E: {kinds:?} {extent} failed, and no disk of an owner did"));
        }
    }

    /// The destination becomes the owner (I1).
    pub fn owned(&self) {
        if !self.is_committed() {
            self.violate("I1: the destination owns the volume without a commit".to_owned());
        }
    }

    /// A controller has taken over: its term is its own (I12).
    pub fn term_given(&self, term: u64) {
        self.note("term", || term.to_string());
        if term <= self.last_term.replace(term) {
            self.violate(format!("I12: term {term} was given to two controllers"));
        }
    }

    /// Nothing of an older controller is executed at this side from now on.
    pub fn term_fenced(&self, host: Host, term: u64) {
        let mut terms = self.terms.borrow_mut();
        let newest = terms.entry(host).or_default();
        *newest = term.max(*newest);
    }

    /// A side executes what the controller of this term asks for (I12).
    pub fn term_counts(&self, host: Host, term: u64) {
        let newest = self.terms.borrow().get(&host).copied().unwrap_or_default();
        if term < newest {
            self.violate(format!("I12: {host:?} obeys term {term} after it has obeyed {newest}"));
        }
    }

    /// The migration was given up, at its source (I1).
    pub fn aborted(&self) {
        self.note("aborted", String::new);
        if self.is_committed() {
            self.violate("I1: a migration is given up after its commit".to_owned());
        }
    }

    /// Something happened that must never happen.
    pub fn violate(&self, what: String) {
        self.sim.violate(what);
    }
}
