//! What is under way, for a person who waits for it.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Target of events that only a terminal shows, each in place of the one before: time alone is news to nobody who reads a log.
pub const PROGRESS: &str = "progress";

/// Target of events that a terminal does not show, since it shows the same in motion.
pub const MILESTONE: &str = "milestone";

/// Letters of a bar.
const WIDTH: usize = 20;

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

/// How much of something is done, drawn: `[#####---------------]`.
pub fn bar(done: u64, of: u64) -> String {
    let drawn = (u128::from(done) * WIDTH as u128).checked_div(u128::from(of));
    let drawn = drawn.and_then(|drawn| usize::try_from(drawn).ok());
    let drawn = drawn.map_or(WIDTH, |drawn| drawn.min(WIDTH));
    format!("[{}{}]", "#".repeat(drawn), "-".repeat(WIDTH - drawn))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_is_full_when_all_is_done_and_not_before() {
        assert_eq!(bar(0, 512), "[--------------------]");
        assert_eq!(bar(128, 512), "[#####---------------]");
        assert_eq!(bar(511, 512), "[###################-]");
        assert_eq!(bar(512, 512), "[####################]");
        assert_eq!(bar(u64::MAX, u64::MAX), "[####################]");
        assert_eq!(bar(0, 0), "[####################]");
    }
}
