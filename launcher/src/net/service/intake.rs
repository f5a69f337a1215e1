//! Reads what a guest sends, no faster than its budget allows.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::{Instant, sleep};

use super::budget::TokenBucket;

/// A client's whole start is four messages.
const BURST: u32 = 32;
const INTERVAL: Duration = Duration::from_millis(50);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// A non-blocking socket.
pub(in crate::net) trait Source {
    /// Who sent a message, and what else came beside it.
    type From;

    /// Waits for a message; cancel-safe.
    async fn ready(&self) -> io::Result<()>;

    /// Takes one if there is one; what is longer than the buffer is cut.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Self::From)>;
}

impl Source for tokio::net::UdpSocket {
    type From = std::net::SocketAddr;

    async fn ready(&self) -> io::Result<()> {
        self.readable().await
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Self::From)> {
        self.try_recv_from(buffer)
    }
}

/// What holds reading up.
pub(in crate::net) enum Trouble {
    /// The guest sends more than its budget.
    Flood,
    /// The link is down, or the kernel out of memory.
    Receive(io::Error),
}

/// A source and what it may still cost.
pub(in crate::net) struct Intake<S> {
    source: S,
    started: Instant,
    budget: TokenBucket,
    backoff: Duration,
}

impl<S: Source> Intake<S> {
    /// With a full budget.
    pub(in crate::net) fn new(source: S) -> Self {
        Self {
            source,
            started: Instant::now(),
            budget: TokenBucket::new(BURST, INTERVAL),
            backoff: FIRST_BACKOFF,
        }
    }

    /// To send by.
    pub(in crate::net) fn source(&self) -> &S {
        &self.source
    }

    /// Time since the start: what budgets and schedules count in.
    pub(in crate::net) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment that is `at` after the start.
    pub(in crate::net) fn moment(&self, at: Duration) -> Instant {
        self.started + at
    }

    /// The next message, or an error that waiting does not mend. Cancel-safe: what was not returned is not lost.
    ///
    /// Under a flood the messages wait, and then drop, in the kernel, which is cheaper than to read them.
    pub(in crate::net) async fn next(
        &mut self,
        buffer: &mut [u8],
        mut report: impl FnMut(Duration, Trouble),
    ) -> io::Result<(usize, S::From)> {
        loop {
            let received = match self.source.ready().await {
                Ok(()) => {
                    while let Err(wait) = self.budget.take(self.started.elapsed()) {
                        report(self.now(), Trouble::Flood);
                        sleep(wait).await;
                    }
                    self.source.receive(buffer)
                }
                Err(error) => Err(error),
            };
            match received {
                Ok(received) => {
                    self.backoff = FIRST_BACKOFF;
                    return Ok(received);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_final(&error) => return Err(error),
                // ENETDOWN, ENOBUFS, ENOMEM and their like pass; the kernel has no event that says when.
                Err(error) => {
                    report(self.now(), Trouble::Receive(error));
                    sleep(self.backoff).await;
                    self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
    }
}

/// The fd is no socket that can be read: our own doing, and no wait helps.
fn is_final(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EBADF | Errno::ENOTSOCK | Errno::EFAULT | Errno::EINVAL)
    )
}
