//! Explores one scope with larger limits than the tests have time for.
//!
//! `stateright` looks for broken invariants on every core; with `--live` the search of this crate does,
//! on one, and asks what can be reached as well. Prints the shortest way to whatever does not hold, and
//! ends with 1 then.

use std::process::ExitCode;
use std::time::Instant;

use blockferry_model::live::{COMMITTED_OR_ABORTED, SWEPT_OR_ABORTED};
use blockferry_model::proof::prove;
use blockferry_model::scope::{Faults, Scope};
use blockferry_model::scopes::ALL;
use blockferry_model::search::Trace;
use blockferry_model::{Migration, live};
use clap::Parser;
use stateright::{Checker, Model};

/// Explores one scope of the models to its last state.
#[derive(Parser)]
struct Arguments {
    /// The scope; without one, their names are listed.
    scope: Option<String>,
    /// Clients.
    #[arg(long)]
    clients: Option<u8>,
    /// Requests of all clients together.
    #[arg(long)]
    requests: Option<u8>,
    /// Storage programs that die.
    #[arg(long)]
    crashes: Option<u8>,
    /// Switches that die.
    #[arg(long)]
    switches: Option<u8>,
    /// Connections that break, and answers that are late.
    #[arg(long)]
    breaks: Option<u8>,
    /// Errors of disks.
    #[arg(long)]
    errors: Option<u8>,
    /// Controllers that take over.
    #[arg(long)]
    takeovers: Option<u8>,
    /// Aborts.
    #[arg(long)]
    aborts: Option<u8>,
    /// A migration that was aborted is begun again.
    #[arg(long)]
    again: bool,
    /// Also asks what can be reached from every state.
    #[arg(long)]
    live: bool,
    /// Threads of `stateright`.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Arguments {
    fn enlarge(&self, scope: Scope) -> Scope {
        let faults = Faults {
            crashes: self.crashes.unwrap_or(scope.faults.crashes),
            switches: self.switches.unwrap_or(scope.faults.switches),
            breaks: self.breaks.unwrap_or(scope.faults.breaks),
            errors: self.errors.unwrap_or(scope.faults.errors),
            takeovers: self.takeovers.unwrap_or(scope.faults.takeovers),
            aborts: self.aborts.unwrap_or(scope.faults.aborts),
        };
        let clients = self.clients.unwrap_or(scope.clients);
        let requests = self.requests.unwrap_or(scope.requests);
        Scope { faults, clients, requests, again: self.again || scope.again, ..scope }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = ALL.iter().find(|(name, _)| arguments.scope.as_deref() == Some(*name));
    let Some((_, scope)) = wanted else {
        ALL.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::FAILURE;
    };
    let scope = arguments.enlarge(*scope);
    println!("{scope:#?}");
    let begun = Instant::now();
    let holds = if arguments.live { search(scope) } else { check(scope, arguments.threads) };
    println!("{:?}", begun.elapsed());
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn search(scope: Scope) -> bool {
    let questions = match scope.switch {
        true => [COMMITTED_OR_ABORTED, live::WAITS_FOR_NOBODY_BEFORE_THE_COMMIT],
        false => [SWEPT_OR_ABORTED, live::CLIENTS_WAIT_FOR_NOBODY],
    };
    match prove(scope, &questions) {
        Ok(seen) => println!("{} states, at most {} steps away", seen.states, seen.depth),
        Err(broken) => {
            println!("{broken}");
            return false;
        }
    }
    true
}

fn check(scope: Scope, threads: usize) -> bool {
    let checker = Migration(scope).checker().threads(threads).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    for (name, path) in checker.discoveries() {
        println!("{name} does not hold after\n{}", Trace(path.into_actions()));
    }
    checker.discoveries().is_empty()
}
