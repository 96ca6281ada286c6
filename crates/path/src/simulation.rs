//! The machine in a world of random failures, drawn from a seed.
//!
//! The fault model: a link may be lost at any moment, with any of its requests executed, unexecuted,
//! or executed and unanswered; what a lost link carried may still execute at any later time, until
//! it is fenced; fences and connections fail; servers refuse because they are not the owner; moves
//! begin whenever the machine allows; the client may go; the process may die and another one take
//! the session over. All upstreams lead to one register per block, as the migration protocol makes
//! them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use blockferry_block::{Extent, Generation};
use blockferry_device::{Errno, Failure, Reply, Request};
use bytes::Bytes;

use crate::fabric::CallError;
use crate::generations::Generations;
use crate::machine::{DRAIN_MAX, Effect, Machine, NOT_THE_OWNER, Phase, Work};
use crate::queue::{Queue, Ticket};
use crate::table::RequestId;

const BLOCKS: usize = 3;
const UNANSWERED_MAX: usize = 12;
const TIMEOUT: Duration = Duration::from_secs(600);

/// A process's number, and a request of its own; both grow.
type Key = (u16, RequestId);

/// A request somewhere between here and the disk.
#[derive(Clone, Copy, Debug)]
struct Copy {
    id: Key,
    link: Generation,
    executed: bool,
    /// Its answer can still arrive.
    answerable: bool,
}

struct World {
    random: Random,
    machine: Machine,
    /// Processes that died.
    deaths: u16,
    /// Another process's requests may still execute.
    unfenced: bool,
    now: Instant,
    queue: Queue,
    /// Writes that wait for their turn.
    waiting: BTreeMap<Ticket, usize>,
    turns: HashMap<Key, Ticket>,
    /// Requests that the client waits for, with the block of a write.
    unanswered: BTreeMap<Key, Option<usize>>,
    blocks_of: HashMap<Key, Option<usize>>,
    copies: Vec<Copy>,
    links: BTreeSet<Generation>,
    registers: [Option<Key>; BLOCKS],
    fences: bool,
    /// The server confirms fences that it has not made.
    lies: bool,
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
            machine: machine(front),
            deaths: 0,
            unfenced: false,
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
            lies: false,
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
        let reads = self.random.below(3) == 0;
        let block = (!reads).then(|| self.random.below(BLOCKS));
        self.client_wants(block);
    }

    /// A read, or a write to this block.
    fn client_wants(&mut self, block: Option<usize>) {
        let Some(block) = block else {
            let extent = Extent::whole(1);
            return self.arrive(Request::Read { extent, dont_fragment: false }, None);
        };
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
        let usable = self.machine.phase() != Phase::Lost && !self.unfenced;
        let (id, link) = self.machine.arrive(request, self.now);
        let id = (self.deaths, id);
        assert_eq!(link.is_some(), usable && !self.closed, "only a lost path holds a new request");
        self.unanswered.insert(id, write.map(|(block, _)| block));
        self.blocks_of.insert(id, write.map(|(block, _)| block));
        self.turns.extend(write.map(|(_, ticket)| (id, ticket)));
        if let Some(link) = link {
            self.leaves(id, link);
        }
    }

    fn leaves(&mut self, id: Key, link: Generation) {
        assert!(self.links.contains(&link), "sent on a link that is gone");
        assert!(!self.unfenced, "I13: what another process has sent can still execute");
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
        if let Some(answer) = self.machine.answered(copy.id.1, copy.link, outcome, self.now) {
            assert_eq!(answer, Ok(Reply::Done), "a client never sees a transient error");
            self.client_gets(copy.id);
        }
    }

    fn client_gets(&mut self, id: Key) {
        assert!(self.unanswered.remove(&id).is_some(), "answered twice");
        self.answered += 1;
        if !self.machine.is_ghost(id.1) {
            self.release(id);
        }
    }

    fn release(&mut self, id: Key) {
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
                let link = self.machine.next_generation().expect("far fewer than there are");
                if self.random.below(3) > 0 {
                    self.links.insert(link);
                    self.machine.opened(link, self.now);
                } else {
                    self.machine.give_back(link);
                }
            }
            Work::Fence(link) if self.random.below(2) == 0 => {
                assert_eq!(self.machine.phase(), Phase::Fencing { front: link });
                let fences = self.fences && !self.lies;
                self.copies.retain(|copy| !fences || copy.executed || copy.link >= link);
                self.unfenced = false;
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
                Effect::Send(id, link, _) => self.leaves((self.deaths, id), link),
                Effect::Answer(id, outcome) => {
                    assert!(outcome.is_err(), "the machine makes up no success");
                    self.client_gets((self.deaths, id));
                }
                Effect::Forget(id) => self.release((self.deaths, id)),
                Effect::Disconnect(link) => {
                    let busy = self.copies.iter().any(|c| c.link == link && c.answerable);
                    assert!(!busy, "a link ends in order only when all is answered");
                    self.links.remove(&link);
                }
                Effect::Abort(link) => self.cut(link),
            }
        }
    }

    /// The process dies with all its links; the next one is told what has no answer.
    fn the_process_dies(&mut self) {
        let links: Vec<_> = self.links.iter().copied().collect();
        links.into_iter().for_each(|link| self.cut(link));
        self.copies.iter_mut().for_each(|copy| copy.answerable = false);
        self.copies.retain(|copy| !copy.executed);
        self.deaths += 1;
        self.unfenced = true;
        let generations = Generations::of_incarnation(self.deaths);
        self.machine = Machine::resumed(generations, TIMEOUT, self.now);
        (self.queue, self.turns) = (Queue::default(), HashMap::new());
        let unanswered = std::mem::take(&mut self.unanswered).into_values();
        let waiting = std::mem::take(&mut self.waiting).into_values().map(Some);
        for block in unanswered.chain(waiting).collect::<Vec<_>>() {
            self.client_wants(block);
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

fn machine(front: Generation) -> Machine {
    let mut generations = Generations::of_incarnation(0);
    assert_eq!(generations.take(), Some(front));
    Machine::new(front, generations, TIMEOUT)
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

/// Several processes have the session one after another, some of them not for long.
fn run_with_deaths(seed: u64, lies: bool) -> World {
    let mut world = World::new(seed, true);
    world.lies = lies;
    for step in 0..600 {
        if world.random.below(if step < 300 { 60 } else { 8 }) == 0 {
            world.the_process_dies();
        }
        world.step();
    }
    world
}

#[test]
fn a_session_goes_on_in_another_process_only_behind_a_fence() {
    for seed in 1..300 {
        run_with_deaths(seed, false).heal(seed);
    }
}

#[test]
#[should_panic(expected = "I13: its older copy can still execute")]
fn a_session_that_goes_on_without_a_fence_is_found() {
    for seed in 1..500 {
        run_with_deaths(seed, true);
    }
}

#[test]
fn a_client_that_goes_before_its_session_was_fenced_is_fenced_all_the_same() {
    for seed in 1..500 {
        let mut world = World::new(seed, true);
        (0..100).for_each(|_| world.step());
        world.the_process_dies();
        world.end(End::TheClientGoes);
        world.carry_out();
        assert_ne!(world.machine.work(), Work::Finish, "seed {seed}");
        world.heal(seed);
        assert!(world.copies.iter().all(|copy| copy.executed), "seed {seed}");
    }
}

#[test]
fn servers_that_cannot_fence_are_sent_unanswered_requests_again() {
    (1..500).for_each(|seed| run(seed, false, End::Never));
}
