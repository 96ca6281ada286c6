//! Plain lines, at most one of progress a second, and the sentences that all displays share.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Event, Phase, Progress, Show, bytes, seconds};

/// Shortest time between two lines of progress.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes events as lines.
pub(crate) struct PlainLines<W> {
    out: Mutex<(W, Option<Instant>)>,
}

impl<W> PlainLines<W> {
    /// To `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out: Mutex::new((out, None)) }
    }
}

impl<W: Write + Send> Show for PlainLines<W> {
    fn show(&self, event: &Event) {
        let mut guard = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let (out, last) = &mut *guard;
        let text = match event {
            Event::Progress(progress) => {
                if last.is_some_and(|last| last.elapsed() < INTERVAL) {
                    return;
                }
                *last = Some(Instant::now());
                progress_line(progress)
            }
            other => text(other),
        };
        // A reader that went away is no reason to stop.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// An event other than progress, in words.
pub(crate) fn text(event: &Event) -> String {
    match event {
        Event::Plan { volume, size, steps } => {
            let steps = steps.iter().map(|step| format!("\n  {step}")).collect::<String>();
            format!(
                "{volume}, {}: everything is in order; nothing was changed{steps}",
                bytes(*size)
            )
        }
        Event::Phase { volume, phase } => format!("{volume}: {}", phase.text()),
        Event::Progress(progress) => progress_line(progress),
        Event::Note { message } => message.clone(),
        Event::Copier { volume, source, destination } => format!(
            "{volume}: copy in ascending order, then run `controller resume {volume}`\n  \
             from {source}\n  to   {destination}"
        ),
        Event::Held { volume } => format!(
            "{volume}: both sides are equal and stay so; `controller commit {volume}` goes on"
        ),
        Event::Done(report) => report.to_string(),
    }
}

/// Progress in one line.
pub(crate) fn progress_line(progress: &Progress) -> String {
    let (done, total) = (progress.done_bytes, progress.total_bytes);
    let percent = if total == 0 { 100 } else { u128::from(done) * 100 / u128::from(total) };
    let text = progress.phase.text();
    let head = format!("{text}: {percent} % of {}", bytes(total));
    format!("{head}{}", details(progress))
}

/// What is said of progress beside the position itself.
pub(crate) fn details(progress: &Progress) -> String {
    let mut line = String::new();
    if progress.paused {
        line += ", paused (`controller resume` goes on)";
    } else if let Some(rate) = progress.bytes_per_second {
        line += &format!(", {}/s", bytes(rate));
        if let Some(left) = progress.seconds_left {
            line += &format!(", {} left", seconds(left));
        }
    }
    let is_held_back = progress.phase == Phase::Copy && progress.held_to_bytes_per_second.is_some();
    if let (true, Some(p99)) = (is_held_back, progress.client_p99_ms) {
        line += &format!(", slowed for the clients (99 % within {p99:.1} ms)");
    }
    line += &format!(
        ", mirrored {}, dirty {}",
        bytes(progress.mirrored_bytes),
        bytes(progress.dirty_bytes)
    );
    if let Some(trouble) = &progress.trouble {
        line += &format!("; {trouble}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::Phase;

    fn halfway() -> Progress {
        Progress {
            phase: Phase::Copy,
            done_bytes: 1 << 29,
            total_bytes: 1 << 30,
            bytes_per_second: Some(1 << 28),
            seconds_left: Some(2),
            client_p99_ms: None,
            held_to_bytes_per_second: None,
            reserved_address: 1 << 29,
            read_cursor: 1 << 29,
            mirrored_bytes: 4096,
            dirty_bytes: 0,
            in_flight_updates: 0,
            paused: false,
            trouble: None,
        }
    }

    #[test]
    fn progress_says_how_far_how_fast_and_how_long() {
        assert_eq!(
            progress_line(&halfway()),
            "copying: 50 % of 1.00 GiB, 256.00 MiB/s, 2 s left, mirrored 4.00 KiB, dirty 0 B"
        );
    }

    #[test]
    fn a_copy_that_is_held_back_says_for_whom() {
        let held = Progress {
            client_p99_ms: Some(9.87),
            held_to_bytes_per_second: Some(1 << 28),
            ..halfway()
        };
        let line = progress_line(&held);
        assert!(line.contains("2 s left, slowed for the clients (99 % within 9.9 ms)"), "{line}");
    }

    #[test]
    fn a_paused_copy_promises_no_end() {
        let paused = Progress { paused: true, ..halfway() };
        let line = progress_line(&paused);
        assert!(line.contains("paused") && !line.contains("left"), "{line}");
    }

    #[test]
    fn lines_of_progress_are_a_second_apart_and_other_lines_are_not_lost() {
        let lines = PlainLines::new(Vec::new());
        for _ in 0..100 {
            lines.show(&Event::Progress(halfway()));
            lines.show(&Event::Note { message: "note".to_owned() });
        }
        let text = String::from_utf8(lines.out.into_inner().unwrap().0).unwrap();
        assert_eq!(text.lines().filter(|line| *line == "note").count(), 100);
        let progress = text.lines().filter(|line| line.starts_with("copying")).count();
        assert!((1..=2).contains(&progress), "{progress}");
    }
}
