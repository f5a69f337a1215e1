//! Which run's turn it is to be made: one at a time.

use std::io;

use super::run_dir::{Exclusive, RunDirError};

/// Waits for [`Exclusive`], and says so. None when `cancelled` came first.
pub(super) async fn wait<T>(
    cancelled: impl Future<Output = T>,
) -> Result<Option<Exclusive>, RunDirError> {
    if let Some(exclusive) = Exclusive::try_take()? {
        return Ok(Some(exclusive));
    }
    tracing::info!(event = "waiting", "waiting for another run to start or end");
    // flock(2) cannot be cancelled, so a thread waits in it, for which the program's end does not wait.
    let taken = tokio::task::spawn_blocking(Exclusive::take);
    tokio::select! {
        taken = taken => Ok(Some(taken.map_err(io::Error::from).map_err(RunDirError::Thread)??)),
        _ = cancelled => Ok(None),
    }
}
