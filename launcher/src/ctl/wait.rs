//! `wait`: until the status says so. A supervisor that dies meanwhile is followed by another, which is asked again.

use std::time::Duration;

use qmp::{Delivery, Events};
use serde_json::Value;
use tokio::time::timeout;

use super::args::Awaited;
use super::{CtlError, Desk};
use crate::control::STATUS_EVENT;

/// Waits for `state`, `seconds` at the most (0: for ever).
pub(super) async fn wait(desk: Desk, state: Awaited, seconds: u64) -> Result<Value, CtlError> {
    let mut last = Value::Null;
    let until = until(desk, state, &mut last);
    let result = match seconds {
        0 => Ok(until.await),
        seconds => timeout(Duration::from_secs(seconds), until).await,
    };
    result.unwrap_or_else(|_| {
        let word = |key: &str| last[key].as_str().unwrap_or("unknown").to_owned();
        Err(CtlError::NotInTime {
            seconds,
            state: format!("{} ({})", word("state"), word("reason")),
        })
    })
}

async fn until(mut desk: Desk, state: Awaited, last: &mut Value) -> Result<Value, CtlError> {
    loop {
        let events = desk.session.critical_events();
        let mut events = events.unwrap_or_else(|| desk.session.events());
        if reached(&mut events, state, last).await {
            return Ok(last.clone());
        }
        // PID 1 keeps the socket open over a supervisor's death, and closes it with the VM.
        desk = match Desk::at(desk.socket).await {
            Ok(desk) => desk,
            Err(_) if state == Awaited::Ended => return Ok(last.clone()),
            Err(_) => return Err(CtlError::Over),
        };
    }
}

/// `false` when the supervisor is gone.
async fn reached(events: &mut Events, state: Awaited, last: &mut Value) -> bool {
    while let Some(delivery) = events.next().await {
        if let Delivery::Event(event) = delivery
            && event.name == STATUS_EVENT
        {
            last.clone_from(&event.data);
            if is(state, last) {
                return true;
            }
        }
    }
    false
}

fn is(wanted: Awaited, status: &Value) -> bool {
    match wanted {
        Awaited::Running => status["state"] == "Running",
        Awaited::Paused => status["state"] == "Paused" && status["phase"] == "running",
        Awaited::Ended => status["phase"] == "ended",
        Awaited::Agent => status["agentConnected"] == true,
    }
}
