//! What a person or a script is shown while a migration is driven.

mod event;
mod json;
mod plain;
mod rate;
mod terminal;
mod units;

use std::io::IsTerminal;

pub(crate) use event::{Event, Phase, Progress};
pub(crate) use json::JsonLines;
pub(crate) use plain::PlainLines;
pub(crate) use rate::Rate;
pub(crate) use terminal::Terminal;
pub(crate) use units::{bytes, seconds};

/// Somebody who is shown events.
pub(crate) trait Show: Send + Sync {
    /// Shows one event. A reader that went away is no reason to stop a migration.
    fn show(&self, event: &Event);
}

/// Objects with `--json`, a bar on a terminal, plain lines otherwise.
pub(crate) fn for_stdout(json: bool) -> Box<dyn Show> {
    if json {
        Box::new(JsonLines::new(std::io::stdout()))
    } else if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
        Box::new(Terminal::new())
    } else {
        Box::new(PlainLines::new(std::io::stdout()))
    }
}
