//! Tables for what each input means; random lives are `model`'s.

mod model;

use super::operation::{Admission, Operation, Why, admit};
use super::resume::{Left, RunStatus, Seen, resume};
use super::*;
use crate::monitor::protocol::ExitStatus;

const TERMS: Terms = Terms {
    grace: Duration::from_secs(30),
    acpi: true,
    reset_ends: false,
};

fn live(terms: &Terms, inputs: &[Input]) -> (State, Vec<Action>) {
    let mut all = Vec::new();
    let mut state = State::new();
    for input in inputs {
        let (next, actions) = step(terms, state, input.clone());
        state = next;
        all.extend(actions);
    }
    (state, all)
}

fn outcome(inputs: &[Input]) -> Outcome {
    match live(&TERMS, inputs).0.phase {
        Phase::Ended(outcome) => outcome,
        phase => panic!("{phase:?} is no end"),
    }
}

fn exited(status: ExitStatus) -> Input {
    Input::QemuExited {
        status,
        overdue: false,
    }
}

const RUN: Input = Input::Started { paused: false };
const AGENT: Input = Input::Agent { connected: true };
const GONE: Input = Input::QemuExited {
    status: ExitStatus::Code(0),
    overdue: false,
};
const KILLED: Input = Input::QemuExited {
    status: ExitStatus::Signal(libc::SIGKILL),
    overdue: false,
};
const OVERDUE: Input = Input::QemuExited {
    status: ExitStatus::Code(0),
    overdue: true,
};

#[test]
fn the_reason_is_the_first_that_decided() {
    use Input::*;
    let off = GuestShutdown(ShutdownCause::Guest);
    let host = GuestShutdown(ShutdownCause::Host);
    let table: &[(&[Input], Outcome)] = &[
        (&[RUN, off.clone(), host.clone(), GONE], Outcome::PoweredOff),
        (&[RUN, Terminate, off.clone(), GONE], Outcome::PoweredOff),
        (
            &[RUN, Watchdog(Bark::Poweroff), GONE],
            Outcome::WatchdogFired,
        ),
        (
            &[RUN, Watchdog(Bark::Reset), GuestReset, off.clone(), GONE],
            Outcome::PoweredOff,
        ),
        (
            &[RUN, GuestShutdown(ShutdownCause::GuestReset), GONE],
            Outcome::Reset,
        ),
        (
            &[
                RUN,
                GuestPanicked,
                GuestShutdown(ShutdownCause::GuestPanic),
                GONE,
            ],
            Outcome::Panicked,
        ),
        (
            &[
                RUN,
                Terminate,
                Alarm(super::Alarm::GraceOver),
                host.clone(),
                GONE,
            ],
            Outcome::Quit,
        ),
        (
            &[RUN, Terminate, Terminate, host.clone(), GONE],
            Outcome::Quit,
        ),
        (&[RUN, Terminate, Terminate, off, GONE], Outcome::PoweredOff),
        (
            &[
                RUN,
                Terminate,
                Terminate,
                Alarm(super::Alarm::QuitOverdue),
                KILLED,
            ],
            Outcome::Killed,
        ),
        (&[RUN, Terminate, OVERDUE], Outcome::Killed),
        (&[RUN, Terminate, Terminate, OVERDUE], Outcome::Killed),
        (&[RUN, Ask(Operation::Kill), host, GONE], Outcome::Destroyed),
        (
            &[RUN, KILLED],
            Outcome::QemuDied(ExitStatus::Signal(libc::SIGKILL)),
        ),
        (
            &[exited(ExitStatus::Code(1))],
            Outcome::QemuDied(ExitStatus::Code(1)),
        ),
        (&[Terminate, KILLED], Outcome::Cancelled),
        (&[RUN, MonitorLost, KILLED], Outcome::ControlLost),
        (
            &[RUN, MonitorLost, exited(ExitStatus::Signal(libc::SIGSEGV))],
            Outcome::QemuDied(ExitStatus::Signal(libc::SIGSEGV)),
        ),
    ];
    for (inputs, expected) in table {
        assert_eq!(outcome(inputs), *expected, "{inputs:?}");
    }
}

#[test]
fn the_button_is_pressed_again_until_the_guest_is_gone() {
    let (state, actions) = live(
        &TERMS,
        &[RUN, Input::Terminate, Input::Alarm(Alarm::PressAgain)],
    );
    assert_eq!(state.phase, Phase::Stopping);
    let presses = actions
        .iter()
        .filter(|action| **action == Action::PressPowerButton)
        .count();
    let alarms = actions
        .iter()
        .filter(|action| matches!(action, Action::Set(Alarm::PressAgain, _)))
        .count();
    assert_eq!((presses, alarms), (2, 2));
}

#[test]
fn the_agent_is_asked_first_and_the_button_is_pressed_when_it_fails() {
    let (_, actions) = live(&TERMS, &[RUN, AGENT, Input::Terminate]);
    assert!(actions.contains(&Action::AskAgentToPowerOff));
    assert!(!actions.contains(&Action::PressPowerButton));
    let failed = Input::Failed(Action::AskAgentToPowerOff);
    let (_, actions) = live(&TERMS, &[RUN, AGENT, Input::Terminate, failed]);
    assert!(actions.contains(&Action::PressPowerButton));
}

#[test]
fn a_paused_guest_is_resumed_before_the_button() {
    let (_, actions) = live(&TERMS, &[Input::Started { paused: true }, Input::Terminate]);
    let resume = actions.iter().position(|action| *action == Action::Resume);
    let press = actions
        .iter()
        .position(|action| *action == Action::PressPowerButton);
    assert!(resume.is_some() && resume < press, "{actions:?}");
}

#[test]
fn without_acpi_there_is_no_button_to_wait_for() {
    let terms = Terms {
        acpi: false,
        ..TERMS
    };
    let (state, actions) = live(&terms, &[RUN, Input::Terminate]);
    let because = Outcome::Quit;
    assert_eq!(state.phase, Phase::Quitting { because });
    assert!(!actions.contains(&Action::PressPowerButton));
}

fn full(disk: &str) -> IoError {
    IoError {
        disk: disk.to_owned(),
        no_space: true,
        reason: "No space left on device".to_owned(),
    }
}

#[test]
fn an_io_error_pauses_with_its_disk_until_somebody_decides() {
    let failed = Input::DiskFailed {
        error: full("data"),
        stops: true,
    };
    let mut inputs = vec![RUN, failed, Input::Paused];
    let (state, actions) = live(&TERMS, &inputs);
    assert_eq!(state.run, Run::Paused(Pause::IoError));
    assert_eq!(state.failed, [full("data")]);
    assert!(actions.is_empty(), "nobody decided: {actions:?}");
    inputs.push(Input::Ask(Operation::Unpause));
    assert_eq!(live(&TERMS, &inputs).1, [Action::Resume]);
    inputs.push(Input::Resumed);
    assert!(live(&TERMS, &inputs).0.failed.is_empty());
}

#[test]
fn a_pause_says_why() {
    let user = [RUN, Input::Ask(Operation::Pause), Input::Paused];
    let dog = [RUN, Input::Watchdog(Bark::Pause), Input::Paused];
    // It was resumed, and paused again, before the answer came.
    let late = [
        RUN,
        Input::Paused,
        Input::Resumed,
        Input::Ask(Operation::Pause),
        Input::Paused,
        Input::CannotGoOn,
    ];
    let table: &[(&[Input], Pause)] = &[
        (&user, Pause::User),
        (&dog, Pause::Watchdog),
        (&[RUN, Input::Paused], Pause::Unknown),
        (&[RUN, Input::Paused, Input::CannotGoOn], Pause::Crashed),
        (&late, Pause::User),
        (&[Input::Started { paused: true }], Pause::StartingUp),
    ];
    for (inputs, why) in table {
        assert_eq!(live(&TERMS, inputs).0.run, Run::Paused(*why), "{inputs:?}");
    }
}

#[test]
fn a_freeze_ends_in_a_thaw_whatever_fails() {
    let thaw_after = Duration::from_secs(10);
    let freeze = Input::Ask(Operation::Freeze { thaw_after });
    let (state, actions) = live(&TERMS, &[RUN, AGENT, freeze.clone()]);
    assert_eq!(state.frozen, Frozen::Yes);
    assert_eq!(
        actions,
        [Action::Set(Alarm::Thaw, thaw_after), Action::Freeze]
    );
    for ending in [
        Input::Alarm(Alarm::Thaw),
        Input::Failed(Action::Freeze),
        Input::Ask(Operation::Thaw),
        Input::Terminate,
    ] {
        let mut inputs = vec![RUN, AGENT, freeze.clone(), ending];
        let (state, actions) = live(&TERMS, &inputs);
        assert_eq!(state.frozen, Frozen::Thawing, "{inputs:?}");
        assert!(actions.contains(&Action::Thaw), "{inputs:?}");
        inputs.push(Input::Failed(Action::Thaw));
        let retried = live(&TERMS, &inputs).1.pop();
        assert_eq!(retried, Some(Action::Set(Alarm::Thaw, THAW_AGAIN)));
        inputs.push(Input::Did(Action::Thaw));
        assert_eq!(live(&TERMS, &inputs).0.frozen, Frozen::No);
    }
}

#[test]
fn a_guest_without_an_agent_reboots_by_power_off_and_reset() {
    let mut inputs = vec![
        RUN,
        Input::Ask(Operation::SoftReboot),
        Input::GuestShutdown(ShutdownCause::Guest),
        Input::Paused,
    ];
    let (state, actions) = live(&TERMS, &inputs);
    assert_eq!(state.phase, Phase::Rebooting);
    assert!(actions.contains(&Action::PressPowerButton) && actions.ends_with(&[Action::Reset]));
    inputs.extend([Input::GuestReset, Input::Resumed]);
    let (state, actions) = live(&TERMS, &inputs);
    assert_eq!((state.phase, state.run), (Phase::Running, Run::Running));
    assert!(actions.ends_with(&[Action::Clear(Alarm::RebootOver), Action::Resume]));
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    use Operation::*;
    let freeze = Freeze {
        thaw_after: Duration::ZERO,
    };
    let ends = Terms {
        reset_ends: true,
        ..TERMS
    };
    let paused = [Input::Started { paused: true }];
    let table: &[(&Terms, &[Input], Operation, Admission)] = &[
        (&TERMS, &[], Pause, Admission::Refused(Why::Starting)),
        (&TERMS, &[], Kill, Admission::Go),
        (&TERMS, &[RUN], Unpause, Admission::Already),
        (&TERMS, &paused, Pause, Admission::Already),
        (&TERMS, &[RUN], freeze, Admission::Refused(Why::NoAgent)),
        (&TERMS, &[RUN], Thaw, Admission::Already),
        (&ends, &[RUN], Reset, Admission::Refused(Why::ResetEnds)),
        (
            &ends,
            &[RUN],
            SoftReboot,
            Admission::Refused(Why::ResetEnds),
        ),
        (&TERMS, &paused, SoftReboot, Admission::Refused(Why::Paused)),
        (
            &TERMS,
            &[RUN, Input::Terminate],
            Shutdown,
            Admission::Already,
        ),
        (
            &TERMS,
            &[RUN, Input::Terminate],
            Pause,
            Admission::Refused(Why::Ending),
        ),
        (&TERMS, &[RUN, GONE], Kill, Admission::Already),
        (
            &TERMS,
            &[RUN, GONE],
            Unpause,
            Admission::Refused(Why::Ending),
        ),
    ];
    for (terms, inputs, operation, expected) in table {
        let (state, _) = live(terms, inputs);
        assert_eq!(
            admit(terms, &state, *operation),
            *expected,
            "{operation:?} after {inputs:?}"
        );
    }
}

fn runs(status: RunStatus) -> Seen {
    Seen::Runs {
        status,
        failed: vec![],
        agent: false,
    }
}

#[test]
fn a_follower_goes_on_from_what_is_true() {
    let settled = |inputs: &[Input]| Left {
        state: Some(live(&TERMS, inputs).0),
        alarms: [(Alarm::GraceOver, Duration::from_secs(3))].into(),
        settled: true,
    };
    let quitting = |because| Phase::Quitting { because };
    let exit = Seen::Exited {
        status: ExitStatus::Code(0),
        overdue: false,
    };
    let off = Input::GuestShutdown(ShutdownCause::Guest);
    use RunStatus::{Panicked, Prelaunch, Running, Shutdown};
    let table: Vec<(Left, Seen, Phase)> = vec![
        (settled(&[RUN]), runs(Running), Phase::Running),
        (settled(&[]), runs(Prelaunch), Phase::Starting),
        (settled(&[]), runs(Running), Phase::Running),
        (
            Left::default(),
            runs(Prelaunch),
            quitting(Outcome::StartLost),
        ),
        (Left::default(), runs(Running), Phase::Running),
        (
            settled(&[RUN]),
            runs(Shutdown),
            quitting(Outcome::PoweredOff),
        ),
        (settled(&[RUN]), runs(Panicked), quitting(Outcome::Panicked)),
        (
            settled(&[RUN, Input::Terminate]),
            runs(Running),
            Phase::Stopping,
        ),
        (
            settled(&[RUN, off.clone()]),
            exit.clone(),
            Phase::Ended(Outcome::PoweredOff),
        ),
        (
            settled(&[RUN, off]),
            runs(Shutdown),
            quitting(Outcome::PoweredOff),
        ),
        (
            settled(&[RUN]),
            exit,
            Phase::Ended(Outcome::QemuDied(ExitStatus::Code(0))),
        ),
    ];
    for (left, seen, expected) in table {
        let (state, _) = resume(&TERMS, left.clone(), seen.clone());
        assert_eq!(state.phase, expected, "{left:?} and {seen:?}");
    }
}

#[test]
fn a_follower_keeps_the_guests_time_and_presses_again() {
    let left = Left {
        state: Some(live(&TERMS, &[RUN, Input::Terminate]).0),
        alarms: [(Alarm::GraceOver, Duration::from_secs(3))].into(),
        settled: true,
    };
    let (_, actions) = resume(&TERMS, left, runs(RunStatus::Running));
    assert!(actions.contains(&Action::Set(Alarm::GraceOver, Duration::from_secs(3))));
    assert!(actions.contains(&Action::PressPowerButton));
}

#[test]
fn a_follower_knows_why_the_guest_is_paused() {
    let asked = live(&TERMS, &[RUN, Input::Ask(Operation::Pause)]).0;
    let left = Left {
        state: Some(asked),
        ..Left::default()
    };
    let (state, _) = resume(&TERMS, left, runs(RunStatus::Paused));
    assert_eq!(state.run, Run::Paused(Pause::User));
    let (state, _) = resume(&TERMS, Left::default(), runs(RunStatus::IoError));
    assert_eq!(state.run, Run::Paused(Pause::IoError));
}

#[test]
fn a_dump_stops_the_guest_and_nothing_else_is_taken_for_it() {
    let dump = |inputs: &[Input]| live(&TERMS, inputs).0.run;
    let begins = Input::Dump(Dump::Begins);
    let ended = Input::Dump(Dump::Ended);
    assert_eq!(
        dump(&[RUN, begins.clone(), Input::Paused]),
        Run::Paused(Pause::Dump)
    );
    let over = [
        RUN,
        begins.clone(),
        Input::Paused,
        Input::Resumed,
        ended.clone(),
    ];
    assert_eq!(dump(&over), Run::Running);
    // One that failed before it stopped anything.
    let failed = [RUN, begins, ended, Input::Paused];
    assert_eq!(dump(&failed), Run::Paused(Pause::Unknown));
    let (state, _) = resume(&TERMS, Left::default(), runs(RunStatus::Dump));
    assert_eq!(state.run, Run::Paused(Pause::Dump));
}
