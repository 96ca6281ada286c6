//! The lines themselves.

use super::{Against, Cell, Line, Target, serving};
use crate::bench::Place;
use crate::parts::copy::{BARE_RELAY, CARRIED};
use crate::parts::{OURS, cutover, delay, idle_cost, migrate, scale, switch};
use crate::record::Part;

/// Every line, in the order of the page.
pub(crate) fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    lines.extend(serving::over_nbd());
    lines.extend(serving::uncached());
    lines.extend(serving::over_iscsi());
    lines.extend(copying());
    lines.extend(migrating());
    lines.extend(switching());
    lines.extend(scaling());
    lines.extend(idling());
    lines.push(line(
        Part::Delay,
        "share of a link of 1 Gbit/s with 20 ms there and back",
        cell(delay::CASE, OURS, "link_share"),
        Against::Nothing,
        Target::AtLeast(0.9),
    ));
    lines.push(line(
        Part::Delay,
        "the same with `--window 8`",
        cell(delay::CASE, delay::WINDOW, "link_share"),
        Against::Nothing,
        Target::AtLeast(0.9),
    ));
    lines
}

pub(super) fn line(
    part: Part,
    what: impl Into<String>,
    ours: Cell,
    against: Against,
    target: Target,
) -> Line {
    Line { part, what: what.into(), ours, against, target, ceiling: None }
}

pub(super) fn cell(case: &str, system: &'static str, figure: &str) -> Cell {
    Cell { case: case.to_owned(), system, figure: figure.to_owned() }
}

fn copying() -> Vec<Line> {
    let mut lines = Vec::new();
    for place in Place::ALL {
        let at = |system, figure| cell(place.name(), system, figure);
        let name = place.name();
        lines.push(line(
            Part::Copy,
            format!("2 GiB on {name} against cp"),
            at(OURS, "seconds"),
            Against::Lowest(vec![at("cp", "seconds")]),
            Target::AtMost(1.5),
        ));
        lines.push(line(
            Part::Copy,
            format!("2 GiB on {name}, the sweep alone, against cp"),
            at(OURS, "copy_seconds"),
            Against::Lowest(vec![at("cp", "seconds")]),
            Target::Untold,
        ));
        lines.push(line(
            Part::Copy,
            format!("2 GiB on {name} against the better of nbdcopy and qemu-img"),
            at(OURS, "seconds"),
            Against::Lowest(vec![at("nbdcopy", "seconds"), at("qemu-img convert", "seconds")]),
            Target::Untold,
        ));
        lines.push(line(
            Part::Copy,
            format!("2 GiB on {name} against a bare relay"),
            at(OURS, "seconds"),
            Against::Lowest(vec![at(BARE_RELAY, "seconds")]),
            Target::Untold,
        ));
        lines.push(line(
            Part::Copy,
            format!("2 GiB on {name}, `--copier destination`, against cp"),
            at(CARRIED, "seconds"),
            Against::Lowest(vec![at("cp", "seconds")]),
            Target::AtMost(1.5),
        ));
    }
    lines
}

fn migrating() -> Vec<Line> {
    let mut lines = unloaded();
    let of = |case: String| {
        move |what: String, figure: &str, target| {
            line(Part::Migrate, what, cell(&case, OURS, figure), Against::Nothing, target)
        }
    };
    let slow = of(migrate::case("2,000 writes/s", Place::Disk));
    let share = "2,000 writes/s, disk: client's IOPS against before".to_owned();
    lines.push(slow(share, "client_share", Target::AtLeast(0.95)));
    let longest = "2,000 writes/s, disk: longest request".to_owned();
    lines.push(slow(longest, "longest_ms", Target::AtMost(10.0)));
    for place in Place::ALL {
        let case = migrate::case("full load", place);
        let full = of(case.clone());
        let blocking = cell(&case, migrate::WRITE_BLOCKING, "seconds");
        lines.push(line(
            Part::Migrate,
            format!("{case}: time against write-blocking"),
            cell(&case, OURS, "seconds"),
            Against::Lowest(vec![blocking]),
            Target::AtMost(3.0),
        ));
        lines.push(full(format!("{case}: passes"), "passes", Target::AtMost(1.0)));
        let mean = format!("{case}: client's IOPS against before, mean");
        lines.push(full(mean, "client_share", Target::AtLeast(0.5)));
        let worst = format!("{case}: client's IOPS against before, worst second");
        lines.push(full(worst, "worst_second_share", Target::AtLeast(0.25)));
        lines.extend(more_patient(&case));
    }
    lines.push(cutting_over("right_before_p99_ms", "right before", Target::AtMost(1.0)));
    lines.push(cutting_over("undisturbed_p99_ms", "before the move", Target::Untold));
    lines
}

/// The same where clients are let to wait longer for the copy.
fn more_patient(case: &str) -> [Line; 2] {
    let patient = |figure| cell(case, migrate::PATIENT, figure);
    let blocking = Against::Lowest(vec![cell(case, migrate::WRITE_BLOCKING, "seconds")]);
    let told = |what: &str| format!("{case}, `--client-p99 20ms`: {what}");
    [
        ("time against write-blocking", "seconds", blocking),
        ("client's IOPS against before, mean", "client_share", Against::Nothing),
    ]
    .map(|(what, figure, against)| {
        line(Part::Migrate, told(what), patient(figure), against, Target::Untold)
    })
}

fn unloaded() -> Vec<Line> {
    let mut lines = Vec::new();
    for place in Place::ALL {
        let case = migrate::case("no load", place);
        let peers = [migrate::BACKGROUND, migrate::WRITE_BLOCKING];
        let target = if place == Place::Tmpfs { Target::AtMost(0.6) } else { Target::Untold };
        for (system, told) in [(OURS, ""), (CARRIED, ", `--copier destination`")] {
            lines.push(line(
                Part::Migrate,
                format!("{case}{told}: time against the better of qemu's modes"),
                cell(&case, system, "seconds"),
                Against::Lowest(peers.map(|peer| cell(&case, peer, "seconds")).to_vec()),
                target,
            ));
        }
    }
    let case = migrate::case("no load", Place::Disk);
    for (what, figure) in [("the copy alone", "copy_seconds"), ("the final flush", "flush_seconds")]
    {
        let what = format!("{case}: {what}");
        let ours = cell(&case, OURS, figure);
        lines.push(line(Part::Migrate, what, ours, Against::Nothing, Target::Untold));
    }
    lines
}

fn cutting_over(window: &str, when: &str, target: Target) -> Line {
    line(
        Part::Cutover,
        format!("p99 of requests that overlap a cutover against equal windows {when}"),
        cell(cutover::CASE, OURS, "cutover_p99_ms"),
        Against::Lowest(vec![cell(cutover::CASE, OURS, window)]),
        target,
    )
}

fn switching() -> Vec<Line> {
    let mut lines = Vec::new();
    for (workload, target) in switch::WAYS.iter().zip([0.6, 0.95, 0.9]) {
        let figure = if workload.starts_with("256k") { "mbps" } else { "iops" };
        for (client, told) in [("fio.", "fio"), ("own.", "own load")] {
            let figure = format!("{client}{figure}");
            let direct = Against::Highest(vec![cell(workload, switch::DIRECT, &figure)]);
            for system in
                [switch::SWITCH, switch::WITHOUT_KEEPER, switch::HAPROXY, switch::HAPROXY_SPLICE]
            {
                let is_ours = system == switch::SWITCH;
                let target = if is_ours { Target::AtLeast(target) } else { Target::Untold };
                let what = format!("{workload} through {system} ({told})");
                let ours = cell(workload, system, &figure);
                lines.push(line(Part::Switch, what, ours, direct.clone(), target));
            }
        }
    }
    for system in [switch::SWITCH, switch::WITHOUT_KEEPER, switch::HAPROXY] {
        for (what, figure) in [
            ("memory of each of 100 connections", "kib_per_connection"),
            ("slowest of 100 equal clients against the fastest", "slowest_share"),
        ] {
            let what = format!("{what}, {system}");
            let ours = cell(switch::MANY, system, figure);
            lines.push(line(Part::Switch, what, ours, Against::Nothing, Target::Untold));
        }
    }
    lines
}

fn scaling() -> Vec<Line> {
    let mut lines = Vec::new();
    let (first, _) = scale::SIZES[0];
    for (case, _) in &scale::SIZES[1..] {
        lines.push(line(
            Part::Scale,
            format!("{case} against 1 GiB, the same data"),
            cell(case, OURS, "seconds"),
            Against::Lowest(vec![cell(first, OURS, "seconds")]),
            Target::Untold,
        ));
    }
    for (case, figure, what) in [
        (first, "seconds", "1 GiB volume"),
        (scale::MIGRATIONS, "seconds", "16 migrations of 256 MiB at once"),
    ] {
        lines.push(line(
            Part::Scale,
            what,
            cell(case, OURS, figure),
            Against::Nothing,
            Target::Untold,
        ));
    }
    for system in ["target-src", "switch-proxy"] {
        for (figure, what) in [
            ("kib_per_connection", "memory of each of 1,000 idle connections"),
            ("beside_share", "one busy client beside 1,000 idle ones against alone"),
        ] {
            let what = format!("{what}, {system}");
            let ours = cell(scale::IDLE, system, figure);
            lines.push(line(Part::Scale, what, ours, Against::Nothing, Target::Untold));
        }
    }
    lines
}

fn idling() -> Vec<Line> {
    let instructions = |case, system| cell(case, system, "instructions");
    let line = |(case, _): &(&'static str, _)| {
        line(
            Part::IdleCost,
            format!("instructions for a {case}, against a server without volumes"),
            instructions(case, idle_cost::WITH),
            Against::Lowest(vec![instructions(case, idle_cost::WITHOUT)]),
            Target::AtMost(1.02),
        )
    };
    idle_cost::CASES.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_line_and_no_line_stands_twice() {
        let lines = lines();
        for part in <Part as clap::ValueEnum>::value_variants() {
            assert!(lines.iter().any(|line| line.part == *part), "{part:?}");
        }
        let mut names: Vec<_> = lines.iter().map(|line| &line.what).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), lines.len());
    }
}
