//! What a trial is: who is struck where, with what, and under which load.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use blockferry_label::LABELS;

use super::calls::CALLS;

/// Who can be struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// `target-src`
    Source,
    /// `target-dst`
    Destination,
    /// The controller of the migration.
    Controller,
    /// The worker of `switch-proxy`. Its keeper, which has the clients' sockets, is left alone.
    Switch,
}

/// With what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// `kill -9`, and started again; a switch's worker is followed by another without our doing.
    Kill,
    /// SIGSTOP for some seconds.
    Stop,
    /// Nothing that it sends arrives, nor what is sent to it, for some seconds.
    Silence,
    /// Nothing that it sends arrives for some seconds.
    Mute,
    /// Nothing that is sent to it arrives for some seconds.
    Deaf,
    /// Its connections are cut, and new ones refused for a moment.
    Reset,
    /// The same, after a few more bytes on each.
    Torn,
    /// Its host is gone without a word, and comes back some seconds later without it: killed behind a
    /// silence, so that the others' connections are half open.
    Vanish,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// At a label of the program.
    Label(&'static str),
    /// At a system call, counted by thread.
    Call(&'static str),
}

/// One stroke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// Who.
    pub party: Party,
    /// Where.
    pub point: Point,
    /// Which time it comes there, from 1.
    pub time: u64,
    /// With what.
    pub fault: Fault,
}

/// One trial. Its text is a line that repeats it, as far as the machine's timing allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What happens, in this order; none is a migration in peace.
    pub blows: Vec<Blow>,
    /// Connections of the load.
    pub connections: usize,
    /// Of the load's requests, and of everything that is drawn.
    pub seed: u64,
    /// Whether the controller knows the switch. A switch that nobody tells has to find out.
    pub told: bool,
    /// Whether the migration is aborted half way, and another one then moves the volume.
    pub aborted: bool,
    /// Whether the programs talk over TCP, each in a network namespace of its own. Without, they talk
    /// over unix sockets, and faults of the network are made by relays.
    pub net: bool,
    /// Whether the load comes from iSCSI initiators, and one client of the switch that only reads.
    pub iscsi: bool,
    /// Whether those log in at the switch, which passes their logins on. Else they know the storage
    /// programs and are sent from one to the other.
    pub switched: bool,
    /// Whether the destination carries the copy.
    pub carried: bool,
}

const PARTIES: [(Party, &str); 4] = [
    (Party::Source, "source"),
    (Party::Destination, "destination"),
    (Party::Controller, "controller"),
    (Party::Switch, "switch"),
];

const FAULTS: [(Fault, &str); 8] = [
    (Fault::Kill, "kill"),
    (Fault::Stop, "stop"),
    (Fault::Silence, "silence"),
    (Fault::Mute, "mute"),
    (Fault::Deaf, "deaf"),
    (Fault::Reset, "reset"),
    (Fault::Torn, "torn"),
    (Fault::Vanish, "vanish"),
];

impl Fault {
    /// Those that a network of the trial's own can have.
    pub const OF_A_NETWORK: [Self; 4] = [Self::Silence, Self::Mute, Self::Deaf, Self::Vanish];

    /// The faults of the relays.
    pub const CUTS: [Self; 5] = [Self::Silence, Self::Mute, Self::Deaf, Self::Reset, Self::Torn];

    /// Whether it is one of those.
    pub fn is_cut(self) -> bool {
        Self::CUTS.contains(&self)
    }
}

impl Point {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Label(name) | Self::Call(name) => name,
        }
    }

    fn named(name: &str) -> Option<Self> {
        let label = LABELS.iter().find(|label| **label == name);
        let call = CALLS.iter().find(|call| **call == name);
        label.map(|label| Self::Label(label)).or(call.map(|call| Self::Call(call)))
    }
}

impl Trial {
    /// One blow, on one connection.
    pub fn of(party: Party, point: Point, time: u64, fault: Fault) -> Self {
        let blows = vec![Blow { party, point, time, fault }];
        Self { blows, ..Self::peaceful(1) }
    }

    /// A migration in peace.
    pub const fn peaceful(connections: usize) -> Self {
        Self {
            blows: Vec::new(),
            connections,
            seed: 0,
            told: true,
            aborted: false,
            net: false,
            iscsi: false,
            switched: false,
            carried: false,
        }
    }

    /// Whether everybody comes to the point where it is struck: who carries no copy is no copier.
    pub fn is_reachable(&self) -> bool {
        let is_copier = |blow: &Blow| blow.point.name().starts_with("copier.");
        let carries = if self.carried { Party::Destination } else { Party::Controller };
        self.blows.iter().all(|blow| !is_copier(blow) || blow.party == carries)
    }

    /// Whether relays are needed.
    pub fn has_cuts(&self) -> bool {
        !self.net && self.blows.iter().any(|blow| blow.fault.is_cut())
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_in(&PARTIES, self))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_in(&FAULTS, self))
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { party, point, time, fault } = self;
        write!(f, "{party}/{}/{time}/{fault}", point.name())
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.blows.iter().try_for_each(|blow| write!(f, "{blow} "))?;
        write!(f, "x{} seed={}", self.connections, self.seed)?;
        f.write_str(if self.told { "" } else { " untold" })?;
        f.write_str(if self.aborted { " aborted" } else { "" })?;
        f.write_str(if self.net { " net" } else { "" })?;
        f.write_str(if self.iscsi { " iscsi" } else { "" })?;
        f.write_str(if self.switched { " switched" } else { "" })?;
        f.write_str(if self.carried { " carried" } else { "" })
    }
}

fn name_in<T: PartialEq>(table: &[(T, &'static str)], wanted: &T) -> &'static str {
    table.iter().find(|(one, _)| one == wanted).map_or("?", |(_, name)| name)
}

fn value_in<T: Copy>(table: &[(T, &'static str)], name: &str) -> Option<T> {
    table.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
}

impl FromStr for Party {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        value_in(&PARTIES, text).with_context(|| format!("{text:?} is nobody who can be struck"))
    }
}

impl FromStr for Blow {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let [party, point, time, fault] = text.split('/').collect::<Vec<_>>()[..] else {
            bail!("{text:?}: expected PARTY/POINT/N/FAULT");
        };
        let blow = Self {
            party: party.parse()?,
            point: Point::named(point)
                .with_context(|| format!("{point:?} is neither a label nor a system call"))?,
            time: time.parse().with_context(|| format!("{time:?} is no count"))?,
            fault: value_in(&FAULTS, fault).with_context(|| format!("{fault:?} is no fault"))?,
        };
        let by_call = matches!(blow.point, Point::Call(_));
        ensure!(!by_call || blow.fault == Fault::Kill, "a system call can only kill");
        Ok(blow)
    }
}

impl FromStr for Trial {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut trial = Self::peaceful(1);
        for word in text.split_whitespace() {
            if word.contains('/') {
                trial.blows.push(word.parse()?);
            } else if let Some(count) = word.strip_prefix('x') {
                trial.connections = count.parse().with_context(|| format!("{word:?}"))?;
            } else if let Some(seed) = word.strip_prefix("seed=") {
                trial.seed = seed.parse().with_context(|| format!("{word:?}"))?;
            } else {
                match word {
                    "untold" => trial.told = false,
                    "aborted" => trial.aborted = true,
                    "net" => trial.net = true,
                    "iscsi" => trial.iscsi = true,
                    "switched" => trial.switched = true,
                    "carried" => trial.carried = true,
                    _ => bail!("{word:?} means nothing here"),
                }
            }
        }
        let killed = |blow: &Blow| blow.fault == Fault::Kill && blow.party != Party::Controller;
        ensure!(
            !(trial.has_cuts() && trial.blows.iter().any(killed)),
            "a program that was killed cannot be cut off in the same trial: its new sockets have no relay"
        );
        ensure!(!(trial.net && trial.iscsi), "initiators are in no namespace");
        ensure!(
            trial.iscsi || !trial.switched,
            "whoever is no initiator is behind the switch anyway"
        );
        for blow in &trial.blows {
            let fault = blow.fault;
            let here = fault == Fault::Kill || fault == Fault::Stop;
            let there = if trial.net { &Fault::OF_A_NETWORK[..] } else { &Fault::CUTS[..] };
            ensure!(here || there.contains(&fault), "there is no {fault} in such a network");
        }
        let by_call = |blow: &Blow| matches!(blow.point, Point::Call(_));
        ensure!(!(trial.net && trial.blows.iter().any(by_call)), "no tracer enters a namespace");
        Ok(trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_reads_back_from_its_line() {
        let text = "source/source.commit.begun/2/kill destination/fdatasync/7/kill switch/recvfrom/9/kill x4 seed=9 untold aborted iscsi switched carried";
        let trial: Trial = text.parse().unwrap();
        assert_eq!(trial.to_string(), text);
        assert_eq!(trial.blows.len(), 3);
        for bad in [
            "source/fdatasync/1/stop",
            "source/nowhere/1/kill",
            "nobody/source.commit.begun/1/kill",
            "source/source.commit.begun/1",
            "told",
            "source/source.copy.read/1/vanish",
            "source/source.copy.read/1/torn net",
            "source/fdatasync/1/kill net",
            "x1 net iscsi",
            "x1 switched",
            "source/source.copy.read/1/kill source/source.commit.begun/1/deaf",
        ] {
            assert!(bad.parse::<Trial>().is_err(), "{bad}");
        }
    }
}
