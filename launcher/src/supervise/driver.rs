//! The one loop that owns the VM: hears PID 1, QEMU, people and the clock, steps the state machine, does what it says.
//!
//! What is decided is journaled before it is done, so that a supervisor that follows finds it.

mod standstill;
mod told;
mod work;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use numa::HostRoot;
use tokio::sync::{mpsc, oneshot};

use standstill::{Question, answered};
use told::now_ms;
use work::{Done, Work, finished};

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
use super::state_dir::{PLAN, StateDir};
use super::step::operation::{Admission, admit};
use super::step::resume::{Left, Seen, resume};
use super::step::{Action, Input, Phase, State, Terms, step};
use super::wishes::{Answer, Refused, Upgrade, Wish};
use crate::apply::error::LaunchError;
use crate::apply::launch::launch;
use crate::monitor::channel::Packet;
use crate::monitor::pidfd::pidfd_signal;
use crate::monitor::protocol::{ExitStatus, Hello, Tell};
use crate::plan::LaunchPlan;
use crate::spec::RebootPolicy;

/// What a supervisor without a journal holds back until it has seen QEMU.
const MOST_HELD: usize = 16;

/// How it went.
#[derive(Debug)]
pub enum Ended {
    /// The VM started, or was ended while it did.
    Vm(Outcome),
    /// The VM did not start; how QEMU ended, where it did.
    Launch(LaunchError, Option<ExitStatus>),
    /// The supervisor of another program follows.
    MadeWay,
    /// PID 1 is gone: nobody can be told, and the kernel ends this process too.
    Pid1Gone,
}

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
    make_way: bool,
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
    /// The journal or the status may be old: nothing that was begun hangs on it.
    unwritten: bool,
    services: Services,
    wishes: mpsc::Receiver<Wish>,
    /// Sessions are numbered from the supervisor's own number on, so that no two of one VM are alike.
    started: Instant,
    /// Why vCPUs stand still, when we have to ask.
    why: Option<Question>,
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
            make_way: false,
            signals: 0,
            launching: false,
            answer: None,
            not_spawned: false,
            qemu,
            qemu_pid: hello.qemu.map(|qemu| qemu.pid),
            exit: hello.qemu.and_then(|qemu| Some((qemu.exit?, qemu.overdue))),
            error: None,
            monitor: Monitor::Absent,
            generation: u64::from(hello.restarts.max(hello.starts)) << 20,
            alarms: Alarms::default(),
            commands,
            reports,
            under_way: BTreeSet::new(),
            journaled: None,
            unwritten: false,
            services,
            wishes,
            started: Instant::now(),
            why: None,
            memory: Counts::read(&HostRoot::default()),
            hello,
        }
    }

    async fn live(&mut self, work: Option<Work<'a>>, asked: &Cell<bool>) -> Ended {
        let ended = self.until_ended(work, asked).await;
        self.write();
        if matches!(ended, Ended::Vm(_)) {
            self.services.last_words().await;
        }
        ended
    }

    async fn until_ended(&mut self, mut work: Option<Work<'a>>, asked: &Cell<bool>) -> Ended {
        loop {
            if self.make_way {
                return Ended::MadeWay;
            }
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
                    Word::Input(input) => self.said(input),
                    Word::Gone if work.is_none() => work = Some(self.reach_qemu()),
                    Word::Gone => {}
                },
                status = answered(&mut self.why) => self.stands_still(status),
                alarm = self.alarms.next() => self.take(Input::Alarm(alarm)),
                Some(report) = self.reports.recv() => self.reported(report),
                Some(wish) = self.wishes.recv() => self.wished(wish),
                news = self.services.news() => match news {
                    Some(input) => self.take(input),
                    None => self.publish(),
                },
                // Whoever waits for an answer has it first: it costs two files replaced.
                () = tokio::task::yield_now(), if self.unwritten => self.write(),
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
            Tell::MakeWay => self.make_way = true,
            Tell::Swap(swap) => {
                if let Some(reason) = &swap.reason {
                    tracing::error!(event = "upgrade-failed", reason, "this program goes on");
                }
                self.hello.swap = Some(swap);
                self.publish();
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
        let before = self.under_way.len();
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
        if self.under_way.len() > before {
            self.write_journal();
        }
        self.unwritten = true;
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

    fn reported(&mut self, report: Report) {
        let Report { action, result } = report;
        self.under_way.remove(&action);
        match result {
            Some(true) => self.take(Input::Did(action)),
            Some(false) => self.take(Input::Failed(action)),
            None => self.unwritten = true,
        }
    }

    fn wished(&mut self, wish: Wish) {
        let (operation, answer) = match wish {
            Wish::Operation(operation, answer) => (operation, answer),
            Wish::Dump(dump, answer) => return self.take_for(Input::Dump(dump), Some(answer)),
            Wish::Upgrade(Upgrade { id, program }, answer) => {
                return match self.pid1.upgrade(id, program.as_fd()) {
                    Ok(()) => answer.done(true),
                    Err(error) => answer.refused(Refused::Failed(crate::causes::chain(&error))),
                };
            }
        };
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
