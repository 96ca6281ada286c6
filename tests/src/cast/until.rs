//! Waiting for something to be true.

use std::time::{Duration, Instant};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// How long anything may take that takes no time on an idle machine: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` gives something, and gives that.
///
/// # Panics
/// When it gives nothing for half a minute.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// The same with another patience.
///
/// # Panics
/// When it gives nothing for so long.
pub async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain until {what}");
        tokio::time::sleep(LOOK).await;
    }
}
