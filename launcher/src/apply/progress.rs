//! What is under way, for a person who waits for it.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Target of events that only a terminal shows: time alone is news to nobody who reads a log.
pub const PROGRESS: &str = "progress";

/// A step that takes less is told by its own line alone.
const LONG: Duration = Duration::from_secs(1);

/// Does `work`; while it takes long, says every second for how long already.
pub async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(LONG) => {
                let seconds = started.elapsed().as_secs();
                tracing::info!(target: PROGRESS, event = "progress", progress = true, "{what}: {seconds} s so far");
            }
        }
    }
}
