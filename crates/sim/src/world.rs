//! One run: the programs started, killed and started again, until all is quiet and checked.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use blockferry_block::Extent;
use blockferry_records::RecordsError;

use crate::client::Clients;
use crate::content::{Stamp, blocks};
use crate::controller::{Controller, Driving, Intent};
use crate::destination::DestinationProgram;
use crate::disk::{Disk, DiskError, Kind};
use crate::executor::{MILLIS, Micros, Pid, SECOND, Sim};
use crate::exhaust;
use crate::fault::{Fault, Faults, Which};
use crate::folder::{FileCall, Folder, Steps};
use crate::initiator::Initiators;
use crate::mutation::{Mutation, Mutations};
use crate::network::{Host, Network};
use crate::plan::{FAULTS_END, Plan, Trouble};
use crate::records::{self, Log, Records};
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
    let (clients, initiators) = (world.clients.clone(), world.initiators.clone());
    let finished = || clients.is_finished() && initiators.is_finished();
    let ended = sim.run(FAULTS_END + QUIET_MAX, finished);
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

/// What both sides make durable.
fn kept(sim: &Sim, plan: &Plan, mutations: Mutations) -> (Records, Log, Records) {
    let folder = |steps: Steps| Folder::new(sim, plan.journal_speed, steps, mutations.program);
    let unnoticed = mutations.program == Some(Mutation::FailedRecordUnnoticed);
    let records = |steps| Records::new(folder(steps), plan.compact_at, unnoticed);
    (
        records(exhaust::SOURCE_RECORD),
        Log::new(folder(exhaust::SOURCE_LOG), plan.compact_at),
        records(exhaust::DESTINATION_RECORD),
    )
}

struct World {
    sim: Sim,
    plan: Plan,
    network: Rc<Network>,
    witness: Rc<Witness>,
    clients: Rc<Clients>,
    initiators: Rc<Initiators>,
    processes: BTreeMap<Host, Rc<Cell<Option<Pid>>>>,
    intent: Cell<Intent>,
    /// The clients have come.
    visited: Cell<bool>,
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
        let kept = kept(sim, plan, mutations);
        let faults = Faults::new(mutations, plan.faults.clone());
        let disks = [source_disk, destination_disk];
        let witness = Witness::new(sim, plan.size, disks, kept, plan.load.overlapping, faults);
        let network = Network::new(sim, plan.weather);
        let clients = Clients::new(&witness, &network, plan.load);
        let initiators = Initiators::new(&witness, &network, &clients, plan.initiators);
        let hosts = [Host::Source, Host::Destination, Host::Controller];
        Rc::new(Self {
            sim: sim.clone(),
            plan: plan.clone(),
            network,
            witness,
            clients,
            initiators,
            processes: hosts.into_iter().map(|host| (host, Rc::default())).collect(),
            intent: Cell::new(Intent::Migrate),
            visited: Cell::new(false),
        })
    }

    fn begin(self: &Rc<Self>) {
        for host in [Host::Destination, Host::Source, Host::Controller] {
            self.start(host);
        }
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
        for which in [Which::SourceRecords, Which::SourceLog, Which::DestinationRecords] {
            self.folder(which).mend();
        }
    }

    fn start(self: &Rc<Self>, host: Host) {
        if self.processes[&host].get().is_some() {
            return;
        }
        let process = self.sim.process();
        self.processes[&host].set(Some(process));
        self.witness.note("start", || format!("{host:?}"));
        match host {
            Host::Source => {
                let world = self.clone();
                self.sim.spawn(process, async move {
                    let (witness, network) = (&world.witness, &world.network);
                    match SourceProgram::start(witness, network, process).await {
                        Ok(program) => {
                            network.listen(host, process, program);
                            world.serves();
                        }
                        Err(error) => world.not_started(host, &error),
                    }
                });
            }
            Host::Destination => {
                let world = self.clone();
                self.sim.spawn(process, async move {
                    match DestinationProgram::start(&world.witness, process).await {
                        Ok(program) => world.network.listen(host, process, program),
                        Err(error) => world.not_started(host, &error),
                    }
                });
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

    /// Clients come once there is something to come to.
    fn serves(&self) {
        if !self.visited.replace(true) {
            self.clients.start();
            self.initiators.start();
        }
    }

    /// Whoever cannot read or write its files is started again by an operator. What a crash leaves can
    /// be read.
    fn not_started(self: &Rc<Self>, host: Host, error: &RecordsError) {
        self.witness.note("not-started", || format!("{host:?}: {error}"));
        if records::is_damage(error) {
            self.witness.violate(format!("J: {host:?} cannot start: {error}"));
        }
        let world = self.clone();
        self.sim.at(self.sim.now(), move || world.crash(host, false, REPAIR));
    }

    fn commit(self: &Rc<Self>, fault: Fault) {
        self.sim.trace(|| format!("FAULT {fault:?}"));
        self.witness.add("fault", 1);
        match fault {
            Fault::Crash { host, power, down } => self.crash(host, power, down),
            Fault::Forget => self.forget(),
            Fault::Disk { host, kind, error, length } => self.fail_disk(host, kind, error, length),
            Fault::File { which, call, error, length } => {
                self.fail_file(which, call, error, length);
            }
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
        match host {
            Host::Source => {
                self.witness.source_records.die(power);
                self.witness.source_log.die(power);
            }
            Host::Destination => self.witness.destination_records.die(power),
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
        if !self.witness.is_owned() {
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

    fn folder(&self, which: Which) -> &Folder {
        match which {
            Which::SourceRecords => &self.witness.source_records.folder,
            Which::SourceLog => &self.witness.source_log.folder,
            Which::DestinationRecords => &self.witness.destination_records.folder,
        }
    }

    fn fail_file(self: &Rc<Self>, which: Which, call: FileCall, error: DiskError, length: Micros) {
        self.folder(which).fail(call, error, length);
        match which {
            Which::SourceRecords => self.clone().mend(Host::Source),
            Which::DestinationRecords => self.clone().mend(Host::Destination),
            Which::SourceLog => {}
        }
    }

    /// From now on an operator sees to a program that can record nothing any more.
    fn mend(self: Rc<Self>, host: Host) {
        self.sim.clone().at(self.sim.now() + REPAIR, move || {
            let records = match host {
                Host::Source => &self.witness.source_records,
                _ => &self.witness.destination_records,
            };
            if records.is_poisoned() {
                self.crash(host, false, MILLIS);
            }
            self.mend(host);
        });
    }

    fn take_over(self: &Rc<Self>, intent: Intent, held: Micros) {
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
        disk.lose_power();
        if self.witness.source_records.is_in_doubt() {
            return self.witness.registers.borrow_mut().power_lost_in_doubt();
        }
        let authority = if self.witness.is_committed() { Host::Destination } else { Host::Source };
        if host == authority {
            let left = blocks(Extent::whole(self.plan.size)).map(|block| disk.peek(block));
            let fault = self.witness.registers.borrow_mut().power_lost(left);
            fault.into_iter().for_each(|fault| self.witness.violate(fault));
        }
    }

    /// What must hold when all is over.
    fn check_end(&self, trouble: Trouble) {
        let owned = self.witness.is_owned();
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
