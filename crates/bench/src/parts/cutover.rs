//! Moves back and forth under a constant load: do requests that overlap a cutover take longer than
//! those of equal windows before?

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{MIB, OURS};
use crate::bench::{Place, Plan, Round};
use crate::controller::{Move, Moved};
use crate::image;
use crate::load::{Load, Pattern};
use crate::ours::{Storage, StorageSpec, Switch, VOLUME};
use crate::record::Measured;
use crate::requests::{Finished, Span, overlapping};
use crate::statistics::percentile;

/// The one case.
pub(crate) const CASE: &str = "moves under 2,000 writes/s";
/// Requests a second: far from what the machine can do, so that the client never waits in line.
const RATE: f64 = 2000.0;
/// A move that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(60);
/// The client runs undisturbed for so long before each move, at least.
const CALM: Duration = Duration::from_millis(500);

pub(super) fn round(round: &mut Round<'_>) -> Result<()> {
    let scratch = round.plan.scratch(Place::Tmpfs)?;
    round.measure(CASE, OURS, |plan| {
        let moves = plan.amount(20, 4);
        let (spans, requests) = back_and_forth(plan, scratch.path(), moves)?;
        judge(&spans, &requests)
    })
}

/// A move and its cutover.
struct Spans {
    began: f64,
    cutover: Span,
}

fn back_and_forth(plan: &Plan, folder: &Path, moves: u64) -> Result<(Vec<Spans>, Vec<Finished>)> {
    let image = folder.join("source");
    image::random(&image, plan.amount(64, 16) * MIB)?;
    let mut owner = StorageSpec::source(&plan.bin, folder.join("0"), &image).start()?;
    let switch = Switch::start(&plan.bin, &folder.join("switch"), owner.nbd, &[])?;
    let load = Load::new(switch.nbd, VOLUME, Pattern::RandomWrite, 4096);
    let load = Load { depth: 8, rate: Some(RATE), log: true, ..load };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| load.run(&stop));
        let mut spans = Vec::new();
        let moved = (1..=moves).try_for_each(|number| {
            std::thread::sleep(CALM);
            ensure!(!client.is_finished(), "the client has ended");
            let next = folder.join(number.to_string());
            let span = one_move(plan, &mut owner, switch.control, &next)?;
            spans.push(span);
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let outcome = client.join().ok().context("the client panicked")?.context("the client")?;
        moved?;
        Ok((spans, outcome.log))
    })
}

/// Moves the volume to a storage program that takes the place of the one that had it.
fn one_move(plan: &Plan, owner: &mut Storage, switch: SocketAddr, folder: &Path) -> Result<Spans> {
    let next = StorageSpec::destination(&plan.bin, folder.to_owned()).start()?;
    let way = Move {
        bin: &plan.bin,
        volume: VOLUME,
        from: owner.control,
        to: next.control,
        switch: Some(switch),
        more: &[],
        folder,
        longest: LONGEST,
    };
    let moved = way.run()?.context("a move did not end")?;
    // Its certificate says that every path has left it.
    *owner = next;
    spans(&moved)
}

fn spans(moved: &Moved) -> Result<Spans> {
    let cutover = moved.cutover().context("the report has no cutover")?;
    Ok(Spans { began: cutover.end - moved.seconds, cutover })
}

/// Windows of the same length right before each cutover, and right before each move.
fn judge(spans: &[Spans], requests: &[Finished]) -> Result<Measured> {
    let p99 = |window: fn(&Spans) -> Span| {
        let mut times: Vec<f64> =
            spans.iter().flat_map(|span| overlapping(requests, window(span))).collect();
        percentile(&mut times, 0.99).map(|p99| (p99, times.len()))
    };
    let (during, count) = p99(|s| s.cutover).context("no request overlapped a cutover")?;
    let (mirrored, _) = p99(|s| s.cutover.ending_at(s.cutover.start)).unwrap_or_default();
    let (calm, _) = p99(|s| s.cutover.ending_at(s.began)).unwrap_or_default();
    let longest = spans.iter().flat_map(|span| overlapping(requests, span.cutover));
    let lengths = spans.iter().map(|span| span.cutover.seconds() * 1e3).sum::<f64>();
    Ok(Measured::default()
        .with("moves", spans.len() as f64)
        .with("overlapping_requests", count as f64)
        .with("cutover_ms", lengths / spans.len() as f64)
        .with("cutover_p99_ms", during)
        .with("cutover_longest_ms", longest.fold(0.0, f64::max))
        .with("right_before_p99_ms", mirrored)
        .with("undisturbed_p99_ms", calm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_all_cutovers_are_held_against_windows_of_the_same_length() {
        let request = |end, took_ms| Finished { end, took_ms };
        let spans = [
            Spans { began: 9.0, cutover: Span { start: 10.0, end: 10.5 } },
            Spans { began: 19.0, cutover: Span { start: 20.0, end: 20.5 } },
        ];
        let requests = [
            request(8.8, 1.0),
            request(9.8, 3.0),
            request(10.2, 4.0),
            request(19.7, 2.0),
            request(20.3, 6.0),
        ];
        let values = judge(&spans, &requests).unwrap().values;
        assert_eq!((values["cutover_p99_ms"], values["overlapping_requests"]), (6.0, 2.0));
        assert_eq!((values["right_before_p99_ms"], values["undisturbed_p99_ms"]), (3.0, 1.0));
        assert!((values["cutover_ms"] - 500.0).abs() < 1e-6);
    }
}
