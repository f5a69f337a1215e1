//! Getting hold of a QEMU that runs already: for a supervisor that follows a dead one, and for one whose session broke.

use std::time::Duration;

use qmp::{ConnectError, ExecuteError, Session};
use tokio::time::sleep;

use super::qemu::{self, Monitor};
use super::step::resume::Seen;
use crate::plan::LaunchPlan;

/// QEMU greets at once, unless its main loop hangs or it has not seen its former client's end yet.
const GREETING: Duration = Duration::from_secs(10);
/// Between two tries to reach a monitor that hangs.
const AGAIN: Duration = Duration::from_secs(1);

/// QEMU in hand.
#[derive(Debug)]
pub struct Taken {
    /// [`Monitor::Live`].
    pub monitor: Monitor,
    /// What is true.
    pub seen: Seen,
}

/// Nobody listens on QEMU's monitor: it is ending, or was told to close it.
#[derive(Debug, thiserror::Error)]
#[error("QEMU's monitor cannot be reached any more")]
pub struct Unreachable(#[source] ConnectError);

/// Connects and asks. A monitor that hangs is waited for, for ever: its guest may well run on. `generation` marks
/// this session's commands, so that late replies to a former one's are known as such.
pub async fn take(plan: &LaunchPlan, generation: u64) -> Result<Taken, Unreachable> {
    let path = plan.paths.qmp(plan.uid);
    let options = qmp::Options {
        greeting: GREETING,
        generation,
        ..qmp::Options::default()
    };
    let mut told = false;
    loop {
        let trouble = match Session::connect(path.as_std_path(), options.clone()).await {
            Ok(session) => match ask(&session).await {
                Ok(taken) => return Ok(taken),
                Err(error) => crate::causes::chain(&error),
            },
            Err(error @ ConnectError::Connect { .. }) => return Err(Unreachable(error)),
            Err(error) => crate::causes::chain(&error),
        };
        if !told {
            tracing::warn!(
                event = "monitor-hangs",
                error = trouble,
                "QEMU's monitor does not answer; the guest is left alone and the monitor tried again"
            );
            told = true;
        }
        sleep(AGAIN).await;
    }
}

async fn ask(session: &Session) -> Result<Taken, ExecuteError> {
    // From before the questions, so that what happens after them is told.
    let events = session
        .critical_events()
        .unwrap_or_else(|| session.events());
    let seen = qemu::look(session).await?;
    Ok(Taken {
        monitor: Monitor::Live {
            session: session.clone(),
            events,
        },
        seen,
    })
}
