//! What asks a local run to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT, SIGQUIT and SIGHUP, taken from here on.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: [Signal; 4],
}

impl Signals {
    /// Listens for them.
    pub(super) fn take() -> io::Result<Self> {
        let terminate = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { terminate })
    }

    /// The next of them.
    pub(super) async fn next(&mut self) {
        let [a, b, c, d] = &mut self.terminate;
        tokio::select! { _ = a.recv() => {}, _ = b.recv() => {}, _ = c.recv() => {}, _ = d.recv() => {} }
    }
}
