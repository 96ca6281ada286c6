//! Runs seeds and prints the trace of the first that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use blockferry_sim::mutants::{self, Hunt};
use blockferry_sim::{Outcome, Plan, Strike, Trouble, exhaust, run_plan};
use clap::{Parser, ValueEnum};

/// Runs the migration's state machines in seeded worlds.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed and print every event of it.
    #[arg(long)]
    trace: Option<u64>,
    /// Run this seed's small plan once for each record, flush and message, with a crash there.
    #[arg(long, value_name = "SEED", conflicts_with = "trace")]
    exhaust: Option<u64>,
    /// Look for each mutant of the failure catalogue, and print the first seed that finds it.
    #[arg(long)]
    mutants: bool,
    /// Of those crashes only this one, printing every event of it.
    #[arg(long, value_name = "POINT:NUMBER", requires = "exhaust", value_parser = Strike::parse)]
    strike: Option<Strike>,
    /// Whether things go wrong.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    faults: Switch,
    /// Initiators beside the other clients.
    #[arg(long, default_value_t = 0)]
    initiators: u64,
    /// Go on after a seed that failed.
    #[arg(long)]
    keep_going: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    Control,
    Lying,
    Disk,
    Store,
    On,
    Network,
    Off,
}

impl Switch {
    const fn trouble(self) -> Trouble {
        match self {
            Self::Control => Trouble::Control,
            Self::Lying => Trouble::Lying,
            Self::Disk => Trouble::Disk,
            Self::Store => Trouble::Store,
            Self::On => Trouble::All,
            Self::Network => Trouble::Network,
            Self::Off => Trouble::None,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let trouble = arguments.faults.trouble();
    if let Some(seed) = arguments.trace {
        let failed = failure(seed, trouble, arguments.initiators, true);
        return if failed.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let began = Instant::now();
    if arguments.mutants {
        return mutants();
    }
    if let Some(seed) = arguments.exhaust {
        return exhaust(seed, arguments.strike, began);
    }
    let mut failures = 0;
    for seed in arguments.from..arguments.from + arguments.seeds {
        let Some(what) = failure(seed, trouble, arguments.initiators, false) else { continue };
        failures += 1;
        println!("seed {seed}: {what}");
        if !arguments.keep_going {
            failure(seed, trouble, arguments.initiators, true);
            break;
        }
    }
    println!(
        "{} seeds, {failures} failed, {:.1} s",
        arguments.seeds,
        began.elapsed().as_secs_f64()
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mutants() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut unseen = 0;
    println!("| mutant | breaks | first seed | seen as |\n| --- | --- | --- | --- |");
    for mutant in mutants::all() {
        let (seed, seen) = match (&mutant.hunt, mutant.found()) {
            (Hunt::Elsewhere(why), _) => ("-".to_owned(), (*why).to_owned()),
            (_, Some((seed, what))) => (seed.to_string(), what),
            (_, None) => ("none".to_owned(), format!("not seen in {}", mutants::SEEDS_MAX)),
        };
        unseen += u64::from(seed == "none");
        println!("| {} | {} | {seed} | {seen} |", mutant.name, mutant.breaks);
    }
    if unseen == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn exhaust(seed: u64, only: Option<Strike>, began: Instant) -> ExitCode {
    let strikes = only.map_or_else(|| exhaust::strikes(seed), |strike| vec![strike]);
    let mut failures = 0;
    for strike in &strikes {
        let Some(what) = caught(only.is_some(), || strike.run(seed, only.is_some())) else {
            continue;
        };
        failures += 1;
        println!("--exhaust {seed} --strike {strike}: {what}");
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("seed {seed}: {} crashes, {failures} failed, {seconds:.1} s", strikes.len());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What went wrong in a seed; a panic of a machine counts.
fn failure(seed: u64, trouble: Trouble, initiators: u64, traced: bool) -> Option<String> {
    let plan = match initiators {
        0 => Plan::of(seed, trouble),
        count => Plan::of(seed, trouble).with_initiators(count),
    };
    caught(traced, || {
        run_plan(seed, plan, trouble, blockferry_migration::Faults::default(), traced)
    })
}

fn caught(traced: bool, run: impl FnOnce() -> Outcome) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => {
            if traced {
                println!("{:?} in {} virtual us", outcome.counts, outcome.lasted);
            }
            outcome.violation
        }
        Err(_) => Some("panicked".to_owned()),
    }
}
