//! What the state machine wants done, carried out beside the loop; each comes back as done, failed or unknown.

use std::time::Duration;

use qmp::Session;
use qmp::qga::GuestShutdownMode;
use serde_json::json;
use tokio::sync::mpsc;

use super::agent::Port;
use super::step::Action;
use super::wishes::{Answer, Refused};

/// A command that only flips a state in QEMU.
const ANSWER: Duration = Duration::from_secs(10);

/// What became of an action.
#[derive(Debug)]
pub struct Report {
    /// Which.
    pub action: Action,
    /// Done or failed; none: the session ended over it, and what is true will be asked.
    pub result: Option<bool>,
}

/// Begins actions.
#[derive(Debug)]
pub struct Commands {
    agent: Port,
    reports: mpsc::UnboundedSender<Report>,
}

enum Failure {
    /// It did not happen.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

impl Commands {
    /// At most one report an action, and actions are few: no bound is needed.
    pub fn new(agent: Port) -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (reports, receiver) = mpsc::unbounded_channel();
        (Self { agent, reports }, receiver)
    }

    /// Sends a command and goes on; its end is reported, and told to whoever asked for it.
    pub fn begin(&self, action: Action, session: Option<&Session>, asker: Option<Answer>) {
        let (agent, reports) = (self.agent.clone(), self.reports.clone());
        let session = session.cloned();
        tokio::spawn(async move {
            let result = match qmp_name(&action) {
                Some(name) => qmp(session, name).await,
                None => ask_agent(&agent, &action).await,
            };
            let reported = match &result {
                Ok(()) => Some(true),
                Err(Failure::Refused(why)) => {
                    tracing::warn!(event = "command-failed", command = ?action, error = why, "it was not done");
                    Some(false)
                }
                Err(Failure::Unknown) => None,
            };
            if let Some(asker) = asker {
                match result {
                    Ok(()) => asker.done(true),
                    Err(Failure::Refused(why)) => asker.refused(Refused::Failed(why)),
                    Err(Failure::Unknown) => asker.refused(Refused::Unknown),
                }
            }
            let result = reported;
            let _over = reports.send(Report { action, result });
        });
    }
}

fn qmp_name(action: &Action) -> Option<&'static str> {
    Some(match action {
        Action::PressPowerButton => "system_powerdown",
        Action::Pause => "stop",
        Action::Resume => "cont",
        Action::Reset => "system_reset",
        Action::Quit => "quit",
        _ => return None,
    })
}

async fn qmp(session: Option<Session>, name: &str) -> Result<(), Failure> {
    let Some(session) = session else {
        return Err(Failure::Refused("QEMU's monitor is not connected".into()));
    };
    match session.execute_raw(name, json!({}), ANSWER).await {
        Ok(_) => Ok(()),
        // The session's own end is heard by itself, and is what `quit` is for.
        Err(_) if session.close_reason().is_some() => Err(Failure::Unknown),
        Err(error) => Err(Failure::Refused(crate::causes::chain(&error))),
    }
}

async fn ask_agent(agent: &Port, action: &Action) -> Result<(), Failure> {
    let asked = match action {
        Action::AskAgentToPowerOff => agent.shut_down(GuestShutdownMode::Powerdown).await,
        Action::AskAgentToReboot => agent.shut_down(GuestShutdownMode::Reboot).await,
        Action::Freeze => agent.freeze().await,
        Action::Thaw => agent.thaw().await,
        _ => Ok(()),
    };
    asked.map_err(|error| Failure::Refused(crate::causes::chain(&error)))
}
