//! A bar on a terminal.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::plain::{details, text};
use super::{Event, Progress, Show};

/// How often the bar is drawn while nothing new is known.
const TICK: Duration = Duration::from_millis(200);

/// The line below which the bar is drawn.
const TEMPLATE: &str = "{spinner} {prefix} [{bar:30}] {bytes}/{total_bytes}{msg}";

/// Draws one bar, and prints everything else above it.
pub(crate) struct Terminal {
    bar: ProgressBar,
}

impl Terminal {
    /// A bar that is not drawn before there is progress.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    fn draw(&self, progress: &Progress) {
        self.bar.enable_steady_tick(TICK);
        self.bar.set_prefix(progress.phase.text());
        self.bar.set_length(progress.total_bytes);
        self.bar.set_position(progress.done_bytes);
        self.bar.set_message(details(progress));
    }
}

impl Show for Terminal {
    fn show(&self, event: &Event) {
        match event {
            Event::Progress(progress) => self.draw(progress),
            Event::Phase { .. } => self.bar.println(text(event)),
            Event::Note { .. } => self.bar.println(text(event)),
            Event::Plan { .. } | Event::Copier { .. } | Event::Held { .. } | Event::Done(_) => {
                self.bar.finish_and_clear();
                // A terminal that went away is no reason to stop.
                let _ = writeln!(std::io::stdout(), "{}", text(event));
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
