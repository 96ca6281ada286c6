//! Storage that does not make durable what it took. The copy is suspect then and is made again; but a
//! disk that never flushes would have it made again for ever, so after some checkpoints in a row that
//! came to nothing the source pauses the migration, and says why, until somebody resumes it.

use std::sync::{Mutex, PoisonError};

/// Checkpoints in a row that storage did not make durable after which the migration is paused. Each
/// costs the copy since the last one that was.
const FAILURES_MAX: u32 = 5;

/// The cause of a checkpoint that storage did not make durable, in the words that lead to it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotDurable(pub(super) &'static str);

/// How a migration's checkpoints have ended.
#[derive(Debug, Default)]
pub(crate) struct Durability(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    paused_because: Option<String>,
}

impl Durability {
    /// A checkpoint was made, or somebody says that the storage is mended.
    pub(super) fn restored(&self) {
        self.with(|state| *state = State::default());
    }

    /// An attachment has ended. Whether storage was the cause so often that the migration has to be
    /// paused.
    pub(super) fn gives_up(&self, error: &anyhow::Error) -> bool {
        self.with(|state| {
            if error.downcast_ref::<NotDurable>().is_none() {
                return false;
            }
            state.failures += 1;
            if state.failures < FAILURES_MAX {
                return false;
            }
            let times = state.failures;
            state.paused_because = Some(format!("{error:#}, {times} times in a row"));
            true
        })
    }

    /// Why the migration is paused, if this has paused it.
    pub(crate) fn paused_because(&self) -> Option<String> {
        self.with(|state| state.paused_because.clone())
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn not_durable() -> anyhow::Error {
        anyhow!("EIO").context(NotDurable("the disk does not flush"))
    }

    #[test]
    fn only_storage_that_fails_again_and_again_is_given_up() {
        let durability = Durability::default();
        for _ in 1..FAILURES_MAX {
            assert!(!durability.gives_up(&not_durable()));
            assert!(!durability.gives_up(&anyhow!("the destination was restarted")));
        }
        assert_eq!(durability.paused_because(), None);
        assert!(durability.gives_up(&not_durable()));
        let because = durability.paused_because().expect("a reason");
        assert_eq!(because, "the disk does not flush: EIO, 5 times in a row");
    }

    #[test]
    fn one_checkpoint_that_is_made_forgives_the_failures_before() {
        let durability = Durability::default();
        for _ in 1..FAILURES_MAX {
            durability.gives_up(&not_durable());
        }
        durability.restored();
        assert!(!durability.gives_up(&not_durable()));
    }
}
