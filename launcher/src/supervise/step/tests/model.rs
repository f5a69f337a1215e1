//! Random lives against the invariants: only QEMU's exit ends a life, once; an end is final; whatever is asked may fail.

use proptest::prelude::*;

use super::super::state::MOST_FAILED;
use super::*;

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        Just(Pause),
        Just(Unpause),
        Just(Shutdown),
        Just(SoftReboot),
        Just(Reset),
        Just(Kill),
        Just(Thaw),
        (0..20u64).prop_map(|seconds| Freeze {
            thaw_after: Duration::from_secs(seconds)
        }),
    ]
}

fn command() -> impl Strategy<Value = Action> {
    use Action::*;
    prop_oneof![
        Just(PressPowerButton),
        Just(AskAgentToPowerOff),
        Just(AskAgentToReboot),
        Just(Pause),
        Just(Resume),
        Just(Reset),
        Just(Freeze),
        Just(Thaw),
        Just(Quit),
    ]
}

fn status() -> impl Strategy<Value = ExitStatus> {
    prop_oneof![Just(ExitStatus::Code(0)), Just(ExitStatus::Signal(9))]
}

fn input() -> impl Strategy<Value = Input> {
    use ShutdownCause::{Guest, GuestPanic, GuestReset, Host};
    let alarm = prop_oneof![
        Just(Alarm::PressAgain),
        Just(Alarm::GraceOver),
        Just(Alarm::QuitOverdue),
        Just(Alarm::RebootOver),
        Just(Alarm::Thaw),
    ];
    let guest = prop_oneof![
        prop_oneof![Just(Guest), Just(GuestReset), Just(GuestPanic), Just(Host)]
            .prop_map(Input::GuestShutdown),
        Just(Input::GuestPanicked),
        Just(Input::GuestReset),
        prop_oneof![
            Just(Bark::Pause),
            Just(Bark::Poweroff),
            Just(Bark::Reset),
            Just(Bark::Shutdown)
        ]
        .prop_map(Input::Watchdog),
        prop_oneof![Just(Dump::Begins), Just(Dump::Ended)].prop_map(Input::Dump),
        any::<bool>().prop_map(|connected| Input::Agent { connected }),
        any::<bool>().prop_map(|stops| Input::DiskFailed {
            error: full("data"),
            stops
        }),
        any::<bool>().prop_map(|gone| Input::Device {
            id: "ua-sriov-fast".to_owned(),
            leaving: if gone {
                Leaving::Gone
            } else {
                Leaving::WantedBack
            },
        }),
    ];
    prop_oneof![
        any::<bool>().prop_map(|paused| Input::Started { paused }),
        Just(Input::StartFailed),
        guest,
        command().prop_map(Input::Failed),
        command().prop_map(Input::Did),
        Just(Input::Paused),
        Just(Input::CannotGoOn),
        Just(Input::Resumed),
        Just(Input::Terminate),
        operation().prop_map(Input::Ask),
        alarm.prop_map(Input::Alarm),
        Just(Input::MonitorLost),
        (status(), any::<bool>())
            .prop_map(|(status, overdue)| Input::QemuExited { status, overdue }),
    ]
}

fn is_quitting(state: &State) -> bool {
    matches!(state.phase, Phase::Quitting { .. } | Phase::Ended(_))
}

/// What was asked to be called back for, and whether QEMU was killed already.
#[derive(Debug, Clone, Default)]
struct Pending {
    alarms: std::collections::BTreeSet<Alarm>,
    killed: bool,
}

impl Pending {
    fn take(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Set(alarm, _) => {
                    self.alarms.insert(*alarm);
                }
                Action::Clear(alarm) => {
                    self.alarms.remove(alarm);
                }
                Action::ClearAlarms => self.alarms.clear(),
                Action::Kill => self.killed = true,
                _ => {}
            }
        }
    }
}

fn bounds_the_end(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Kill | Action::Set(Alarm::QuitOverdue, _)))
}

proptest! {
    #[test]
    fn any_life_keeps_the_rules(inputs in proptest::collection::vec(input(), 0..60)) {
        let mut state = State::new();
        let mut exited = false;
        for input in inputs {
            let gone = matches!(input, Input::QemuExited { .. });
            let before = state.clone();
            let refused = match &input {
                Input::Ask(operation) => admit(&TERMS, &state, *operation) != Admission::Go,
                _ => false,
            };
            let (next, actions) = step(&TERMS, state, input);
            if exited {
                prop_assert_eq!(&next, &before, "an end is final");
                prop_assert!(actions.is_empty(), "nothing is done to a QEMU that is gone: {:?}", actions);
            }
            if refused {
                prop_assert_eq!(&next, &before, "a refusal changes nothing");
                prop_assert!(actions.is_empty(), "a refusal does nothing: {:?}", actions);
            }
            exited |= gone;
            prop_assert_eq!(matches!(next.phase, Phase::Ended(_)), exited, "only QEMU's exit ends a life");
            prop_assert!(!is_quitting(&before) || is_quitting(&next), "{:?} went back to {:?}", before, next);
            if is_quitting(&next) && !is_quitting(&before) && !exited {
                prop_assert!(bounds_the_end(&actions), "nothing bounds the wait for QEMU: {:?}", actions);
            }
            if next.phase == Phase::Stopping && before.phase != Phase::Stopping {
                let bounded = actions.contains(&Action::Set(Alarm::GraceOver, TERMS.grace));
                prop_assert!(bounded, "nothing bounds the guest's time: {:?}", actions);
            }
            prop_assert!(next.failed.len() <= MOST_FAILED);
            state = next;
        }
    }

    /// Whatever a supervisor left, and whatever is true: the follower stands where the invariants hold.
    #[test]
    fn any_follower_keeps_the_rules(
        inputs in proptest::collection::vec(input(), 0..30),
        known: bool,
        settled: bool,
        which in 0..10usize,
    ) {
        use RunStatus::*;
        let all = [Prelaunch, Running, Paused, IoError, Watchdog, Dump, InternalError, Shutdown, Panicked];
        let seen = all.get(which).map_or(
            Seen::Exited { status: ExitStatus::Code(0), overdue: false },
            |status| runs(*status),
        );
        let (before, _) = live(&TERMS, &inputs);
        let left = Left {
            state: known.then(|| before.clone()),
            alarms: [(Alarm::GraceOver, Duration::from_secs(1))].into(),
            settled,
        };
        let was_ended = known && matches!(before.phase, Phase::Ended(_));
        let was_quitting = known && is_quitting(&before);
        let (state, actions) = resume(&TERMS, left, seen.clone());
        let gone = matches!(seen, Seen::Exited { .. });
        prop_assert_eq!(matches!(state.phase, Phase::Ended(_)), gone || was_ended);
        prop_assert!(!was_quitting || is_quitting(&state), "an end that was decided is taken back");
        if let Phase::Quitting { .. } = state.phase {
            prop_assert!(bounds_the_end(&actions), "nothing bounds the wait for QEMU: {:?}", actions);
        }
        if state.phase == Phase::Starting {
            prop_assert!(settled, "a start is finished that takes privileges");
        }
        if state.phase == Phase::Running {
            prop_assert!(!actions.contains(&Action::Quit) && !actions.contains(&Action::Kill));
        }
    }

    /// Whatever is asked of QEMU or of the guest may fail: then something else is done, or an alarm bounds the wait.
    #[test]
    fn every_action_has_a_failure_path(inputs in proptest::collection::vec(input(), 0..60)) {
        let mut state = State::new();
        let mut pending = Pending::default();
        for input in inputs {
            if let Input::Alarm(alarm) = &input {
                pending.alarms.remove(alarm);
            }
            let (next, actions) = step(&TERMS, state, input);
            pending.take(&actions);
            for action in actions.into_iter().filter(Action::is_command) {
                let (after, instead) = step(&TERMS, next.clone(), Input::Failed(action.clone()));
                let mut then = pending.clone();
                then.take(&instead);
                let thaws = matches!(action, Action::Freeze | Action::Thaw);
                let bounded = match after.phase {
                    Phase::Quitting { .. } => then.killed || then.alarms.contains(&Alarm::QuitOverdue),
                    Phase::Stopping => then.alarms.contains(&Alarm::GraceOver),
                    Phase::Rebooting => then.alarms.contains(&Alarm::RebootOver),
                    Phase::Starting | Phase::Running | Phase::Ended(_) => true,
                };
                prop_assert!(bounded, "{:?} failed, and nothing bounds {:?}", action, after);
                let thawed = after.frozen != Frozen::Thawing
                    || !after.agent
                    || then.alarms.contains(&Alarm::Thaw)
                    || instead.contains(&Action::Thaw);
                prop_assert!(!thaws || thawed, "{:?} failed, and nobody thaws {:?}", action, after);
            }
            state = next;
        }
    }
}
