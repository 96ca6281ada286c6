//! The figures to reach: for every line what is held against what, and how much is asked for.
//!
//! A ratio is taken within a round, against the better of the peers of that round; what is told is
//! the median of the rounds.

mod serving;
mod table;

use std::collections::BTreeSet;

use crate::record::{Part, Sample};
use crate::statistics::Spread;

pub(crate) use table::lines;

/// One figure of one system in one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) case: String,
    pub(crate) system: &'static str,
    pub(crate) figure: String,
}

/// What our figure is held against.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Against {
    /// The greatest of these.
    Highest(Vec<Cell>),
    /// The least of these.
    Lowest(Vec<Cell>),
    /// Nothing: the figure itself is judged.
    Nothing,
}

/// What is asked for of the ratio, or of the figure itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Told, and not judged.
    Untold,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) part: Part,
    pub(crate) what: String,
    pub(crate) ours: Cell,
    pub(crate) against: Against,
    pub(crate) target: Target,
    /// No rate is asked for above [`CEILING_SHARE`] of this one.
    pub(crate) ceiling: Option<Cell>,
}

/// The share of the client's ceiling above which only processor time can show who is better.
pub(crate) const CEILING_SHARE: f64 = 0.9;

/// What came of a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) ours: Option<Spread>,
    pub(crate) peer: Option<Spread>,
    pub(crate) ratio: Option<Spread>,
    pub(crate) verdict: Verdict,
    /// Rounds with our figure, and how many of them were busy.
    pub(crate) rounds: usize,
    pub(crate) busy: usize,
}

/// Whether a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Reached,
    /// Ours is at the client's ceiling, above which nothing is asked for.
    AtCeiling,
    NotReached,
    /// There is no target.
    Told,
    NotMeasured,
}

/// A round of a run, by which figures belong together.
type RoundOf<'a> = (&'a str, u32);

impl Line {
    /// What the samples say of it.
    pub(crate) fn outcome(&self, samples: &[Sample]) -> Outcome {
        let samples: Vec<&Sample> = samples.iter().filter(|s| s.part == self.part).collect();
        let rounds: BTreeSet<RoundOf> = samples.iter().map(|s| (s.run.as_str(), s.round)).collect();
        let (mut ours, mut peers, mut ratios, mut of_ceiling) = (vec![], vec![], vec![], vec![]);
        let mut busy = 0;
        for &round in &rounds {
            let here: Vec<&Sample> =
                samples.iter().copied().filter(|s| (s.run.as_str(), s.round) == round).collect();
            let Some(own) = find(&here, &self.ours) else { continue };
            ours.push(own);
            busy += usize::from(here.iter().any(|s| s.others > crate::noise::BUSY));
            if let Some(peer) = self.against.figure(&here) {
                peers.push(peer);
                ratios.push(own / peer);
            }
            of_ceiling
                .extend(self.ceiling.as_ref().and_then(|cell| find(&here, cell)).map(|c| own / c));
        }
        let rounds = ours.len();
        let [ours, peer, ratio, of_ceiling] = [ours, peers, ratios, of_ceiling].map(Spread::of);
        let judged = if self.against == Against::Nothing { ours } else { ratio };
        let verdict = self.verdict(judged, of_ceiling);
        Outcome { ours, peer, ratio, verdict, rounds, busy }
    }

    fn verdict(&self, judged: Option<Spread>, of_ceiling: Option<Spread>) -> Verdict {
        let Some(judged) = judged else { return Verdict::NotMeasured };
        let reached = match self.target {
            Target::AtLeast(least) => judged.median >= least,
            Target::AtMost(most) => judged.median <= most,
            Target::Untold => return Verdict::Told,
        };
        match reached {
            true => Verdict::Reached,
            false if of_ceiling.is_some_and(|share| share.median >= CEILING_SHARE) => {
                Verdict::AtCeiling
            }
            false => Verdict::NotReached,
        }
    }
}

impl Against {
    fn figure(&self, round: &[&Sample]) -> Option<f64> {
        let figures = |cells: &[Cell]| -> Vec<f64> {
            cells.iter().filter_map(|cell| find(round, cell)).filter(|f| *f > 0.0).collect()
        };
        match self {
            Self::Highest(cells) => figures(cells).into_iter().max_by(f64::total_cmp),
            Self::Lowest(cells) => figures(cells).into_iter().min_by(f64::total_cmp),
            Self::Nothing => None,
        }
    }

    /// Names of the peers.
    pub(crate) fn systems(&self) -> Vec<&'static str> {
        match self {
            Self::Highest(cells) | Self::Lowest(cells) => {
                cells.iter().map(|cell| cell.system).collect()
            }
            Self::Nothing => Vec::new(),
        }
    }
}

fn find(round: &[&Sample], cell: &Cell) -> Option<f64> {
    let sample = round.iter().find(|s| s.case == cell.case && s.system == cell.system)?;
    sample.measured.values.get(&cell.figure).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Measured;

    fn sample(round: u32, system: &str, iops: f64) -> Sample {
        Sample {
            run: "r".into(),
            part: Part::Serve,
            round,
            case: "read".into(),
            system: system.into(),
            others: if round == 2 { 1.5 } else { 0.0 },
            measured: Measured::default().with("iops", iops),
        }
    }

    fn cell(system: &'static str) -> Cell {
        Cell { case: "read".into(), system, figure: "iops".into() }
    }

    fn line(target: Target) -> Line {
        Line {
            part: Part::Serve,
            what: "reads".into(),
            ours: cell("ours"),
            against: Against::Highest(vec![cell("a"), cell("b")]),
            target,
            ceiling: Some(cell("null")),
        }
    }

    /// In the first round `a` is the better peer, in the others `b`.
    fn rounds() -> Vec<Sample> {
        [(1, 100.0, 50.0, 150.0), (2, 10.0, 20.0, 20.0), (3, 100.0, 200.0, 400.0)]
            .into_iter()
            .flat_map(|(round, a, b, ours)| {
                let null = ours * 1.25;
                [("a", a), ("b", b), ("ours", ours), ("null", null)]
                    .map(|(system, iops)| sample(round, system, iops))
            })
            .collect()
    }

    #[test]
    fn ratios_are_taken_in_each_round_against_its_better_peer() {
        let outcome = line(Target::AtLeast(1.5)).outcome(&rounds());
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(outcome.ratio, spread(1.5, 1.0, 2.0));
        assert_eq!(outcome.peer, spread(100.0, 20.0, 200.0));
        assert_eq!((outcome.verdict, outcome.rounds, outcome.busy), (Verdict::Reached, 3, 1));
    }

    #[test]
    fn nothing_is_asked_for_above_the_ceiling_of_the_client() {
        let mut samples = rounds();
        let missed = line(Target::AtLeast(1.6)).outcome(&samples);
        assert_eq!(missed.verdict, Verdict::NotReached, "0.8 of the ceiling is below it");
        for sample in samples.iter_mut().filter(|sample| sample.system == "null") {
            sample.measured.values.values_mut().for_each(|iops| *iops *= 0.8);
        }
        assert_eq!(line(Target::AtLeast(1.6)).outcome(&samples).verdict, Verdict::AtCeiling);
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_missed() {
        let mut samples = rounds();
        samples.retain(|sample| sample.system == "ours");
        let outcome = line(Target::AtMost(0.5)).outcome(&samples);
        assert_eq!((outcome.verdict, outcome.ratio), (Verdict::NotMeasured, None));
        assert_eq!(line(Target::AtMost(0.5)).outcome(&[]).rounds, 0);
    }

    #[test]
    fn a_figure_without_a_peer_is_judged_itself() {
        let line = Line { against: Against::Nothing, ..line(Target::AtMost(150.0)) };
        assert_eq!(line.outcome(&rounds()).verdict, Verdict::Reached);
        let line = Line { target: Target::Untold, ..line };
        assert_eq!(line.outcome(&rounds()).verdict, Verdict::Told);
    }
}
