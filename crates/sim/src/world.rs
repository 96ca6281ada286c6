//! One run: the programs started, killed and started again, until all is quiet and checked.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_block::Extent;

use crate::client::Clients;
use crate::content::{Stamp, blocks};
use crate::controller::{Controller, Driving, Intent};
use crate::destination::DestinationProgram;
use crate::disk::{Disk, DiskError, Kind};
use crate::executor::{MILLIS, Micros, Pid, SECOND, Sim};
use crate::exhaust;
use crate::fault::{Fault, Faults};
use crate::journal::Journal;
use crate::mutation::{Mutation, Mutations};
use crate::network::{Host, Network};
use crate::plan::{FAULTS_END, Plan, Trouble};
use crate::records::DestinationRecord;
use crate::source::SourceProgram;
use crate::witness::Witness;

/// Everything must be over so long after the last fault.
const QUIET_MAX: Micros = 200 * SECOND;

/// An operator restarts a source that cannot flush so long after its disk works again.
const REPAIR: Micros = 20 * MILLIS;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What must never happen and did.
    pub violation: Option<String>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Virtual time that it took.
    pub lasted: Micros,
    /// Timers that fired.
    pub steps: u64,
}

/// Runs a seed.
pub fn run(seed: u64, trouble: Trouble, mutations: impl Into<Mutations>, traced: bool) -> Outcome {
    run_plan(seed, Plan::of(seed, trouble), trouble, mutations, traced)
}

/// Runs a seed with another plan than its own.
pub fn run_plan(
    seed: u64,
    plan: Plan,
    trouble: Trouble,
    mutations: impl Into<Mutations>,
    traced: bool,
) -> Outcome {
    let sim = Sim::new(seed, traced);
    sim.trace(|| format!("seed {seed}: {plan:?}"));
    let world = World::new(&sim, &plan, mutations.into());
    world.begin();
    let clients = world.clients.clone();
    let ended = sim.run(FAULTS_END + QUIET_MAX, || clients.is_finished());
    if !ended && sim.violation().is_none() {
        sim.violate("L3: it does not end though nothing goes wrong any more".to_owned());
    }
    if sim.violation().is_none() {
        world.check_end(trouble);
    }
    let outcome = Outcome {
        violation: sim.violation(),
        counts: world.witness.counts(),
        lasted: sim.now(),
        steps: sim.steps(),
    };
    world.end();
    outcome
}

struct World {
    sim: Sim,
    plan: Plan,
    network: Rc<Network>,
    witness: Rc<Witness>,
    clients: Rc<Clients>,
    processes: BTreeMap<Host, Rc<Cell<Option<Pid>>>>,
    intent: Cell<Intent>,
}

impl World {
    fn new(sim: &Sim, plan: &Plan, mutations: Mutations) -> Rc<Self> {
        let source_disk = Disk::new(sim, plan.size, plan.source_speed, exhaust::SOURCE_FLUSH);
        for block in blocks(Extent::whole(plan.size)) {
            let hole = plan.hole_one_in > 0
                && sim.draw(|random| random.one_in(plan.hole_one_in) || plan.size > 5 << 20);
            if !hole {
                source_disk.fill(block, Stamp(1 << 40 | block as u64));
            }
        }
        let (speed, points) = (plan.destination_speed, exhaust::DESTINATION_FLUSH);
        let destination_disk = Disk::new(sim, plan.size, speed, points);
        let unnoticed = mutations.program == Some(Mutation::FailedRecordUnnoticed);
        let (speed, source, destination) =
            (plan.journal_speed, exhaust::SOURCE_RECORD, exhaust::DESTINATION_RECORD);
        let journals = (
            Journal::new(sim, speed, source, unnoticed),
            Journal::new(sim, speed, destination, unnoticed),
        );
        let faults = Faults::new(mutations, plan.faults.clone());
        let disks = [source_disk, destination_disk];
        let witness = Witness::new(sim, plan.size, disks, journals, plan.load.overlapping, faults);
        let network = Network::new(sim, plan.weather);
        let clients = Clients::new(&witness, &network, plan.load);
        let hosts = [Host::Source, Host::Destination, Host::Controller];
        Rc::new(Self {
            sim: sim.clone(),
            plan: plan.clone(),
            network,
            witness,
            clients,
            processes: hosts.into_iter().map(|host| (host, Rc::default())).collect(),
            intent: Cell::new(Intent::Migrate),
        })
    }

    fn begin(self: &Rc<Self>) {
        for host in [Host::Destination, Host::Source, Host::Controller] {
            self.start(host);
        }
        self.clients.start();
        let witness = self.witness.clone();
        self.sim.listen(move |point| witness.pass(point));
        let world = self.clone();
        self.witness.faults.begin(&self.sim, move |fault| world.commit(fault));
        let world = self.clone();
        self.sim.at(FAULTS_END, move || world.end_faults());
        let world = self.clone();
        self.witness.faults.stop_with(Some(Rc::new(move |host| {
            let dying = world.clone();
            world.sim.at(world.sim.now(), move || dying.crash(host, false, MILLIS));
        })));
    }

    fn end_faults(&self) {
        self.witness.faults.end();
        self.witness.source_journal.fail_next(false);
        self.witness.destination_journal.fail_next(false);
    }

    fn start(&self, host: Host) {
        if self.processes[&host].get().is_some() {
            return;
        }
        let process = self.sim.process();
        self.processes[&host].set(Some(process));
        self.witness.note("start", || format!("{host:?}"));
        match host {
            Host::Source => {
                let program = SourceProgram::start(&self.witness, &self.network, process);
                self.network.listen(host, process, program);
            }
            Host::Destination => {
                let program = DestinationProgram::start(&self.witness, process);
                self.network.listen(host, process, program);
            }
            Host::Controller => {
                let driving = Driving {
                    chunk_leaves: self.plan.chunk_leaves,
                    read_ahead: self.plan.read_ahead,
                    verify: self.plan.verify,
                };
                let (network, clients) = (&self.network, &self.clients);
                let intent = self.intent.get();
                let controller = Controller::new(&self.witness, network, clients, driving, intent);
                let newest = self.processes[&host].clone();
                self.sim.spawn(process, controller.run(move || newest.get() == Some(process)));
            }
            Host::Clients => {}
        }
    }

    fn commit(self: &Rc<Self>, fault: Fault) {
        self.sim.trace(|| format!("FAULT {fault:?}"));
        self.witness.add("fault", 1);
        match fault {
            Fault::Crash { host, power, down } => self.crash(host, power, down),
            Fault::Forget => self.forget(),
            Fault::Disk { host, kind, error, length } => self.fail_disk(host, kind, error, length),
            Fault::Journal { host } => self.fail_record(host),
            Fault::Lie { lie, length } => self.witness.destination_disk.lie(lie, length),
            Fault::TakeOver { intent, held } => self.take_over(intent, held),
            Fault::Break { a, b, percent } => self.network.break_some(a, b, percent),
            Fault::Stall { a, b, percent, length } => self.network.stall(a, b, length, percent),
        }
    }

    fn crash(self: &Rc<Self>, host: Host, power: bool, down: Micros) {
        if host == Host::Clients {
            return self.clients.worker_dies(down);
        }
        let Some(process) = self.processes[&host].take() else { return };
        self.network.fall_silent(host);
        self.sim.kill(process);
        match host {
            Host::Source => self.witness.forget_source(),
            Host::Destination => self.witness.forget_destination(),
            Host::Controller | Host::Clients => {}
        }
        if power {
            self.lose_power(host);
        }
        let world = self.clone();
        self.sim.at(self.sim.now() + down, move || world.start(host));
    }

    /// Only while the store's volume is received: its owner would tell its clients.
    fn forget(&self) {
        let is_owned = |record: &DestinationRecord| *record == DestinationRecord::Owned;
        if !self.witness.destination_journal.has(is_owned) {
            self.witness.destination_disk.forget_cache();
        }
    }

    fn fail_disk(self: &Rc<Self>, host: Host, kind: Kind, error: DiskError, length: Micros) {
        let Some(disk) = self.disk(host).cloned() else { return };
        disk.fail(kind, error, length);
        if (host, kind) == (Host::Source, Kind::Flush) {
            self.clone().repair(disk, length);
        }
    }

    fn repair(self: Rc<Self>, disk: Rc<Disk>, after: Micros) {
        self.sim.clone().at(self.sim.now() + after + REPAIR, move || {
            if disk.is_failing(Kind::Flush) {
                self.repair(disk, 0);
            } else if disk.has_lost() {
                self.crash(Host::Source, false, MILLIS);
            }
        });
    }

    fn fail_record(self: &Rc<Self>, host: Host) {
        match host {
            Host::Source => self.witness.source_journal.fail_next(true),
            Host::Destination => self.witness.destination_journal.fail_next(true),
            Host::Controller | Host::Clients => return,
        }
        self.clone().mend(host);
    }

    /// An operator sees to a program that can record nothing any more.
    fn mend(self: Rc<Self>, host: Host) {
        self.sim.clone().at(self.sim.now() + REPAIR, move || {
            let (source, destination) =
                (&self.witness.source_journal, &self.witness.destination_journal);
            let (poisoned, failing) = match host {
                Host::Source => (source.is_poisoned(), source.is_failing()),
                _ => (destination.is_poisoned(), destination.is_failing()),
            };
            if poisoned {
                self.crash(host, false, MILLIS);
            }
            if poisoned || failing {
                self.mend(host);
            }
        });
    }

    fn take_over(&self, intent: Intent, held: Micros) {
        for host in [Host::Source, Host::Destination] {
            self.network.stall(Host::Controller, host, held, 100);
        }
        self.intent.set(intent);
        self.processes[&Host::Controller].set(None);
        self.start(Host::Controller);
    }

    fn disk(&self, host: Host) -> Option<&Rc<Disk>> {
        match host {
            Host::Source => Some(&self.witness.source_disk),
            Host::Destination => Some(&self.witness.destination_disk),
            Host::Controller | Host::Clients => None,
        }
    }

    fn lose_power(&self, host: Host) {
        let Some(disk) = self.disk(host) else { return };
        match host {
            Host::Source => self.witness.source_journal.lose_power(),
            _ => self.witness.destination_journal.lose_power(),
        }
        disk.lose_power();
        let authority = if self.witness.is_committed() { Host::Destination } else { Host::Source };
        if host == authority {
            let left = blocks(Extent::whole(self.plan.size)).map(|block| disk.peek(block));
            let fault = self.witness.registers.borrow_mut().power_lost(left);
            fault.into_iter().for_each(|fault| self.witness.violate(fault));
        }
    }

    /// What must hold when all is over.
    fn check_end(&self, trouble: Trouble) {
        let owned = self.witness.destination_journal.has(|r| *r == DestinationRecord::Owned);
        if owned != self.witness.is_committed() {
            self.witness.violate("L3: one side has committed and the other not".to_owned());
        }
        let owner = if owned { Host::Destination } else { Host::Source };
        let Some(disk) = self.disk(owner) else { return };
        let content = disk.peek_all(Extent::whole(self.plan.size));
        let mut registers = self.witness.registers.borrow_mut();
        let begun = registers.tick();
        let fault = registers.end_read(0, &content, begun);
        fault.into_iter().for_each(|fault| self.witness.violate(fault));
        if trouble == Trouble::None {
            let copied = self.witness.count("copied-bytes");
            if copied != self.plan.size {
                self.witness.violate(format!("L1: {copied} bytes copied of {}", self.plan.size));
            }
            if self.witness.count("digest-mismatch") > 0 {
                self.witness.violate("the digests differed".to_owned());
            }
        }
    }

    fn end(&self) {
        self.witness.faults.end();
        self.witness.faults.stop_with(None);
        for host in [Host::Source, Host::Destination] {
            self.network.fall_silent(host);
        }
        self.sim.clear();
    }
}
