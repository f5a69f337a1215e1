//! The last steps of a start, which take no privilege: a supervisor that follows one that died before them does them.

use std::time::{Duration, Instant};

use qmp::Session;
use serde_json::json;

use super::launch::{LaunchError, ms};
use crate::plan::LaunchPlan;

/// Any answer of the monitor but the greeting.
const ANSWER: Duration = Duration::from_secs(20);

/// What QEMU takes only over QMP while the guest stands still, then `cont`, unless the guest is to be left paused.
/// Doing it twice changes nothing.
pub async fn finish(
    plan: &LaunchPlan,
    session: &Session,
    started: Instant,
) -> Result<(), LaunchError> {
    for step in &plan.before_cont {
        execute(session, &step.execute, step.arguments.clone()).await?;
    }
    if plan.lifecycle.start_paused {
        tracing::info!(
            event = "guest-paused",
            ms = ms(started),
            "guest: left paused as asked"
        );
        return Ok(());
    }
    execute(session, "cont", json!({})).await?;
    tracing::info!(event = "guest-running", ms = ms(started), "guest: running");
    Ok(())
}

async fn execute(
    session: &Session,
    command: &str,
    arguments: serde_json::Value,
) -> Result<(), LaunchError> {
    let done = session.execute_raw(command, arguments, ANSWER).await;
    done.map(drop).map_err(|source| LaunchError::Command {
        command: command.to_owned(),
        source,
    })
}
