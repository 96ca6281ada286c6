//! Whose steps count at a side: those of the newest controller (I12).

use std::cell::Cell;
use std::rc::Rc;

use crate::executor::{Lock, Signal};
use crate::fences::{Fences, Running};
use crate::message::{Generation, Reply, Session};
use crate::mutation::Mutation;
use crate::network::Host;
use crate::witness::Witness;

/// The copiers of all controllers: one session, whose generations are the terms.
const COPIERS: Session = Session(0);

const fn generation(term: u64) -> Generation {
    Generation { client: term, path: 0 }
}

/// The terms of one process. What it was told before a restart comes from its journal.
pub struct Terms {
    /// A newer term counts from now on.
    pub raised: Signal,
    host: Host,
    known: Cell<u64>,
    turn: Lock,
    fences: Rc<Fences>,
    witness: Rc<Witness>,
}

impl Terms {
    /// The terms of a process that was told of the given one last.
    pub fn new(witness: &Rc<Witness>, host: Host, known: u64) -> Self {
        Self {
            raised: Signal::default(),
            host,
            known: Cell::new(known),
            turn: Lock::default(),
            fences: Fences::from_records([(COPIERS, generation(known))].into_iter()),
            witness: witness.clone(),
        }
    }

    /// The newest.
    pub fn known(&self) -> u64 {
        self.known.get()
    }

    /// A controller asks for a step. A newer one than before is recorded and fences every older one.
    ///
    /// # Errors
    /// What to answer an older one, or when the record failed.
    pub async fn check(
        &self,
        term: u64,
        record: impl AsyncFnOnce(u64) -> bool,
    ) -> Result<(), Reply> {
        let _turn = self.turn.turn().await;
        if term < self.known() {
            return Err(Reply::Superseded);
        }
        if term > self.known() {
            self.raise(term, record).await?;
        }
        self.witness.term_counts(self.host, term);
        Ok(())
    }

    /// A controller takes over, with a term that no other ever had.
    ///
    /// # Errors
    /// What to answer when the record failed.
    pub async fn take(&self, record: impl AsyncFnOnce(u64) -> bool) -> Result<u64, Reply> {
        let together = self.witness.breaks(Mutation::TermsTakenTogether);
        let _turn = if together { None } else { Some(self.turn.turn().await) };
        let term = self.known() + 1;
        self.raise(term, record).await?;
        self.witness.term_given(term);
        Ok(term)
    }

    async fn raise(&self, term: u64, record: impl AsyncFnOnce(u64) -> bool) -> Result<(), Reply> {
        if !self.witness.breaks(Mutation::TermNotDurable) && !record(term).await {
            return Err(Reply::Refused("the journal failed"));
        }
        self.known.set(term);
        self.fences.raise(COPIERS, generation(term));
        self.raised.raise();
        self.fences.drained(COPIERS, generation(term)).await;
        self.witness.term_fenced(self.host, term);
        Ok(())
    }

    /// Whether a copier of this term may go on.
    pub fn allows(&self, term: u64) -> bool {
        self.fences.allows(COPIERS, generation(term))
    }

    /// A request of a copier begins, unless a newer controller has fenced it.
    pub fn enter(&self, term: u64) -> Option<Running> {
        let running = self.fences.enter(COPIERS, generation(term))?;
        self.witness.term_counts(self.host, term);
        Some(running)
    }
}
