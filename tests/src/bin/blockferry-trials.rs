//! Runs trials of the real programs by the hundred: kills, stops and cuts at every label, kills at
//! every system call. CONTRIBUTING.md says how.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use blockferry_tests::trials::{
    Bounds, Party, Setting, Trial, Verdict, calls, enter_own_network, matrix, run_all,
};
use clap::Parser;

/// Strikes the programs of a migration at named points and proves that nothing is lost.
#[derive(Debug, Parser)]
struct Flags {
    /// Runs these trials, as a line of an earlier run names them; may be repeated
    #[arg(long, value_name = "TRIAL")]
    only: Vec<String>,
    /// Kills at the system calls of a program: source, destination, controller, or switch for its
    /// worker; may be repeated
    #[arg(long, value_name = "PARTY")]
    calls: Vec<String>,
    /// Runs the trials of labels, too, where --calls asks for others
    #[arg(long)]
    labels: bool,
    /// Runs the trials in a network of their own: programs in namespaces, over TCP; needs root
    #[arg(long)]
    net: bool,
    /// Has iSCSI initiators put the load on
    #[arg(long, conflicts_with = "net")]
    iscsi: bool,
    /// Has them log in at the switch
    #[arg(long, requires = "iscsi")]
    switched: bool,
    /// Has the destination carry the copy
    #[arg(long)]
    carried: bool,
    /// Trials at the same time
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Begins no trial after so many seconds
    #[arg(long, default_value_t = 86_400)]
    seconds: u64,
    /// Runs so many trials, drawn by the seed
    #[arg(long)]
    trials: Option<usize>,
    /// Draws the trials' order, their counts and their network faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the logs of failed trials are kept
    #[arg(long, value_name = "DIR", default_value = "target/trials")]
    keep: PathBuf,
    /// Has the storage programs commit a fault on purpose, to see that it is found
    #[arg(long, value_name = "FAULT")]
    seed_fault: Option<String>,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("blockferry-trials: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether no trial failed.
fn run(flags: &Flags) -> Result<bool> {
    let setting = Setting {
        logs: std::path::absolute(&flags.keep)?,
        seed_fault: flags.seed_fault.clone(),
        counted: None,
    };
    let mut trials = trials(flags, &setting)?;
    if trials.iter().any(|trial| trial.net) {
        enter_own_network()?;
    }
    if let Some(count) = flags.trials {
        trials.truncate(count);
    }
    ensure!(!trials.is_empty(), "there is no such trial");
    println!("{} trials, {} at a time, seed {}", trials.len(), flags.jobs, flags.seed);
    let bounds = Bounds { jobs: flags.jobs, time: Duration::from_secs(flags.seconds) };
    let figures = run_all(&trials, &setting, bounds, tell);
    print!("{figures}");
    Ok(figures.failed.is_empty())
}

fn trials(flags: &Flags, setting: &Setting) -> Result<Vec<Trial>> {
    if !flags.only.is_empty() {
        return flags.only.iter().map(|text| text.parse()).collect();
    }
    let mut trials = Vec::new();
    for name in &flags.calls {
        let party: Party = name.parse()?;
        for connections in [1, 4] {
            let counts = calls::count(party, connections, setting)?;
            println!("{party}, {connections} connections: {counts:?}");
            trials.extend(calls::sweep(party, &counts, connections));
        }
    }
    if flags.net {
        trials.extend(matrix::net_matrix(flags.seed));
    } else if flags.calls.is_empty() || flags.labels {
        trials.extend(matrix::matrix(flags.seed));
    }
    for trial in &mut trials {
        trial.iscsi |= flags.iscsi;
        trial.switched |= flags.switched;
        trial.carried |= flags.carried;
    }
    trials.retain(Trial::is_reachable);
    matrix::shuffle(&mut trials, flags.seed);
    Ok(trials)
}

fn tell(verdict: &Verdict) {
    let Verdict { trial, result, took, logs } = verdict;
    let seconds = took.as_secs_f64();
    match result {
        Ok(shown) => {
            let word = if shown.struck { "ok" } else { "not reached" };
            let longest = shown.longest_request.as_millis();
            println!("{word}: {trial}, {seconds:.1} s, longest request {longest} ms");
        }
        Err(why) => {
            println!("FAILED after {seconds:.1} s: --only \"{trial}\"\n{why}");
            println!("logs: {}", logs.as_ref().map_or("".into(), |logs| logs.to_string_lossy()));
        }
    }
}
