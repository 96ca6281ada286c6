//! `blockferry-check verify`.

use anyhow::Context;
use blockferry_checker::{Journal, Violations};
use serde::Serialize;

use crate::cli::VerifyArguments;
use crate::open::open;

/// Violations that the text shows; the JSON form has more.
const SHOWN_MAX: usize = 5;

#[derive(Serialize)]
struct JsonReport<'a> {
    clean: bool,
    bytes: u64,
    violations: &'a Violations,
}

/// Compares the volume with the journal and prints what is wrong; `true` when nothing is.
pub(crate) async fn run(arguments: &VerifyArguments) -> anyhow::Result<bool> {
    let path = arguments.journal.display();
    let journal = Journal::load(&arguments.journal);
    let journal = journal.with_context(|| format!("cannot use the journal {path}"))?;
    anyhow::ensure!(journal.bytes() > 0, "the journal {path} speaks of no byte: nothing is proved");
    let device = open(&arguments.volume).await?;
    let verified = journal.verify(&*device).await;
    let violations =
        verified.with_context(|| format!("cannot verify {} against {path}", arguments.volume))?;
    let clean = violations.is_empty();
    if arguments.json {
        let report = JsonReport { clean, bytes: journal.bytes(), violations: &violations };
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&journal, &violations);
    }
    Ok(clean)
}

fn print(journal: &Journal, violations: &Violations) {
    println!("{} bytes in {} entries compared", journal.bytes(), journal.entries().len());
    if violations.is_empty() {
        return println!("violations: none");
    }
    println!("violations: {}", violations.total);
    violations.first.iter().take(SHOWN_MAX).for_each(|violation| println!("  {violation}"));
}
