//! The one loop that owns the VM: hears PID 1, QEMU, people and the clock, steps the state machine, does what it says.
//!
//! What is decided is journaled before it is done, so that a supervisor that follows finds it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use numa::HostRoot;
use tokio::sync::{mpsc, oneshot};

use super::agent::Port;
use super::alarms::Alarms;
use super::channel::{Found, Pid1};
use super::commands::{Commands, Report};
use super::host_devices;
use super::journal::Journal;
use super::memory_death::{Counts, MemoryDeath};
use super::outcome::Outcome;
use super::qemu::{Monitor, Word};
use super::services::Services;
use super::state_dir::{JOURNAL, PLAN, STATUS, StateDir};
use super::step::operation::{Admission, admit};
use super::step::resume::{Left, Seen, resume};
use super::step::{Action, Alarm, Input, Phase, State, Terms, step};
use super::takeover::{self, Taken, Unreachable};
use super::wishes::{Answer, Refused, Wish};
use crate::apply::error::LaunchError;
use crate::apply::finish::finish_for_another;
use crate::apply::launch::{Launched, launch};
use crate::monitor::channel::Packet;
use crate::monitor::pidfd::pidfd_signal;
use crate::monitor::protocol::{ExitStatus, Hello, Tell};
use crate::plan::LaunchPlan;
use crate::spec::RebootPolicy;
use crate::status::{Circumstances, Pids, status};

/// What a supervisor without a journal holds back until it has seen QEMU.
const MOST_HELD: usize = 16;

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

/// What is under way beside the loop.
enum Done {
    Launched(Result<Launched, LaunchError>),
    Taken(Result<Taken, Unreachable>),
    Finished(Result<(), LaunchError>),
}

type Work<'a> = Pin<Box<dyn Future<Output = Done> + 'a>>;

/// Runs one VM from its plan to its end.
pub async fn run(plan: &LaunchPlan, pid1: &Pid1, found: Found) -> Ended {
    let kept = StateDir::make(&plan.paths.vm(plan.uid)).and_then(|dir| {
        dir.write(PLAN, plan)?;
        Ok(dir)
    });
    let kept = kept.map_err(LaunchError::from).and_then(|dir| {
        pid1.keep(super::kept::STATE, dir.as_fd())?;
        Ok(dir)
    });
    let dir = match kept {
        Ok(dir) => dir,
        Err(error) => return Ended::Launch(error, None),
    };
    let (answer, spawned) = oneshot::channel();
    let asked = Cell::new(false);
    let mut driver = Driver::new(plan, pid1, dir, found);
    driver.answer = Some(answer);
    driver.launching = true;
    driver.services.listen(plan, pid1);
    driver.replay_signals(0);
    let work: Work<'_> =
        Box::pin(async { Done::Launched(launch(plan, pid1, || asked.set(true), spawned).await) });
    driver.live(Some(work), &asked).await
}

/// Goes on with a VM whose supervisor died.
pub async fn take_up(plan: &LaunchPlan, pid1: &Pid1, dir: StateDir, found: Found) -> Ended {
    let journal = Journal::read(&dir, &found.hello);
    let mut driver = Driver::new(plan, pid1, dir, found);
    driver.unknown = journal.is_none();
    let signals = driver.restore(journal);
    driver.services.serve_without_qemu(plan);
    if let Some((status, overdue)) = driver.exit {
        let seen = Seen::Exited { status, overdue };
        driver.resume(seen);
    }
    driver.replay_signals(signals);
    let work = driver.reach_qemu();
    driver.live(Some(work), &Cell::new(true)).await
}

struct Driver<'a> {
    plan: &'a LaunchPlan,
    pid1: &'a Pid1,
    dir: StateDir,
    hello: Hello,
    terms: Terms,
    state: State,
    since: u64,
    /// Without a journal, until QEMU was asked.
    unknown: bool,
    held: Vec<Input>,
    settled: bool,
    signals: u32,
    launching: bool,
    /// For the launch, which waits for PID 1's word.
    answer: Option<oneshot::Sender<Result<i32, String>>>,
    not_spawned: bool,
    qemu: Option<OwnedFd>,
    qemu_pid: Option<i32>,
    exit: Option<(ExitStatus, bool)>,
    error: Option<LaunchError>,
    monitor: Monitor,
    generation: u64,
    alarms: Alarms,
    commands: Commands,
    reports: mpsc::UnboundedReceiver<Report>,
    under_way: BTreeSet<Action>,
    journaled: Option<Journal>,
    services: Services,
    wishes: mpsc::Receiver<Wish>,
    /// Sessions are numbered from the supervisor's own number on, so that no two of one VM are alike.
    started: Instant,
    /// What the kernel had counted by then.
    memory: Counts,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a LaunchPlan, pid1: &'a Pid1, dir: StateDir, found: Found) -> Self {
        let lifecycle = &plan.lifecycle;
        let Found { hello, qemu, kept } = found;
        let agent = Port::new(plan.paths.agent(plan.uid));
        let (commands, reports) = Commands::new(agent.clone());
        let (services, wishes) = Services::new(kept, agent, hello.minimal);
        Self {
            plan,
            pid1,
            dir,
            terms: Terms {
                grace: Duration::from_secs(lifecycle.grace_period_seconds),
                acpi: lifecycle.acpi,
                reset_ends: lifecycle.reboot_policy == RebootPolicy::Terminate,
            },
            state: State::new(),
            since: now_ms(),
            unknown: false,
            held: Vec::new(),
            settled: hello.settled,
            signals: 0,
            launching: false,
            answer: None,
            not_spawned: false,
            qemu,
            qemu_pid: hello.qemu.map(|qemu| qemu.pid),
            exit: hello.qemu.and_then(|qemu| Some((qemu.exit?, qemu.overdue))),
            error: None,
            monitor: Monitor::Absent,
            generation: u64::from(hello.restarts) << 20,
            alarms: Alarms::default(),
            commands,
            reports,
            under_way: BTreeSet::new(),
            journaled: None,
            services,
            wishes,
            started: Instant::now(),
            memory: Counts::read(&HostRoot::default()),
            hello,
        }
    }

    async fn live(&mut self, mut work: Option<Work<'a>>, asked: &Cell<bool>) -> Ended {
        loop {
            if self.is_cancelled() {
                // What it has under way ends with it; the pod's namespaces follow.
                work = None;
            }
            if work.is_none()
                && let Some(ended) = self.ended(asked.get())
            {
                return ended;
            }
            tokio::select! {
                packet = self.pid1.hear() => match packet {
                    Ok(packet) => self.heard(packet),
                    Err(_) => return Ended::Pid1Gone,
                },
                done = finished(&mut work) => work = self.done(done),
                word = self.monitor.next() => match word {
                    Word::Input(input) => self.take(input),
                    Word::Gone if work.is_none() => work = Some(self.reach_qemu()),
                    Word::Gone => {}
                },
                alarm = self.alarms.next() => self.take(Input::Alarm(alarm)),
                Some(report) = self.reports.recv() => self.reported(report),
                Some(wish) = self.wishes.recv() => self.wished(wish),
                news = self.services.news() => match news {
                    Some(input) => self.take(input),
                    None => self.publish(),
                },
            }
        }
    }

    /// The state that the dead supervisor left, and how many signals it had answered.
    fn restore(&mut self, journal: Option<Journal>) -> u32 {
        let Some(journal) = journal else {
            return 0;
        };
        let Left { state, alarms, .. } = journal.left(self.settled);
        if !journal.under_way.is_empty() {
            tracing::info!(event = "under-way", actions = ?journal.under_way, "begun by the supervisor that died");
        }
        for (alarm, left) in alarms {
            self.alarms.set(alarm, left);
        }
        self.state = state.unwrap_or_default();
        self.since = journal.since;
        self.signals = journal.signals;
        journal.signals
    }

    /// Signals that PID 1 counted and nobody answered.
    fn replay_signals(&mut self, answered: u32) {
        for _ in answered..self.hello.signals.min(answered.saturating_add(8)) {
            self.terminate();
        }
    }

    fn reach_qemu(&mut self) -> Work<'a> {
        self.generation += 1;
        let (plan, generation) = (self.plan, self.generation);
        Box::pin(async move { Done::Taken(takeover::take(plan, generation).await) })
    }

    fn heard(&mut self, packet: Packet<Tell>) {
        match packet.message {
            Tell::Hello(_) => {}
            Tell::Spawned { pid } => {
                self.qemu_pid = Some(pid);
                self.qemu = packet.files.into_iter().next();
                if matches!(self.state.phase, Phase::Quitting { .. }) {
                    // It was called off while PID 1 started it.
                    self.kill();
                }
                self.answer_launch(Ok(pid));
            }
            Tell::SpawnFailed { reason } => {
                self.not_spawned = true;
                self.answer_launch(Err(reason));
            }
            Tell::Exited { status, overdue } => {
                self.tell_memory_death(status);
                self.exit = Some((status, overdue));
                self.take(Input::QemuExited { status, overdue });
            }
            Tell::Signal { number } => {
                let name = Signal::try_from(number).map_or("a signal", Signal::as_str);
                tracing::info!(event = "signal", signal = name, "signal: {name}");
                self.terminate();
            }
        }
    }

    /// QEMU's last words cannot tell it.
    fn tell_memory_death(&self, status: ExitStatus) {
        // A QEMU that we killed ended for no other reason.
        let ours = matches!(self.state.phase, Phase::Quitting { .. });
        let why = MemoryDeath::of(status, self.memory, &HostRoot::default());
        if let (false, Some(why)) = (ours, why) {
            tracing::error!(event = "memory-death", why = ?why, "{why}");
        }
    }

    fn terminate(&mut self) {
        self.signals = self.signals.saturating_add(1);
        self.take(Input::Terminate);
    }

    fn answer_launch(&mut self, answer: Result<i32, String>) {
        if let Some(launch) = self.answer.take() {
            let _called_off = launch.send(answer);
        }
    }

    /// What follows from work that is done; there may be more.
    fn done(&mut self, done: Done) -> Option<Work<'a>> {
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
                tracing::warn!(event = "monitor-lost", error = %crate::cli::chain(&error), "QEMU is out of reach");
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

    fn launched(&mut self, launched: Launched) {
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

    fn taken(&mut self, seen: Seen) -> Option<Work<'a>> {
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

    fn ready(&self) {
        // PID 1's end is heard by itself.
        let _gone = self.pid1.ready();
    }

    /// Goes on from what is true.
    fn resume(&mut self, seen: Seen) {
        let left = Left {
            state: (!self.unknown).then(|| self.state.clone()),
            alarms: self.alarms.left().collect::<BTreeMap<_, _>>(),
            settled: self.settled,
        };
        self.unknown = false;
        let (state, actions) = resume(&self.terms, left, seen);
        self.under_way.clear();
        self.enter(state, actions, None);
        for input in std::mem::take(&mut self.held) {
            self.take(input);
        }
    }

    fn take(&mut self, input: Input) {
        self.take_for(input, None);
    }

    /// One input: step, then do what the machine says.
    fn take_for(&mut self, input: Input, asker: Option<Answer>) {
        if self.unknown && !matches!(input, Input::QemuExited { .. }) {
            if self.held.len() < MOST_HELD {
                self.held.push(input);
            }
            return;
        }
        let (state, actions) = step(&self.terms, self.state.clone(), input);
        self.enter(state, actions, asker);
    }

    fn enter(&mut self, state: State, actions: Vec<Action>, mut asker: Option<Answer>) {
        if state != self.state {
            tracing::debug!(event = "state", from = ?self.state, to = ?state, "the VM's state changed");
            host_devices::tell(&self.plan.passthrough, &self.state.leaving, &state.leaving);
            self.since = now_ms();
            self.state = state;
            if matches!(self.state.phase, Phase::Quitting { .. } | Phase::Ended(_)) {
                self.services.leave_network();
            }
        }
        for action in &actions {
            match action {
                Action::Set(alarm, after) => self.alarms.set(*alarm, *after),
                Action::Clear(alarm) => self.alarms.remove(*alarm),
                Action::ClearAlarms => self.alarms.clear(),
                command => {
                    self.under_way.insert(command.clone());
                }
            }
        }
        self.write_journal();
        self.publish();
        let mut left = actions.iter().filter(|action| action.is_command()).count();
        for action in actions {
            if action == Action::Kill {
                self.kill();
            } else if action.is_command() {
                if action == Action::PressPowerButton {
                    self.tell_time_left();
                }
                left -= 1;
                // What leads up to it, as a resume does, is not what was wished for.
                let asker = asker.take_if(|_| left == 0);
                self.commands.begin(action, self.monitor.session(), asker);
            }
        }
        if let Some(asker) = asker {
            asker.done(true);
        }
    }

    fn tell_time_left(&self) {
        let mut alarms = self.alarms.left();
        let left = alarms.find(|(alarm, _)| *alarm == Alarm::GraceOver);
        let seconds = left.map_or(0.0, |(_, left)| left.as_secs_f64().ceil());
        tracing::info!(
            event = "power-button",
            seconds_left = seconds,
            "guest: its power button is pressed; it has {seconds} s left, or until another signal"
        );
    }

    fn write_journal(&mut self) {
        let journal = Journal::now(
            &self.state,
            &self.alarms,
            self.signals,
            &self.under_way,
            self.since,
        );
        if self.journaled.as_ref() == Some(&journal) {
            return;
        }
        if let Err(error) = self.dir.write(JOURNAL, &journal) {
            // The guest is worth more than the record of it: a follower then goes by what QEMU says.
            tracing::warn!(event = "not-journaled", error = %crate::cli::chain(&error), "a supervisor that has to follow will know less");
        }
        self.journaled = Some(journal);
    }

    /// Tells the status, where it is another.
    fn publish(&mut self) {
        self.services.agent_is(self.state.agent);
        let now = Circumstances {
            since: self.since,
            pids: Pids {
                pid1: std::os::unix::process::parent_id().cast_signed(),
                supervisor: std::process::id().cast_signed(),
                qemu: self.qemu_pid,
            },
            restarts: self.hello.restarts,
            minimal: self.hello.minimal,
            monitor: self.monitor.session().is_some(),
        };
        let status = status(self.plan, &self.state, &now);
        let Ok(mut status) = serde_json::to_value(status) else {
            return;
        };
        status["agent"] = self.services.answers();
        status["network"] = self.services.network();
        status["elsewhere"] = self.services.elsewhere();
        if !self.services.publish(&status) {
            return;
        }
        if let Err(error) = self.dir.write(STATUS, &status) {
            tracing::warn!(event = "status-not-written", error = %crate::cli::chain(&error), "the status file is old");
        }
    }

    fn reported(&mut self, report: Report) {
        let Report { action, result } = report;
        self.under_way.remove(&action);
        match result {
            Some(true) => self.take(Input::Did(action)),
            Some(false) => self.take(Input::Failed(action)),
            None => self.write_journal(),
        }
    }

    fn wished(&mut self, wish: Wish) {
        let Wish { operation, answer } = wish;
        if self.unknown {
            return answer.refused(Refused::Unknown);
        }
        match admit(&self.terms, &self.state, operation) {
            Admission::Go => self.take_for(Input::Ask(operation), Some(answer)),
            Admission::Already => answer.done(false),
            Admission::Refused(why) => answer.refused(Refused::Now(why)),
        }
    }

    fn kill(&mut self) {
        self.under_way.remove(&Action::Kill);
        // Without a QEMU there is nothing to kill; one that PID 1 is about to start is killed when we hear of it.
        if let Some(pidfd) = &self.qemu {
            let _gone = pidfd_signal(pidfd.as_fd(), Signal::SIGKILL);
        }
    }

    fn is_cancelled(&self) -> bool {
        match &self.state.phase {
            Phase::Quitting {
                because: Outcome::Cancelled,
            }
            | Phase::Ended(Outcome::Cancelled) => true,
            // A launch knows best why it failed, and undoes what it did.
            Phase::Ended(_) => !self.launching,
            _ => false,
        }
    }

    fn ended(&mut self, asked: bool) -> Option<Ended> {
        let never_ran = !asked || self.not_spawned;
        match (&self.state.phase, never_ran) {
            (Phase::Ended(outcome), _) => Some(match self.error.take() {
                Some(error) => Ended::Launch(error, self.exit.map(|(status, _)| status)),
                None => Ended::Vm(outcome.clone()),
            }),
            (Phase::Quitting { because }, true) => Some(match self.error.take() {
                Some(error) => Ended::Launch(error, None),
                None => Ended::Vm(because.clone()),
            }),
            _ => None,
        }
    }
}

async fn finished<F: Future + Unpin>(work: &mut Option<F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
