//! What people ask of the VM, on its way to the loop and back.

use std::os::fd::OwnedFd;

use tokio::sync::{mpsc, oneshot};

use super::step::Dump;
use super::step::operation::{Operation, Why};

/// Wishes that wait for the loop; more askers wait in front of it.
const BACKLOG: usize = 32;

/// What is asked for, and who asked.
#[derive(Debug)]
pub enum Wish {
    /// Of the VM.
    Operation(Operation, Answer),
    /// The guest's memory is about to be dumped, or has been.
    Dump(Dump, Answer),
    /// Of the launcher: the program that is to take over.
    Upgrade(Upgrade, Answer),
}

/// An upgrade in place.
#[derive(Debug)]
pub struct Upgrade {
    /// By which it is told how it went.
    pub id: String,
    /// Sealed.
    pub program: OwnedFd,
}

/// Where the answer goes. An asker may have gone.
#[derive(Debug)]
pub struct Answer(oneshot::Sender<Result<bool, Refused>>);

/// Why a wish did not come true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not in this state.
    #[error(transparent)]
    Now(Why),
    /// QEMU or the agent did not do it, in their words.
    #[error("{0}")]
    Failed(String),
    /// It may have happened.
    #[error("the connection ended over it; `status` shows whether it happened")]
    Unknown,
}

/// Where wishes are sent.
#[derive(Debug, Clone)]
pub struct Wishes(mpsc::Sender<Wish>);

impl Answer {
    /// It is so; `changed` unless it was before.
    pub fn done(self, changed: bool) {
        let _gone = self.0.send(Ok(changed));
    }

    /// It is not.
    pub fn refused(self, why: Refused) {
        let _gone = self.0.send(Err(why));
    }
}

impl Wishes {
    /// Both ends.
    pub fn channel() -> (Self, mpsc::Receiver<Wish>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the answer: whether anything changed.
    pub async fn ask(&self, operation: Operation) -> Result<bool, Refused> {
        self.send(|answer| Wish::Operation(operation, answer)).await
    }

    /// Tells of a memory dump, and waits until it is known.
    pub async fn dump(&self, dump: Dump) -> Result<bool, Refused> {
        self.send(|answer| Wish::Dump(dump, answer)).await
    }

    /// Has an upgrade begun.
    pub async fn upgrade(&self, upgrade: Upgrade) -> Result<bool, Refused> {
        self.send(|answer| Wish::Upgrade(upgrade, answer)).await
    }

    async fn send(&self, wish: impl FnOnce(Answer) -> Wish) -> Result<bool, Refused> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.send(wish(Answer(answer))).await;
        sent.map_err(|_| Refused::Unknown)?;
        answered.await.unwrap_or(Err(Refused::Unknown))
    }
}
