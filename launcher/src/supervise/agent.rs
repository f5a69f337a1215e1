//! The guest agent, reached when it is needed.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use qmp::qga::{GuestShutdownMode, guest_fsfreeze_freeze, guest_fsfreeze_thaw, guest_shutdown};
use qmp::{Agent, AgentError};
use serde_json::Value;
use tokio::sync::Mutex;

/// An agent that is there answers within milliseconds; freezing waits for the guest's disks.
const ANSWER: Duration = Duration::from_secs(5);
const FREEZE: Duration = Duration::from_secs(60);

/// The agent's port. One connection, made by the first who needs it and again after a failure.
#[derive(Debug, Clone)]
pub struct Port {
    path: Utf8PathBuf,
    agent: Arc<Mutex<Option<Agent>>>,
}

impl Port {
    /// The chardev socket at `path`; nothing is connected yet.
    pub fn new(path: Utf8PathBuf) -> Self {
        Self {
            path,
            agent: Arc::default(),
        }
    }

    /// A session. What a call is answered shows whether an agent is there.
    pub async fn agent(&self) -> Result<Agent, AgentError> {
        let mut agent = self.agent.lock().await;
        match &*agent {
            Some(agent) => Ok(agent.clone()),
            None => Ok(agent
                .insert(Agent::connect(self.path.as_std_path()).await?)
                .clone()),
        }
    }

    /// The next call connects anew.
    pub async fn forget(&self) {
        *self.agent.lock().await = None;
    }

    /// One command by name.
    pub async fn ask(&self, name: &str, arguments: Value) -> Result<Value, AgentError> {
        let agent = self.agent().await?;
        self.kept(agent.execute_raw(name, arguments, ANSWER).await)
            .await
    }

    /// `guest-shutdown`, which answers nothing when it works.
    pub async fn shut_down(&self, mode: GuestShutdownMode) -> Result<(), AgentError> {
        let command = guest_shutdown { mode: Some(mode) };
        self.kept(self.agent().await?.send(command, ANSWER).await)
            .await
    }

    /// Freezes all file systems.
    pub async fn freeze(&self) -> Result<(), AgentError> {
        let agent = self.agent().await?;
        let frozen = agent.execute(guest_fsfreeze_freeze {}, FREEZE).await;
        self.kept(frozen.map(drop)).await
    }

    /// Thaws them; one call thaws all.
    pub async fn thaw(&self) -> Result<(), AgentError> {
        let agent = self.agent().await?;
        let thawed = agent.execute(guest_fsfreeze_thaw {}, FREEZE).await;
        self.kept(thawed.map(drop)).await
    }

    /// A connection that failed is not used again.
    async fn kept<T>(&self, result: Result<T, AgentError>) -> Result<T, AgentError> {
        if matches!(result, Err(AgentError::Io { .. })) {
            self.forget().await;
        }
        result
    }
}
