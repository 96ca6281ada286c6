//! Somebody who remembers what was shown.

use std::sync::Mutex;

use crate::report::Report;
use crate::show::{Event, Phase, Show};

/// Keeps every event.
#[derive(Default)]
pub(crate) struct Audience {
    events: Mutex<Vec<Event>>,
}

impl Show for Audience {
    fn show(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }
}

impl Audience {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// The phases in the order in which they began.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let phase = |event: &Event| match event {
            Event::Phase { phase, .. } => Some(*phase),
            _ => None,
        };
        self.events().iter().filter_map(phase).collect()
    }

    /// The report with which it ended.
    pub(crate) fn report(&self) -> Report {
        match self.events().pop() {
            Some(Event::Done(report)) => *report,
            other => panic!("it ended with {other:?}"),
        }
    }

    /// Whether a note or a trouble had these words.
    pub(crate) fn heard(&self, words: &str) -> bool {
        self.events().iter().any(|event| match event {
            Event::Note { message } => message.contains(words),
            _ => false,
        })
    }
}
