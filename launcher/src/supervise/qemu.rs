//! QEMU's side of the loop: its events as the state machine's inputs, and what it answers when asked what is true.

use std::time::Duration;

use qmp::{Delivery, Event, ExecuteError, Known, OrOther, Session};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::step::resume::{RunStatus, Seen};
use super::step::{Bark, Input, IoError, ShutdownCause};

/// PID 1 tells of QEMU's end; the monitor's end of file may be a moment ahead of it.
const EXIT_FOLLOWS: Duration = Duration::from_secs(2);
/// A query that only reads.
const ANSWER: Duration = Duration::from_secs(10);
/// Device id of the agent's port, and its chardev.
const AGENT_PORT: &str = "channel0";
const AGENT_CHARDEV: &str = "charchannel0";
/// Host words are short; a guest has no hand in them, a newer QEMU may.
const LONGEST_REASON: usize = 256;

/// The monitor, and whether it is there.
#[derive(Debug)]
pub enum Monitor {
    /// Not yet.
    Absent,
    /// It answers.
    Live {
        /// For commands.
        session: Session,
        /// Everything that QEMU tells.
        events: qmp::Events,
    },
    /// The session ended; QEMU's exit follows, or it can be had again.
    Lost {
        /// When to try.
        at: Instant,
    },
}

/// What the monitor has to say.
#[derive(Debug)]
pub enum Word {
    /// For the state machine.
    Input(Input),
    /// The session ended and QEMU's exit did not follow.
    Gone,
}

impl Monitor {
    /// The session, while there is one.
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Live { session, .. } => Some(session),
            Self::Absent | Self::Lost { .. } => None,
        }
    }

    /// The next thing that matters. Cancel-safe.
    pub async fn next(&mut self) -> Word {
        loop {
            match self {
                Self::Absent => std::future::pending().await,
                Self::Lost { at } => {
                    sleep_until(*at).await;
                    *self = Self::Absent;
                    return Word::Gone;
                }
                Self::Live { session, events } => match events.next().await {
                    Some(Delivery::Event(event)) => {
                        tell_poison(&event);
                        if let Some(input) = input_of(&event) {
                            return Word::Input(input);
                        }
                    }
                    Some(Delivery::Missed(count)) => {
                        tracing::warn!(
                            event = "events-missed",
                            count,
                            "QEMU's events came too fast"
                        );
                    }
                    None => {
                        let reason = session.closed().await;
                        tracing::debug!(event = "monitor-closed", %reason, "QEMU's monitor is closed");
                        *self = Self::Lost {
                            at: Instant::now() + EXIT_FOLLOWS,
                        };
                    }
                },
            }
        }
    }
}

/// A page of the guest's memory that hardware has broken: QEMU hands the error on to a guest that can take it.
fn tell_poison(event: &Event) {
    if event.name == "MEMORY_FAILURE" {
        let word = |name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
        let (whose, done) = (word("recipient"), word("action"));
        tracing::error!(
            event = "memory-poisoned",
            recipient = whose,
            action = done,
            "a page of the {whose}'s memory is poisoned ({done}): the host's hardware has an error there; see its kernel log, and move VMs away"
        );
    }
}

fn input_of(event: &Event) -> Option<Input> {
    Some(match event.known.as_ref()? {
        Known::Shutdown { guest, reason } => Input::GuestShutdown(cause(*guest, reason)),
        Known::GuestPanicked { info, .. } => {
            tracing::error!(
                event = "guest-panicked",
                info = %info,
                "the guest's kernel panicked"
            );
            Input::GuestPanicked
        }
        Known::Reset { .. } => Input::GuestReset,
        Known::Stop => Input::Paused,
        Known::Resume => Input::Resumed,
        Known::Watchdog { action } => {
            let bark = bark(action);
            tracing::error!(event = "watchdog", action = ?bark, "guest: it did not feed its watchdog");
            Input::Watchdog(bark)
        }
        Known::BlockIoError {
            device,
            node_name,
            action,
            nospace,
            reason,
            ..
        } => {
            let path = event.data["qom-path"].as_str().unwrap_or_default();
            let fallback = node_name.as_deref().unwrap_or(device);
            Input::DiskFailed {
                error: IoError {
                    disk: disk(path, fallback),
                    no_space: *nospace,
                    reason: reason.chars().take(LONGEST_REASON).collect(),
                },
                stops: *action == qmp::qmp::BlockErrorAction::stop,
            }
        }
        Known::VserportChange { id, open } if id == AGENT_PORT => Input::Agent { connected: *open },
        _ => return None,
    })
}

fn bark(action: &OrOther<qmp::qmp::WatchdogAction>) -> Bark {
    use qmp::qmp::WatchdogAction;
    let known = [
        (WatchdogAction::pause, Bark::Pause),
        (WatchdogAction::poweroff, Bark::Poweroff),
        (WatchdogAction::reset, Bark::Reset),
        (WatchdogAction::shutdown, Bark::Shutdown),
    ];
    let found = known.iter().find(|(theirs, _)| action == theirs);
    found.map_or(Bark::Other, |(_, ours)| *ours)
}

fn cause(guest: bool, reason: &OrOther<qmp::qmp::ShutdownCause>) -> ShutdownCause {
    if *reason == qmp::qmp::ShutdownCause::guest_panic {
        ShutdownCause::GuestPanic
    } else if *reason == qmp::qmp::ShutdownCause::guest_reset {
        ShutdownCause::GuestReset
    } else if guest {
        ShutdownCause::Guest
    } else {
        ShutdownCause::Host
    }
}

/// The VMI's name for a disk: its device's id is `ua-NAME`, in a path or alone.
fn disk(device: &str, fallback: &str) -> String {
    let name = device.split('/').find_map(|part| part.strip_prefix("ua-"));
    name.unwrap_or(fallback).to_owned()
}

/// Asks QEMU what is true.
pub async fn look(session: &Session) -> Result<Seen, ExecuteError> {
    let ask = |name: &'static str| session.execute_raw(name, json!({}), ANSWER);
    let (status, block, chardevs) = tokio::try_join!(
        ask("query-status"),
        ask("query-block"),
        ask("query-chardev")
    )?;
    Ok(seen(&status, &block, &chardevs))
}

/// `query-status` alone.
pub async fn run_state(session: &Session) -> Result<RunStatus, ExecuteError> {
    let status = session
        .execute_raw("query-status", json!({}), ANSWER)
        .await?;
    Ok(run_status(status["status"].as_str().unwrap_or_default()))
}

fn seen(status: &Value, block: &Value, chardevs: &Value) -> Seen {
    let all = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let failed = all(block)
        .iter()
        .filter_map(|one| {
            let no_space = match one["io-status"].as_str()? {
                "failed" => false,
                "nospace" => true,
                _ => return None,
            };
            let device = one["qdev"].as_str().unwrap_or_default();
            Some(IoError {
                disk: disk(device, one["device"].as_str().unwrap_or_default()),
                no_space,
                reason: match no_space {
                    true => "No space left on device",
                    false => "I/O error",
                }
                .to_owned(),
            })
        })
        .collect();
    let agent = all(chardevs)
        .iter()
        .any(|one| one["label"] == AGENT_CHARDEV && one["frontend-open"] == true);
    Seen::Runs {
        status: run_status(status["status"].as_str().unwrap_or_default()),
        failed,
        agent,
    }
}

/// QEMU's `RunState` (`qapi/run-state.json`).
fn run_status(name: &str) -> RunStatus {
    match name {
        "running" | "suspended" => RunStatus::Running,
        "prelaunch" | "inmigrate" => RunStatus::Prelaunch,
        "io-error" => RunStatus::IoError,
        "watchdog" => RunStatus::Watchdog,
        // Nothing else of ours stops a guest that way (QEMU's `dump_init`).
        "save-vm" => RunStatus::Dump,
        "internal-error" => RunStatus::InternalError,
        "shutdown" => RunStatus::Shutdown,
        "guest-panicked" => RunStatus::Panicked,
        _ => RunStatus::Paused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_answers_names_the_failed_disk_and_the_agent() {
        let block = json!([
            {"device": "", "qdev": "/machine/peripheral/ua-data/virtio-backend", "io-status": "nospace"},
            {"device": "", "qdev": "ua-seed", "io-status": "ok"},
            {"device": "floppy"},
        ]);
        let chardevs = json!([{"label": "charchannel0", "frontend-open": true, "filename": "x"}]);
        let Seen::Runs {
            status,
            failed,
            agent,
        } = seen(&json!({"status": "io-error"}), &block, &chardevs)
        else {
            panic!("it runs");
        };
        assert_eq!((status, agent), (RunStatus::IoError, true));
        assert_eq!(failed.len(), 1);
        assert_eq!(
            (failed[0].disk.as_str(), failed[0].no_space),
            ("data", true)
        );
    }

    #[test]
    fn a_disk_without_a_name_keeps_qemus() {
        assert_eq!(disk("/machine/unattached/device[3]", "node7"), "node7");
    }
}
