//! Tables for what each input means, and random lives against the invariants.

use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms {
    grace: Duration::from_secs(30),
    acpi: true,
};

fn live(terms: &Terms, inputs: &[Input]) -> (State, Vec<Action>) {
    let mut all = Vec::new();
    let mut state = State::Starting;
    for input in inputs {
        let (next, actions) = step(terms, state, input.clone());
        state = next;
        all.extend(actions);
    }
    (state, all)
}

fn outcome(inputs: &[Input]) -> Outcome {
    match live(&TERMS, inputs).0 {
        State::Ended(outcome) => outcome,
        state => panic!("{state:?} is no end"),
    }
}

const RUN: Input = Input::Started { paused: false };
const GONE: Input = Input::QemuExited(ExitStatus::Code(0));
const KILLED: Input = Input::QemuExited(ExitStatus::Signal(libc::SIGKILL));

#[test]
fn the_reason_is_the_first_that_decided() {
    use Input::*;
    let off = GuestShutdown(ShutdownCause::Guest);
    let host = GuestShutdown(ShutdownCause::Host);
    let table: &[(&[Input], Outcome)] = &[
        (&[RUN, off.clone(), host.clone(), GONE], Outcome::PoweredOff),
        (&[RUN, Terminate, off.clone(), GONE], Outcome::PoweredOff),
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
        (&[RUN, Terminate, Terminate, host, GONE], Outcome::Quit),
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
        (
            &[RUN, KILLED],
            Outcome::QemuDied(ExitStatus::Signal(libc::SIGKILL)),
        ),
        (
            &[Input::QemuExited(ExitStatus::Code(1))],
            Outcome::QemuDied(ExitStatus::Code(1)),
        ),
        (&[Terminate, KILLED], Outcome::Cancelled),
        (&[RUN, MonitorLost, KILLED], Outcome::ControlLost),
        (
            &[
                RUN,
                MonitorLost,
                Input::QemuExited(ExitStatus::Signal(libc::SIGSEGV)),
            ],
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
    assert_eq!(state, State::Stopping { paused: false });
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
    assert_eq!(
        state,
        State::Quitting {
            because: Outcome::Quit
        }
    );
    assert!(!actions.contains(&Action::PressPowerButton));
}

fn input() -> impl Strategy<Value = Input> {
    use ShutdownCause::{Guest, GuestPanic, GuestReset, Host};
    prop_oneof![
        any::<bool>().prop_map(|paused| Input::Started { paused }),
        Just(Input::Failed),
        prop_oneof![Just(Guest), Just(GuestReset), Just(GuestPanic), Just(Host)]
            .prop_map(Input::GuestShutdown),
        Just(Input::GuestPanicked),
        Just(Input::Paused),
        Just(Input::Resumed),
        Just(Input::Terminate),
        Just(Input::Terminate),
        prop_oneof![
            Just(Alarm::PressAgain),
            Just(Alarm::GraceOver),
            Just(Alarm::QuitOverdue)
        ]
        .prop_map(Input::Alarm),
        Just(Input::MonitorLost),
        prop_oneof![Just(ExitStatus::Code(0)), Just(ExitStatus::Signal(9))]
            .prop_map(Input::QemuExited),
    ]
}

proptest! {
    #[test]
    fn any_life_keeps_the_rules(inputs in proptest::collection::vec(input(), 0..60)) {
        let mut state = State::Starting;
        let mut exited = false;
        for input in inputs {
            let gone = matches!(input, Input::QemuExited(_));
            let before = state.clone();
            let (next, actions) = step(&TERMS, state, input);
            if exited {
                prop_assert_eq!(&next, &before, "an end is final");
                prop_assert!(actions.is_empty(), "nothing is done to a QEMU that is gone: {:?}", actions);
            }
            exited |= gone;
            prop_assert_eq!(matches!(next, State::Ended(_)), exited, "only QEMU's exit ends a life");
            let quitting = |state: &State| matches!(state, State::Quitting { .. } | State::Ended(_));
            prop_assert!(!quitting(&before) || quitting(&next), "{:?} went back to {:?}", before, next);
            if quitting(&next) && !quitting(&before) && !exited {
                let bounded = actions.iter().any(|action| matches!(action, Action::Kill | Action::Set(Alarm::QuitOverdue, _)));
                prop_assert!(bounded, "nothing bounds the wait for QEMU: {:?}", actions);
            }
            state = next;
        }
    }
}
