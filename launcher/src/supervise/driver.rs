//! The one loop that owns the VM: hears PID 1, QEMU and the clock, steps the state machine, does what it says.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use qmp::{Delivery, Known, Session};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::channel::Pid1;
use super::cpuset;
use super::logs;
use super::outcome::Outcome;
use super::step::{Action, Alarm, Input, ShutdownCause, State, Terms, step};
use crate::apply::launch::{LaunchError, Launched, launch};
use crate::control;
use crate::monitor::channel::Packet;
use crate::monitor::pidfd::pidfd_signal;
use crate::monitor::protocol::{ExitStatus, Tell};
use crate::plan::LaunchPlan;
use crate::verify::Identity;

/// A command that only flips a state in QEMU.
const ANSWER: Duration = Duration::from_secs(10);
/// PID 1 tells of QEMU's end; the monitor's end of file may be a moment ahead of it.
const EXIT_FOLLOWS: Duration = Duration::from_secs(2);

/// How it went.
#[derive(Debug)]
pub enum Ended {
    /// The VM started, or was ended while it did.
    Vm(Outcome),
    /// The VM did not start; how QEMU ended, where it did.
    Launch(LaunchError, Option<ExitStatus>),
    /// PID 1 is gone: nobody can be told, and the kernel ends this process too.
    Pid1Gone,
}

/// Runs one VM from its plan to its end.
pub async fn run(plan: &LaunchPlan, pid1: &Pid1) -> Ended {
    let (answer, spawned) = oneshot::channel();
    let asked = Cell::new(false);
    let mut driver = Driver::new(plan, answer);
    let mut launching = Some(Box::pin(launch(plan, pid1, || asked.set(true), spawned)));
    loop {
        tokio::select! {
            packet = pid1.hear() => match packet {
                Ok(packet) => driver.heard(packet),
                Err(_) => return Ended::Pid1Gone,
            },
            result = finished(&mut launching) => {
                launching = None;
                driver.launched(result);
            }
            input = driver.monitor.next() => driver.take(input),
            alarm = driver.alarms.next() => driver.take(Input::Alarm(alarm)),
            Some(input) = driver.failures.recv() => driver.take(input),
        }
        if driver.is_cancelled() {
            // What it has under way ends with it; the pod's namespaces follow.
            launching = None;
        }
        if launching.is_none()
            && let Some(ended) = driver.ended(asked.get())
        {
            return ended;
        }
    }
}

async fn finished<F: Future + Unpin>(work: &mut Option<F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

struct Driver<'a> {
    plan: &'a LaunchPlan,
    terms: Terms,
    state: State,
    /// For the launch, which waits for PID 1's word.
    answer: Option<oneshot::Sender<Result<i32, String>>>,
    not_spawned: bool,
    qemu: Option<OwnedFd>,
    exit: Option<ExitStatus>,
    error: Option<LaunchError>,
    monitor: Monitor,
    alarms: Alarms,
    fail: mpsc::UnboundedSender<Input>,
    failures: mpsc::UnboundedReceiver<Input>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a LaunchPlan, answer: oneshot::Sender<Result<i32, String>>) -> Self {
        // At most one message an action, and actions are few: no bound is needed.
        let (fail, failures) = mpsc::unbounded_channel();
        let lifecycle = &plan.lifecycle;
        Self {
            plan,
            terms: Terms {
                grace: Duration::from_secs(lifecycle.grace_period_seconds),
                acpi: lifecycle.acpi,
            },
            state: State::Starting,
            answer: Some(answer),
            not_spawned: false,
            qemu: None,
            exit: None,
            error: None,
            monitor: Monitor::Absent,
            alarms: Alarms::default(),
            fail,
            failures,
        }
    }

    fn heard(&mut self, packet: Packet<Tell>) {
        match packet.message {
            Tell::Spawned { pid } => {
                self.qemu = packet.files.into_iter().next();
                if matches!(self.state, State::Quitting { .. }) {
                    // It was called off while PID 1 started it.
                    self.kill();
                }
                self.answer_launch(Ok(pid));
            }
            Tell::SpawnFailed { reason } => {
                self.not_spawned = true;
                self.answer_launch(Err(reason));
            }
            Tell::Exited { status } => {
                self.exit = Some(status);
                self.take(Input::QemuExited(status));
            }
            Tell::Signal { number } => {
                let name = Signal::try_from(number).map_or("a signal", Signal::as_str);
                tracing::info!(
                    event = "signal",
                    signal = name,
                    "{name}: the guest is asked to end"
                );
                self.take(Input::Terminate);
            }
        }
    }

    fn answer_launch(&mut self, answer: Result<i32, String>) {
        if let Some(launch) = self.answer.take() {
            let _called_off = launch.send(answer);
        }
    }

    fn launched(&mut self, result: Result<Launched, LaunchError>) {
        match result {
            Ok(Launched {
                session,
                events,
                servers,
                qemu,
                threads,
            }) => {
                servers.start();
                self.serve(&session);
                if let Some(threads) = threads {
                    tokio::spawn(keep_in_place(self.plan.clone(), qemu, threads));
                }
                self.monitor = Monitor::Live { session, events };
                self.take(Input::Started {
                    paused: self.plan.lifecycle.start_paused,
                });
            }
            Err(error) => {
                self.error = Some(error);
                self.take(Input::Failed);
            }
        }
    }

    /// What runs beside the guest and never touches its run: a server that fails is reported, no more.
    fn serve(&self, session: &Session) {
        let mut paths = vec![self.plan.paths.qemu_log(self.plan.uid)];
        if self.plan.lifecycle.serial_console {
            paths.push(self.plan.paths.serial_log(self.plan.uid));
        }
        tokio::spawn(async move {
            let error = logs::bound(paths, logs::LIMIT).await;
            tracing::error!(event = "logs-unbounded", error = %error, "console and QEMU logs are not bounded any more");
        });
        self.serve_inspection(session);
        if self.plan.lifecycle.host_model {
            tokio::spawn(record_host_model(
                session.clone(),
                self.plan.paths.vm(self.plan.uid).join("cpu-model.json"),
            ));
        }
    }

    fn serve_inspection(&self, session: &Session) {
        let path = self.plan.paths.control();
        match control::bind(&path).and_then(UnixListener::from_std) {
            Ok(listener) => {
                let policy = control::Policy::for_uid(nix::unistd::geteuid().as_raw());
                tokio::spawn(control::serve(listener, session.clone(), policy));
            }
            Err(error) => {
                tracing::warn!(event = "no-inspection", path = %path, error = %error, "`virt-launcher qmp` cannot be served");
            }
        }
    }

    /// One input: step, then do what the machine says.
    fn take(&mut self, input: Input) {
        let before = std::mem::replace(&mut self.state, State::Starting);
        let (state, actions) = step(&self.terms, before.clone(), input);
        if state != before {
            tracing::debug!(event = "state", from = ?before, to = ?state, "the VM's state changed");
        }
        self.state = state;
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::PressPowerButton => self.command("system_powerdown"),
            Action::Resume => self.command("cont"),
            Action::Quit => self.command("quit"),
            Action::Kill => self.kill(),
            Action::Set(alarm, after) => self.alarms.set(alarm, after),
            Action::ClearAlarms => self.alarms.clear(),
        }
    }

    /// Sends a command and goes on; only its failure comes back.
    fn command(&self, name: &'static str) {
        let Monitor::Live { session, .. } = &self.monitor else {
            let _same_task = self.fail.send(Input::Failed);
            return;
        };
        let (session, fail) = (session.clone(), self.fail.clone());
        tokio::spawn(async move {
            match session.execute_raw(name, json!({}), ANSWER).await {
                Ok(_) => {}
                // The session's own end is heard by itself, and is what `quit` is for.
                Err(_) if session.close_reason().is_some() => {}
                Err(error) => {
                    tracing::warn!(event = "command-failed", command = name, error = %crate::cli::chain(&error), "QEMU did not do it");
                    let _over = fail.send(Input::Failed);
                }
            }
        });
    }

    fn kill(&self) {
        // Without a QEMU there is nothing to kill; one that PID 1 is about to start is killed when we hear of it.
        if let Some(pidfd) = &self.qemu {
            let _gone = pidfd_signal(pidfd.as_fd(), Signal::SIGKILL);
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(
            &self.state,
            State::Quitting {
                because: Outcome::Cancelled
            } | State::Ended(Outcome::Cancelled)
        )
    }

    fn ended(&mut self, asked: bool) -> Option<Ended> {
        let never_ran = !asked || self.not_spawned;
        match (&self.state, never_ran) {
            (State::Ended(outcome), _) => Some(match self.error.take() {
                Some(error) => Ended::Launch(error, self.exit),
                None => Ended::Vm(outcome.clone()),
            }),
            (State::Quitting { because }, true) => Some(match self.error.take() {
                Some(error) => Ended::Launch(error, None),
                None => Ended::Vm(because.clone()),
            }),
            _ => None,
        }
    }
}

/// QEMU's side.
enum Monitor {
    Absent,
    Live {
        session: Session,
        events: qmp::Events,
    },
    /// The session ended; QEMU's exit follows, or it is truly lost.
    Lost {
        at: Instant,
    },
    Over,
}

impl Monitor {
    /// The next thing that matters. Cancel-safe.
    async fn next(&mut self) -> Input {
        loop {
            match self {
                Self::Absent | Self::Over => std::future::pending().await,
                Self::Lost { at } => {
                    sleep_until(*at).await;
                    *self = Self::Over;
                    return Input::MonitorLost;
                }
                Self::Live { session, events } => match events.next().await {
                    Some(Delivery::Event(event)) => {
                        if let Some(input) = event.known.as_ref().and_then(input_of) {
                            return input;
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

fn input_of(event: &Known) -> Option<Input> {
    Some(match event {
        Known::Shutdown { guest, reason } => Input::GuestShutdown(cause(*guest, reason)),
        Known::GuestPanicked { .. } => Input::GuestPanicked,
        Known::Stop => Input::Paused,
        Known::Resume => Input::Resumed,
        _ => return None,
    })
}

fn cause(guest: bool, reason: &qmp::OrOther<qmp::qmp::ShutdownCause>) -> ShutdownCause {
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

async fn keep_in_place(plan: LaunchPlan, qemu: i32, threads: Identity) {
    if let Err(error) = cpuset::keep(&plan, qemu, &threads).await {
        tracing::warn!(event = "cpuset-unwatched", error = %error, "a change of the pod's CPUs will not be noticed");
    }
}

/// `host-model` is `-cpu host`: what that meant here is written down for whoever migrates or wonders.
async fn record_host_model(session: Session, path: camino::Utf8PathBuf) {
    let model = json!({"type": "full", "model": {"name": "host"}});
    match session
        .execute_raw("query-cpu-model-expansion", model, ANSWER)
        .await
    {
        Ok(expansion) => {
            if let Err(error) = std::fs::write(&path, expansion.to_string()) {
                tracing::warn!(event = "cpu-model-not-recorded", path = %path, error = %error, "the host's CPU model is not recorded");
            }
        }
        Err(error) => {
            tracing::warn!(event = "cpu-model-not-recorded", error = %crate::cli::chain(&error), "the host's CPU model is not recorded");
        }
    }
}

/// Timers by what they are for.
#[derive(Debug, Default)]
struct Alarms {
    set: BTreeMap<Alarm, Instant>,
}

impl Alarms {
    fn set(&mut self, alarm: Alarm, after: Duration) {
        self.set.insert(alarm, Instant::now() + after);
    }

    fn clear(&mut self) {
        self.set.clear();
    }

    /// The next to go off; it is forgotten then. Cancel-safe.
    async fn next(&mut self) -> Alarm {
        let Some((alarm, at)) = self
            .set
            .iter()
            .map(|(alarm, at)| (*alarm, *at))
            .min_by_key(|(_, at)| *at)
        else {
            return std::future::pending().await;
        };
        sleep_until(at).await;
        self.set.remove(&alarm);
        alarm
    }
}
