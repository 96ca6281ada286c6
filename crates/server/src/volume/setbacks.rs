//! Checkpoints that come to nothing: storage did not make durable what it took, or the two sides have
//! seen different streams. The copy is suspect then and is made again; but a disk that never flushes,
//! or a network that always garbles, would have it made again for ever, so after some such checkpoints
//! in a row the source pauses the migration, and says why, until somebody resumes it.

use std::sync::{Mutex, PoisonError};

use blockferry_migration::source::DigestMismatch;

/// Checkpoints in a row that come to nothing after which the migration is paused. Each costs the copy
/// since the last one that was made.
const SETBACKS_MAX: u32 = 5;

/// The cause of a checkpoint that storage did not make durable, in the words that lead to it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotDurable(pub(super) &'static str);

/// How a migration's checkpoints have ended.
#[derive(Debug, Default)]
pub(crate) struct Setbacks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    paused_because: Option<String>,
}

impl Setbacks {
    /// A checkpoint was made, or somebody says that the cause is mended.
    pub(super) fn overcome(&self) {
        self.with(|state| *state = State::default());
    }

    /// An attachment has ended. Whether that was a setback, and one so often repeated that the
    /// migration has to be paused.
    pub(super) fn gives_up(&self, error: &anyhow::Error) -> bool {
        self.with(|state| {
            let Some(advice) = advice(error) else { return false };
            state.in_a_row += 1;
            if state.in_a_row < SETBACKS_MAX {
                return false;
            }
            let times = state.in_a_row;
            let because =
                format!("{times} checkpoints in a row came to nothing: {error:#}; {advice}");
            state.paused_because = Some(because);
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

/// What a person can do about a setback; `None` for whatever else ends an attachment.
fn advice(error: &anyhow::Error) -> Option<&'static str> {
    if error.is::<NotDurable>() {
        Some("mend the storage, then `controller resume`")
    } else if error.is::<DigestMismatch>() {
        // What is read is hashed before it leaves, and what is taken before it is written: no disk
        // lies between the two.
        Some(
            "suspect the network, and the memory of either side and of whoever copies; \
             check them, then `controller resume`, or `controller abort`",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use blockferry_block::Extent;
    use blockferry_migration::digest::{Frontier, Piece};

    use super::*;

    fn not_durable() -> anyhow::Error {
        anyhow!("EIO").context(NotDurable("the disk does not flush"))
    }

    fn differs() -> anyhow::Error {
        let digest_of = |byte| {
            let mut stream = Frontier::new();
            stream.push(Piece::Data(&[byte]));
            stream.digest()
        };
        let stretch = Extent::between(65536, 1 << 20);
        DigestMismatch { stretch, ours: digest_of(1), theirs: digest_of(2) }.into()
    }

    #[test]
    fn only_a_checkpoint_that_comes_to_nothing_again_and_again_is_given_up() {
        let setbacks = Setbacks::default();
        for _ in 1..SETBACKS_MAX {
            assert!(!setbacks.gives_up(&not_durable()));
            assert!(!setbacks.gives_up(&anyhow!("the destination was restarted")));
        }
        assert_eq!(setbacks.paused_because(), None);
        assert!(setbacks.gives_up(&not_durable()));
        let because = setbacks.paused_because().expect("a reason");
        assert!(because.starts_with("5 checkpoints in a row"), "{because}");
        assert!(because.contains("the disk does not flush: EIO; mend the storage"), "{because}");
    }

    #[test]
    fn digests_that_differ_again_and_again_name_the_stretch_and_what_to_suspect() {
        let setbacks = Setbacks::default();
        for _ in 1..SETBACKS_MAX {
            assert!(!setbacks.gives_up(&differs()));
        }
        assert!(setbacks.gives_up(&differs()));
        let because = setbacks.paused_because().expect("a reason");
        for words in ["[65536, 1048576)", "network", "memory", "resume", "abort"] {
            assert!(because.contains(words), "no {words:?} in {because}");
        }
        assert!(!because.contains('\n'), "{because}");
    }

    #[test]
    fn setbacks_of_both_kinds_count_together() {
        let setbacks = Setbacks::default();
        for round in 1..SETBACKS_MAX {
            let error = if round % 2 == 0 { differs() } else { not_durable() };
            assert!(!setbacks.gives_up(&error));
        }
        assert!(setbacks.gives_up(&differs()));
    }

    #[test]
    fn one_checkpoint_that_is_made_forgives_the_failures_before() {
        let setbacks = Setbacks::default();
        for _ in 1..SETBACKS_MAX {
            setbacks.gives_up(&not_durable());
        }
        setbacks.overcome();
        assert!(!setbacks.gives_up(&not_durable()));
    }
}
