//! A controller, as the copier that it is during the sweep. It keeps no state that matters: one that
//! dies and is started again is one that has lost its connections.

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    /// Its term.
    pub term: u8,
    /// The epoch of its copy connections, while they stand.
    pub epoch: Option<u64>,
    /// The extent that it claims next.
    pub next: u8,
}

impl Controller {
    /// A controller that was just started.
    pub fn new(term: u8) -> Self {
        Self { term, epoch: None, next: 0 }
    }

    /// Its connections are gone.
    pub fn disconnect(&mut self) {
        self.epoch = None;
        self.next = 0;
    }
}
