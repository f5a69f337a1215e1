//! Why vCPUs stand still when nobody asked for it: QMP's `STOP` does not tell, so QEMU is asked.

use std::pin::Pin;

use numa::HostRoot;
use qmp::ExecuteError;

use super::Driver;
use crate::supervise::memory_death::MemoryDeath;
use crate::supervise::qemu;
use crate::supervise::step::resume::RunStatus;
use crate::supervise::step::{Input, Pause, Run};

/// Under way.
pub(super) type Question = Pin<Box<dyn Future<Output = Result<RunStatus, ExecuteError>>>>;

/// The answer, once there is one. Cancel-safe.
pub(super) async fn answered(question: &mut Option<Question>) -> Result<RunStatus, ExecuteError> {
    match question {
        Some(asked) => {
            let answer = asked.await;
            *question = None;
            answer
        }
        None => std::future::pending().await,
    }
}

impl Driver<'_> {
    /// What QEMU says of itself; a pause that nothing led up to makes us ask.
    pub(super) fn said(&mut self, input: Input) {
        let paused = input == Input::Paused;
        self.take(input);
        if paused
            && self.state.run == Run::Paused(Pause::Unknown)
            && let Some(session) = self.monitor.session().cloned()
        {
            self.why = Some(Box::pin(async move { qemu::run_state(&session).await }));
        }
    }

    pub(super) fn stands_still(&mut self, status: Result<RunStatus, ExecuteError>) {
        if !matches!(status, Ok(RunStatus::InternalError)) {
            return;
        }
        tracing::error!(
            event = "guest-crashed",
            "guest: QEMU cannot go on with it (internal error), its log says more; `ctl reset` and `ctl unpause` start it anew"
        );
        if let Some(why) = MemoryDeath::of_standstill(self.memory, &HostRoot::default()) {
            tracing::error!(event = "memory-death", why = ?why, "{why}");
        }
        self.take(Input::CannotGoOn);
    }
}
