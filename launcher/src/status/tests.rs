use super::*;
use crate::monitor::protocol::ExitStatus;

fn paused(why: Pause) -> State {
    State {
        phase: Phase::Running,
        run: Run::Paused(why),
        ..State::new()
    }
}

fn ended(outcome: Outcome) -> State {
    State {
        phase: Phase::Ended(outcome),
        ..State::new()
    }
}

#[test]
fn states_and_reasons_are_kubevirts() {
    let table = [
        (State::new(), "Paused", "StartingUp"),
        (paused(Pause::User), "Paused", "User"),
        (paused(Pause::IoError), "Paused", "IOError"),
        (ended(Outcome::PoweredOff), "Shutoff", "Shutdown"),
        (ended(Outcome::Panicked), "Crashed", "Panicked"),
        (ended(Outcome::Quit), "Shutoff", "Destroyed"),
        (
            ended(Outcome::QemuDied(ExitStatus::Signal(9))),
            "Shutoff",
            "Crashed",
        ),
    ];
    for (state, life, reason) in table {
        let told = serde_json::to_value(life_cycle(&state)).unwrap();
        assert_eq!(told, serde_json::json!([life, reason]), "{state:?}");
    }
}
