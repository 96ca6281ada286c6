//! Makes the activity log durable, batch by batch, beside the requests that wait for it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::ActivityFile;
use super::owner::Owner;

/// Writes batches until it is stopped. Where the log can be neither written nor removed, a batch fails
/// its updates: a restart would forget that they differ.
pub(crate) async fn write_batches(
    owner: Arc<Owner>,
    mut file: ActivityFile,
    stop: CancellationToken,
) {
    loop {
        while let Some(batch) = owner.with(|source| source.take_log_batch()) {
            let id = batch.id;
            blockferry_label::reached("source.log.writing");
            let written = tokio::task::spawn_blocking(move || {
                let result = file.append(batch);
                (file, result)
            });
            let Ok((back, result)) = written.await else { return };
            file = back;
            blockferry_label::reached("source.log.durable");
            match result {
                Ok(()) => owner.with(|source| source.log_durable(id)),
                Err(error) => {
                    tracing::error!(%error, "the activity log cannot be written; writes fail");
                    owner.with(|source| source.log_failed(id));
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = owner.log_wanted() => {}
        }
    }
}
