//! `upgrade`: leaves the program where the supervisor finds it, and follows what becomes of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use qmp::{Delivery, Events};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ANSWER, CtlError, Desk};
use crate::control::STATUS_EVENT;
use crate::supervise::upgrade;

/// In the VM's private directory.
const NAME: &str = "virt-launcher.next";
/// Rehearsal, making way and trial, each at its longest, and some more.
const DEADLINE: Duration = Duration::from_secs(75);

/// Removed again whatever comes of it: what runs is a copy.
struct Left(Utf8PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        let _not_made = std::fs::remove_file(&self.0);
    }
}

/// Upgrades PID 1 and supervisor to `program`, to this very program where none is named.
pub(super) async fn upgrade(desk: Desk, program: Option<&Utf8Path>) -> Result<Value, CtlError> {
    let status = desk.ask("status", Value::Null, ANSWER).await?;
    let uid = status["uid"].as_str().ok_or(CtlError::Answer)?;
    if uid.is_empty() || uid.contains(['/', '.']) {
        return Err(CtlError::Answer);
    }
    let program = program.map_or_else(
        || numa::HostRoot::default().proc("self/exe"),
        Utf8Path::to_owned,
    );
    let left = Left(desk.directory.join(uid).join(NAME));
    let sha256 = copy(&program, &left.0).map_err(|source| CtlError::Copy {
        from: program,
        to: left.0.clone(),
        source,
    })?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // No two upgrades of one VM have the same name.
    let id = format!(
        "{}-{}",
        &sha256[..12],
        since.unwrap_or_default().as_millis()
    );
    let asked = json!({"file": NAME, "sha256": sha256, "id": id});
    desk.ask("upgrade", asked, ANSWER).await?;
    match timeout(DEADLINE, followed(desk, &id)).await {
        Ok(status) => {
            let (status, upgrade) = (status?, "upgrade");
            match status[upgrade]["stage"].as_str() {
                Some("done") => Ok(json!({
                    "operation": upgrade,
                    "changed": true,
                    "program": status["program"],
                    "pids": status["pids"],
                })),
                _ => Err(CtlError::NotUpgraded {
                    reason: status[upgrade]["reason"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                }),
            }
        }
        Err(_) => Err(CtlError::NotInTime {
            seconds: DEADLINE.as_secs(),
            state: "still trying the new program".to_owned(),
        }),
    }
}

/// QEMU's user may write there too: what lies there already is not written into.
fn copy(from: &Utf8Path, to: &Utf8Path) -> io::Result<String> {
    let mut from = File::open(from)?;
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut to = File::options()
        .write(true)
        .create_new(true)
        // The supervisor may be another user than we.
        .mode(0o755)
        .open(to)?;
    upgrade::copy(&mut from, &mut to)
}

/// The status that tells how it ended, from whichever supervisor knows.
async fn followed(mut desk: Desk, id: &str) -> Result<Value, CtlError> {
    loop {
        let events = desk.session.critical_events();
        let mut events = events.unwrap_or_else(|| desk.session.events());
        if let Some(status) = ended(&mut events, id).await {
            return Ok(status);
        }
        // The old supervisor has made way; PID 1 keeps the socket, in whose backlog we wait for the next.
        desk = Desk::at(desk.socket).await.map_err(|_| CtlError::Over)?;
    }
}

async fn ended(events: &mut Events, id: &str) -> Option<Value> {
    while let Some(delivery) = events.next().await {
        if let Delivery::Event(event) = delivery
            && event.name == STATUS_EVENT
            && event.data["upgrade"]["id"] == id
            && event.data["upgrade"]["stage"] != "under-way"
        {
            return Some(event.data.clone());
        }
    }
    None
}
