//! When the guest agent is asked what: KubeVirt's intervals (facts 9.4), as times since the agent was there.

use std::time::Duration;

/// What is asked, and how often.
const QUESTIONS: &[(&str, Duration)] = &[
    ("guest-info", Duration::from_secs(300)),
    ("guest-get-fsinfo", Duration::from_secs(300)),
    ("guest-fsfreeze-status", Duration::from_secs(5)),
    ("guest-network-get-interfaces", Duration::from_secs(120)),
    ("guest-get-osinfo", Duration::from_secs(120)),
    ("guest-get-host-name", Duration::from_secs(120)),
    ("guest-get-timezone", Duration::from_secs(120)),
    ("guest-get-load", Duration::from_secs(120)),
    ("guest-get-users", Duration::from_secs(10)),
];
/// A question that was not answered is asked again after this, then after twice as long, up to its interval.
const FIRST_AGAIN: Duration = Duration::from_secs(10);

/// When each question is due next.
#[derive(Debug, Clone)]
pub(super) struct Schedule(Vec<Due>);

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Duration,
    again: Duration,
}

/// A question, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question(usize);

impl Question {
    /// The agent's command.
    pub(super) fn command(self) -> &'static str {
        QUESTIONS[self.0].0
    }
}

impl Schedule {
    /// Everything is due at once.
    pub(super) fn new() -> Self {
        let due = Due {
            at: Duration::ZERO,
            again: FIRST_AGAIN,
        };
        Self(vec![due; QUESTIONS.len()])
    }

    /// What is to be asked next, and when.
    pub(super) fn next(&self) -> (Question, Duration) {
        let due = self.0.iter().enumerate().min_by_key(|(_, due)| due.at);
        due.map_or((Question(0), Duration::MAX), |(index, due)| {
            (Question(index), due.at)
        })
    }

    /// It was answered, or was not.
    pub(super) fn asked(&mut self, Question(index): Question, now: Duration, answered: bool) {
        let interval = QUESTIONS[index].1;
        let due = &mut self.0[index];
        *due = match answered {
            true => Due {
                at: now + interval,
                again: FIRST_AGAIN,
            },
            false => Due {
                at: now + due.again.min(interval),
                again: (due.again * 2).min(interval),
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The seconds at which each question is asked of an agent that takes no time, until `end`.
    fn asked(end: u64, answers: impl Fn(&str, u64) -> bool) -> BTreeMap<&'static str, Vec<u64>> {
        let mut schedule = Schedule::new();
        let mut asked: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        loop {
            let (question, at) = schedule.next();
            if at.as_secs() > end {
                return asked;
            }
            let command = question.command();
            asked.entry(command).or_default().push(at.as_secs());
            schedule.asked(question, at, answers(command, at.as_secs()));
        }
    }

    #[test]
    fn questions_are_asked_at_once_and_then_at_kubevirts_intervals() {
        let asked = asked(600, |_, _| true);
        let steps = |interval: usize| (0..=600).step_by(interval).collect::<Vec<u64>>();
        for (question, interval) in [
            ("guest-fsfreeze-status", 5),
            ("guest-get-users", 10),
            ("guest-network-get-interfaces", 120),
            ("guest-get-osinfo", 120),
            ("guest-get-host-name", 120),
            ("guest-get-timezone", 120),
            ("guest-get-load", 120),
            ("guest-get-fsinfo", 300),
            ("guest-info", 300),
        ] {
            assert_eq!(asked[question], steps(interval), "{question}");
        }
        assert_eq!(asked.len(), 9, "{asked:?}");
    }

    #[test]
    fn a_question_without_an_answer_is_asked_less_and_less_often() {
        let asked = asked(900, |question, at| {
            question == "guest-get-users" || at >= 700
        });
        assert_eq!(asked["guest-info"], [0, 10, 30, 70, 150, 310, 610]);
        let hosts = &asked["guest-get-host-name"];
        // Answered from 790 on.
        assert_eq!(hosts, &[0, 10, 30, 70, 150, 270, 390, 510, 630, 750, 870]);
        // Never slower than its interval, and the others' silence is not its own.
        assert_eq!(asked["guest-fsfreeze-status"][..4], [0, 5, 10, 15]);
        assert_eq!(asked["guest-get-users"].len(), 91);
    }

    #[test]
    fn an_answer_that_takes_long_puts_off_the_next() {
        let mut schedule = Schedule::new();
        let (question, at) = schedule.next();
        assert_eq!((question.command(), at), ("guest-info", Duration::ZERO));
        schedule.asked(question, Duration::from_secs(4), true);
        while schedule.next().1.is_zero() {
            let (question, _) = schedule.next();
            schedule.asked(question, Duration::from_secs(4), true);
        }
        let (question, at) = schedule.next();
        assert_eq!(
            (question.command(), at.as_secs()),
            ("guest-fsfreeze-status", 9)
        );
    }
}
