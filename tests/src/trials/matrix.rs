//! The trials of all labels: every label, everybody who comes there, every kind of fault, on one
//! connection and on four.

use blockferry_label::LABELS;

use super::trial::{Blow, Fault, Party, Point, Trial};

/// Connections of the load.
const CONNECTIONS: [usize; 2] = [1, 4];

/// Labels that are passed again and again, and how often at least in a migration of a trial.
const OFTEN: [(&str, u64); 9] = [
    ("copier.", 14),
    ("destination.copy.", 14),
    ("source.copy.read", 14),
    ("source.mirror.", 10),
    ("destination.mirror.", 10),
    ("source.client.answering", 60),
    ("source.log.", 4),
    ("source.disk.sen", 3),
    ("storage.disk.recorded", 3),
];

/// Labels that only a switch comes to, or a destination, that nobody told of the move.
const UNTOLD: [&str; 3] =
    ["destination.arrangement.", "destination.forward.arrived", "source.forward."];

/// Everybody who comes to the label.
pub fn parties(label: &str) -> &'static [Party] {
    match label.split('.').next() {
        Some("source") => &[Party::Source],
        Some("destination") => &[Party::Destination],
        Some("controller") => &[Party::Controller],
        Some("copier") => &[Party::Controller, Party::Destination],
        Some("storage") => &[Party::Source, Party::Destination],
        _ => &[Party::Switch],
    }
}

/// Labels that only a disk comes to: somebody else than an initiator has none.
const OF_A_DISK: &str = ".disk.";

/// Labels that the switch comes to only with initiators of its own.
const OF_A_PORTAL: &str = "switch.disk.";

/// Labels that the destination comes to only where it carries the copy.
const OF_A_COPIER: &str = "copier.";

/// All trials: at each label a kill, a stop, and one fault of the network that the seed draws.
pub fn matrix(seed: u64) -> Vec<Trial> {
    each(seed, |dice| vec![Fault::Kill, Fault::Stop, dice.one_of(&Fault::CUTS)])
}

/// All trials with a network of their own: at each label one of its faults, which the seed draws.
pub fn net_matrix(seed: u64) -> Vec<Trial> {
    let mut trials = each(seed, |dice| vec![dice.one_of(&Fault::OF_A_NETWORK)]);
    trials.retain(|trial| !trial.iscsi);
    for trial in &mut trials {
        trial.net = true;
        let hard = trial.blows.iter_mut().filter(|blow| blow.fault == Fault::Reset);
        hard.for_each(|blow| blow.fault = Fault::Kill);
    }
    trials
}

/// At each label, for everybody who comes there, what is drawn, on one connection and on four.
fn each(seed: u64, mut draw: impl FnMut(&mut Dice) -> Vec<Fault>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut dice = Dice(seed);
    for label in LABELS {
        for party in parties(label) {
            for fault in draw(&mut dice) {
                for connections in CONNECTIONS {
                    let time = 1 + dice.below(often(label));
                    let seed = dice.below(1000);
                    let trial = at(label, *party, time, fault);
                    trials.push(Trial { connections, seed, ..trial });
                }
            }
        }
    }
    trials
}

/// A trial at a label, with what has to happen before the party comes there.
pub fn at(label: &'static str, party: Party, time: u64, fault: Fault) -> Trial {
    let mut trial = Trial::of(party, Point::Label(label), time, fault);
    trial.told = !UNTOLD.iter().any(|untold| label.starts_with(untold));
    trial.aborted = label.contains(".abort.");
    trial.carried = label.starts_with(OF_A_COPIER) && party == Party::Destination;
    trial.iscsi = label.contains(OF_A_DISK);
    trial.switched = label.starts_with(OF_A_PORTAL);
    if label.starts_with("storage.fence.") {
        trial.blows.insert(0, before_a_fence(party, fault));
    }
    trial
}

/// The switch fences its session at a source that was away with a request; the source fences its own
/// at a destination that did not answer in time.
fn before_a_fence(party: Party, fault: Fault) -> Blow {
    let (label, time, fault) = match party {
        Party::Source if fault.is_cut() => ("source.client.answering", 9, Fault::Reset),
        Party::Source => ("source.mirror.applied", 3, Fault::Kill),
        _ => ("destination.mirror.begun", 9, Fault::Stop),
    };
    Blow { party, point: Point::Label(label), time, fault }
}

fn often(label: &str) -> u64 {
    let known = OFTEN.iter().find(|(prefix, _)| label.starts_with(prefix));
    known.map_or(1, |(_, count)| *count)
}

/// Puts trials into another order, so that a part of them is a sample.
pub fn shuffle(trials: &mut [Trial], seed: u64) {
    let mut dice = Dice(seed);
    for last in (1..trials.len()).rev() {
        trials.swap(last, dice.below(last as u64 + 1) as usize);
    }
}

/// SplitMix64: good enough to draw trials, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_tried_with_every_kind_of_fault_on_one_and_on_four_connections() {
        let trials = matrix(1);
        for label in LABELS {
            for party in parties(label) {
                let here = |trial: &&Trial| {
                    trial.blows.last().is_some_and(|blow| {
                        blow.party == *party && blow.point == Point::Label(label)
                    })
                };
                assert_eq!(trials.iter().filter(here).count(), 3 * CONNECTIONS.len(), "{label}");
            }
        }
    }

    #[test]
    fn a_trial_of_the_matrix_reads_back_from_its_line() {
        for trial in matrix(7).into_iter().chain(net_matrix(7)) {
            assert_eq!(trial.to_string().parse::<Trial>().unwrap(), trial);
        }
    }
}
