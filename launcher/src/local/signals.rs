//! What asks a local run to end.

use std::io;

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// SIGTERM, SIGINT, SIGQUIT and SIGHUP, taken from here on. Two of one kind that come before the first is taken are one:
/// the kernel does not queue them (signal(7)), and nobody means two by a moment.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: [unix::Signal; 4],
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
    pub(super) async fn next(&mut self) -> Signal {
        let [terminate, interrupt, quit, hang_up] = &mut self.terminate;
        tokio::select! {
            _ = terminate.recv() => Signal::SIGTERM,
            _ = interrupt.recv() => Signal::SIGINT,
            _ = quit.recv() => Signal::SIGQUIT,
            _ = hang_up.recv() => Signal::SIGHUP,
        }
    }
}
