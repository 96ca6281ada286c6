//! The machine in a world of random failures, drawn from a seed.
//!
//! The fault model: a link may be lost at any moment, with any of its requests executed, unexecuted,
//! or executed and unanswered; what a lost link carried may still execute at any later time, until
//! it is fenced; fences and connections fail; servers refuse because they are not the owner; moves
//! begin whenever the machine allows; the client may go. All upstreams lead to one register per
//! block, as the migration protocol makes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use blockferry_block::{Extent, Generation};
use blockferry_device::{Errno, Failure, Reply, Request};
use bytes::Bytes;

use crate::fabric::CallError;
use crate::machine::{DRAIN_MAX, Effect, Machine, NOT_THE_OWNER, Phase, Work};
use crate::queue::{Queue, Ticket};
use crate::table::RequestId;

const BLOCKS: usize = 3;
const UNANSWERED_MAX: usize = 12;
const TIMEOUT: Duration = Duration::from_secs(600);

/// A request somewhere between here and the disk.
#[derive(Clone, Copy, Debug)]
struct Copy {
    id: RequestId,
    link: Generation,
    executed: bool,
    /// Its answer can still arrive.
    answerable: bool,
}

struct World {
    random: Random,
    machine: Machine,
    now: Instant,
    queue: Queue,
    /// Writes that wait for their turn.
    waiting: BTreeMap<Ticket, usize>,
    turns: HashMap<RequestId, Ticket>,
    /// Requests that the client waits for, with the block of a write.
    unanswered: BTreeMap<RequestId, Option<usize>>,
    blocks_of: HashMap<RequestId, Option<usize>>,
    copies: Vec<Copy>,
    links: BTreeSet<Generation>,
    registers: [Option<RequestId>; BLOCKS],
    fences: bool,
    answered: u64,
    closed: bool,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}

impl World {
    fn new(seed: u64, fences: bool) -> Self {
        let front = Generation(1);
        Self {
            random: Random(seed),
            machine: Machine::new(front, TIMEOUT),
            now: Instant::now(),
            queue: Queue::default(),
            waiting: BTreeMap::new(),
            turns: HashMap::new(),
            unanswered: BTreeMap::new(),
            blocks_of: HashMap::new(),
            copies: Vec::new(),
            links: BTreeSet::from([front]),
            registers: [None; BLOCKS],
            fences,
            answered: 0,
            closed: false,
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=4 if self.unanswered.len() < UNANSWERED_MAX && !self.closed => self.client_sends(),
            5..=8 => self.a_copy_executes(),
            9..=12 => self.an_answer_arrives(None),
            13 => {
                let not_owner = Failure::new(Errno::Shutdown, format!("{NOT_THE_OWNER} here"));
                self.an_answer_arrives(Some(CallError::Refused(not_owner)));
            }
            14 => self.a_link_is_lost(),
            15..=17 => self.the_driver_works(),
            18 => self.time_passes(),
            _ => {}
        }
        self.carry_out();
    }

    fn client_sends(&mut self) {
        if self.random.below(3) == 0 {
            let extent = Extent::whole(1);
            return self.arrive(Request::Read { extent, dont_fragment: false }, None);
        }
        let block = self.random.below(BLOCKS);
        let (ticket, granted) = self.queue.admit(extent(block));
        if granted {
            self.arrive_write(ticket, block)
        } else {
            self.waiting.extend([(ticket, block)])
        }
    }

    fn arrive_write(&mut self, ticket: Ticket, block: usize) {
        let write = Request::Write {
            offset: extent(block).start(),
            data: Bytes::from_static(b"x"),
            fua: false,
        };
        self.arrive(write, Some((block, ticket)));
    }

    fn arrive(&mut self, request: Request, write: Option<(usize, Ticket)>) {
        let usable = self.machine.phase() != Phase::Lost;
        let (id, link) = self.machine.arrive(request, self.now);
        assert_eq!(link.is_some(), usable && !self.closed, "only a lost path holds a new request");
        self.unanswered.insert(id, write.map(|(block, _)| block));
        self.blocks_of.insert(id, write.map(|(block, _)| block));
        self.turns.extend(write.map(|(_, ticket)| (id, ticket)));
        if let Some(link) = link {
            self.leaves(id, link);
        }
    }

    fn leaves(&mut self, id: RequestId, link: Generation) {
        assert!(self.links.contains(&link), "sent on a link that is gone");
        let older = self.copies.iter().any(|copy| copy.id == id && !copy.executed);
        assert!(!older || self.blocks_of[&id].is_none(), "I13: its older copy can still execute");
        self.copies.push(Copy { id, link, executed: false, answerable: true });
    }

    fn a_copy_executes(&mut self) {
        let pending: Vec<_> =
            (0..self.copies.len()).filter(|i| !self.copies[*i].executed).collect();
        if pending.is_empty() {
            return;
        }
        let index = pending[self.random.below(pending.len())];
        self.copies[index].executed = true;
        let id = self.copies[index].id;
        if let Some(block) = self.blocks_of[&id] {
            let register = &mut self.registers[block];
            assert!(*register <= Some(id), "I15: an older write landed on a newer one");
            *register = Some(id);
        }
    }

    fn an_answer_arrives(&mut self, refusal: Option<CallError>) {
        let wanted = |copy: &Copy| copy.answerable && copy.executed == refusal.is_none();
        let ready: Vec<_> = (0..self.copies.len()).filter(|i| wanted(&self.copies[*i])).collect();
        if ready.is_empty() {
            return;
        }
        let copy = self.copies.remove(ready[self.random.below(ready.len())]);
        let outcome = refusal.map_or(Ok(Reply::Done), Err);
        if let Some(answer) = self.machine.answered(copy.id, copy.link, outcome, self.now) {
            assert_eq!(answer, Ok(Reply::Done), "a client never sees a transient error");
            self.client_gets(copy.id);
        }
    }

    fn client_gets(&mut self, id: RequestId) {
        assert!(self.unanswered.remove(&id).is_some(), "answered twice");
        self.answered += 1;
        if !self.machine.is_ghost(id) {
            self.release(id);
        }
    }

    fn release(&mut self, id: RequestId) {
        let Some(ticket) = self.turns.remove(&id) else { return };
        for granted in self.queue.release(ticket) {
            let block = self.waiting.remove(&granted).expect("it waited");
            self.arrive_write(granted, block);
        }
    }

    fn a_link_is_lost(&mut self) {
        let links: Vec<_> = self.links.iter().copied().collect();
        if !links.is_empty() {
            let link = links[self.random.below(links.len())];
            self.cut(link);
            self.machine.lost(link);
        }
    }

    /// The link is gone: answers that it has brought already may still be on their way inside this
    /// program. A server that cannot fence loses what it had not executed.
    fn cut(&mut self, link: Generation) {
        self.links.remove(&link);
        for copy in self.copies.iter_mut().filter(|copy| copy.link == link) {
            copy.answerable &= copy.executed && self.random.below(2) == 0;
        }
        let fences = self.fences;
        self.copies.retain(|copy| copy.answerable || (!copy.executed && fences));
    }

    fn the_driver_works(&mut self) {
        match self.machine.work() {
            Work::Free | Work::Reopen => {
                let link = self.machine.next_generation();
                if self.random.below(3) > 0 {
                    self.links.insert(link);
                    self.machine.opened(link, self.now);
                }
            }
            Work::Fence(link) if self.random.below(2) == 0 => {
                assert_eq!(self.machine.phase(), Phase::Fencing { front: link });
                let fences = self.fences;
                self.copies.retain(|copy| !fences || copy.executed || copy.link >= link);
                self.machine.fenced(link);
            }
            _ => {}
        }
    }

    fn time_passes(&mut self) {
        self.now += match self.random.below(40) {
            0 => TIMEOUT,
            1..=5 => DRAIN_MAX,
            _ => Duration::from_millis(10),
        };
        self.machine.tick(self.now);
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.machine.next_effect() {
            match effect {
                Effect::Send(id, link, _) => self.leaves(id, link),
                Effect::Answer(id, outcome) => {
                    assert!(outcome.is_err(), "the machine makes up no success");
                    self.client_gets(id);
                }
                Effect::Forget(id) => self.release(id),
                Effect::Disconnect(link) => {
                    let busy = self.copies.iter().any(|c| c.link == link && c.answerable);
                    assert!(!busy, "a link ends in order only when all is answered");
                    self.links.remove(&link);
                }
                Effect::Abort(link) => self.cut(link),
            }
        }
    }

    fn end(&mut self, end: End) {
        self.closed = end != End::Never;
        match end {
            End::Never => {}
            End::TheClientGoes => self.machine.close(),
            End::ANewerConnectionFencesIt => {
                self.copies.retain(|copy| copy.executed);
                self.machine.superseded();
                self.carry_out();
                assert!(self.unanswered.is_empty() && self.turns.is_empty(), "all is over at once");
            }
        }
    }

    /// Failures stop: everything must come to an end.
    fn heal(&mut self, seed: u64) {
        for _ in 0..2000 {
            self.the_driver_works();
            self.carry_out();
            self.a_copy_executes();
            self.an_answer_arrives(None);
            self.carry_out();
        }
        assert!(self.unanswered.is_empty(), "seed {seed}: {:?}", self.unanswered);
        assert!(self.waiting.is_empty() && self.turns.is_empty(), "seed {seed}");
        assert!(self.answered > 0, "seed {seed}: nothing happened");
        let expected = if self.closed { Work::Finish } else { Work::Free };
        assert!([expected, Work::Rest].contains(&self.machine.work()), "seed {seed}");
    }
}

fn extent(block: usize) -> Extent {
    let start = block as u64;
    Extent::between(start, start + 1)
}

/// How a client's connection ends, if it does.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Never,
    TheClientGoes,
    ANewerConnectionFencesIt,
}

fn run(seed: u64, fences: bool, end: End) {
    let mut world = World::new(seed, fences);
    for step in 0..600 {
        if step == 500 {
            world.end(end);
        }
        world.step();
    }
    world.heal(seed);
}

#[test]
fn every_request_is_answered_once_and_no_old_write_lands_on_a_newer_one() {
    (1..1000).for_each(|seed| run(seed, true, End::Never));
}

#[test]
fn a_client_that_goes_leaves_no_write_behind_that_could_land_later() {
    (1..500).for_each(|seed| run(seed, true, End::TheClientGoes));
}

#[test]
fn a_path_that_a_newer_connection_had_fenced_answers_all_and_sends_nothing_more() {
    (1..500).for_each(|seed| run(seed, true, End::ANewerConnectionFencesIt));
}

#[test]
fn servers_that_cannot_fence_are_sent_unanswered_requests_again() {
    (1..500).for_each(|seed| run(seed, false, End::Never));
}
