//! One JSON object a line.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Event, Show};

/// Shortest time between two progress objects.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes events as they are.
pub(crate) struct JsonLines<W> {
    out: Mutex<(W, Option<Instant>)>,
}

impl<W> JsonLines<W> {
    /// To `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out: Mutex::new((out, None)) }
    }
}

impl<W: Write + Send> Show for JsonLines<W> {
    fn show(&self, event: &Event) {
        let mut guard = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let (out, last) = &mut *guard;
        if matches!(event, Event::Progress(_)) {
            if last.is_some_and(|last| last.elapsed() < INTERVAL) {
                return;
            }
            *last = Some(Instant::now());
        }
        if let Ok(line) = serde_json::to_string(event) {
            // A reader that went away is no reason to stop.
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}
