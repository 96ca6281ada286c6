//! Has the power go at every flush of a migration in a VM, many times over. CONTRIBUTING.md says how.

use std::path::PathBuf;

use anyhow::{Context, Result};
use blockferry_tests::power::{Logs, Tail};
use clap::Parser;

/// Records a migration's disk writes in a VM, replays them to every flush, and proves that nothing that
/// was flushed is lost.
#[derive(Debug, Parser)]
struct Flags {
    /// Where the logs go, and stay; those that an earlier run left there are replayed
    #[arg(long, value_name = "DIR", default_value = "target/power")]
    folder: PathBuf,
    /// How often each flush is followed by another part of what came later
    #[arg(long, value_name = "N", default_value_t = 10)]
    seeds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Flags { folder, seeds } = Flags::parse();
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let folder = folder.canonicalize()?;
    let logs = match Logs::kept(&folder) {
        Some(logs) => logs,
        None => Logs::of_a_migration(&folder).await?,
    };
    for tail in std::iter::once(Tail::Lost).chain((0..seeds).map(Tail::Torn)) {
        let survived = logs.survive(tail).await?;
        println!("{tail:?}: {survived:?}");
    }
    for found in logs.found_without_flushes().await {
        println!("found, where flushes do nothing: {found}");
    }
    Ok(())
}
