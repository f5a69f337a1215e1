//! The last steps of a start, which take no privilege: a supervisor that follows one that died before them does them.

use std::time::{Duration, Instant};

use qmp::Session;
use serde_json::json;

use super::error::LaunchError;
use super::launch::ms;
use super::{records, threads};
use crate::plan::LaunchPlan;
use crate::verify::Identity;

/// Any answer of the monitor but the greeting.
const ANSWER: Duration = Duration::from_secs(20);

/// What QEMU takes only over QMP while the guest stands still, then `cont`, unless the guest is to be left paused.
/// Doing it twice changes nothing. `threads` are QEMU's, where they were placed.
pub async fn finish(
    plan: &LaunchPlan,
    session: &Session,
    qemu: i32,
    threads: Option<&Identity>,
    started: Instant,
) -> Result<(), LaunchError> {
    for step in &plan.before_cont {
        execute(session, &step.execute, step.arguments.clone()).await?;
    }
    if let Some(identity) = threads {
        let report = threads::confirm(qemu, identity, plan)?;
        records::write(&plan.paths.placement(plan.uid), &report)?;
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

/// As [`finish`], where somebody else had placed the threads.
pub async fn finish_for_another(
    plan: &LaunchPlan,
    session: &Session,
    qemu: i32,
    started: Instant,
) -> Result<(), LaunchError> {
    let identity = match threads::is_placed(&plan.placement) {
        true => Some(
            Identity::ask(session, &plan.placement)
                .await
                .map_err(threads::PlaceError::from)?,
        ),
        false => None,
    };
    finish(plan, session, qemu, identity.as_ref(), started).await
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
