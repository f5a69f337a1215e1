//! What takes its time beside the loop, and what follows from it: the start, the way to a QEMU that runs already.

use std::pin::Pin;

use numa::HostRoot;

use super::Driver;
use crate::apply::error::LaunchError;
use crate::apply::finish::finish_for_another;
use crate::apply::launch::Launched;
use crate::cold_code;
use crate::supervise::qemu::Monitor;
use crate::supervise::step::resume::Seen;
use crate::supervise::step::{Input, Phase};
use crate::supervise::takeover::{self, Taken, Unreachable};

/// What is under way beside the loop.
pub(super) enum Done {
    Launched(Result<Launched, LaunchError>),
    Taken(Result<Taken, Unreachable>),
    Finished(Result<(), LaunchError>),
}

pub(super) type Work<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

impl<'a> Driver<'a> {
    pub(super) fn reach_qemu(&mut self) -> Work<'a> {
        self.generation += 1;
        let (plan, generation) = (self.plan, self.generation);
        Box::pin(async move { Done::Taken(takeover::take(plan, generation).await) })
    }

    /// What follows from work that is done; there may be more.
    pub(super) fn done(&mut self, done: Done) -> Option<Work<'a>> {
        self.launching = false;
        match done {
            Done::Launched(Ok(launched)) => {
                self.launched(launched);
                None
            }
            Done::Launched(Err(error)) | Done::Finished(Err(error)) => {
                self.error = Some(error);
                self.take(Input::StartFailed);
                None
            }
            Done::Taken(Err(error)) => {
                tracing::warn!(event = "monitor-lost", error = %crate::causes::chain(&error), "QEMU is out of reach");
                self.take(Input::MonitorLost);
                None
            }
            Done::Taken(Ok(Taken { monitor, seen })) => {
                self.monitor = monitor;
                self.taken(seen)
            }
            Done::Finished(Ok(())) => {
                self.take(Input::Started {
                    paused: self.plan.lifecycle.start_paused,
                });
                None
            }
        }
    }

    pub(super) fn launched(&mut self, launched: Launched) {
        let Launched {
            session,
            events,
            servers,
            monitors,
            qemu,
        } = launched;
        self.settled = true;
        servers.start();
        self.services.watch_network(self.plan, monitors);
        self.services.bound_logs(self.plan);
        self.services.serve_control(self.plan, self.pid1, &session);
        self.services
            .serve_metrics(self.plan, self.pid1, &session, qemu);
        self.services.record_host_model(self.plan, &session);
        self.services.keep_in_place(self.plan, &session, qemu);
        self.services.watch_devices(self.plan, &session);
        self.monitor = Monitor::Live { session, events };
        self.take(Input::Started {
            paused: self.plan.lifecycle.start_paused,
        });
        self.ready();
    }

    pub(super) fn taken(&mut self, seen: Seen) -> Option<Work<'a>> {
        let session = self.monitor.session().cloned()?;
        self.resume(seen);
        let qemu = self.qemu_pid?;
        self.services.serve_control(self.plan, self.pid1, &session);
        self.services
            .serve_metrics(self.plan, self.pid1, &session, qemu);
        tracing::info!(
            event = "taken-up",
            ms = crate::local::outer::millis(self.started),
            restarts = self.hello.restarts,
            minimal = self.hello.minimal,
            phase = ?self.state.phase,
            "supervisor: QEMU is in hand"
        );
        self.ready();
        let (plan, started) = (self.plan, self.started);
        self.services.keep_in_place(self.plan, &session, qemu);
        self.services.watch_devices(self.plan, &session);
        if self.state.phase != Phase::Starting {
            return None;
        }
        Some(Box::pin(async move {
            Done::Finished(finish_for_another(plan, &session, qemu, started).await)
        }))
    }

    pub(super) fn ready(&self) {
        // PID 1's end is heard by itself.
        let _gone = self.pid1.ready();
        cold_code::unmap(&HostRoot::default());
    }
}

pub(super) async fn finished<F: Future + Unpin>(work: &mut Option<F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
