//! What the guest agent tells of the guest, asked at KubeVirt's intervals (facts 9.4), and only while an agent is there.
//!
//! Everything that comes is the guest's word: bounded, kept as it came, and never acted upon.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::agent::Port;

/// What is asked, and how often.
const QUESTIONS: &[(&str, Duration)] = &[
    ("guest-info", Duration::from_secs(300)),
    ("guest-get-fsinfo", Duration::from_secs(300)),
    ("guest-fsfreeze-status", Duration::from_secs(5)),
    ("guest-network-get-interfaces", Duration::from_secs(120)),
    ("guest-get-osinfo", Duration::from_secs(120)),
    ("guest-get-host-name", Duration::from_secs(120)),
    ("guest-get-timezone", Duration::from_secs(120)),
    ("guest-get-users", Duration::from_secs(10)),
];
/// A question that was not answered is asked again after this, then after twice as long, up to its interval.
const FIRST_AGAIN: Duration = Duration::from_secs(10);
/// Longest answer that is kept, as JSON.
const LONGEST: usize = 128 << 10;

/// Answers by question.
pub type Answers = BTreeMap<&'static str, Value>;

/// When to ask next.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    again: Duration,
}

/// Asks while `connected`, for ever; what the guest said is forgotten with its agent.
pub async fn poll(
    agent: Port,
    mut connected: watch::Receiver<bool>,
    answers: watch::Sender<Answers>,
) {
    loop {
        if connected.wait_for(|connected| *connected).await.is_err() {
            return;
        }
        tokio::select! {
            () = ask_all(&agent, &answers) => {}
            gone = connected.wait_for(|connected| !connected) => if gone.is_err() { return },
        }
        agent.forget().await;
        answers.send_replace(Answers::new());
    }
}

async fn ask_all(agent: &Port, answers: &watch::Sender<Answers>) {
    let now = Instant::now();
    let first = Due {
        at: now,
        again: FIRST_AGAIN,
    };
    let mut due = vec![first; QUESTIONS.len()];
    loop {
        let next = due.iter().enumerate().min_by_key(|(_, due)| due.at);
        let Some((index, Due { at, again })) = next.map(|(index, due)| (index, *due)) else {
            return;
        };
        sleep_until(at).await;
        let (question, interval) = QUESTIONS[index];
        let answer = agent.ask(question, Value::Null).await;
        due[index] = match answer {
            Ok(answer) => {
                keep(question, answer, answers);
                Due {
                    at: Instant::now() + interval,
                    again: FIRST_AGAIN,
                }
            }
            Err(error) => {
                tracing::debug!(event = "agent-silent", question, error = %crate::causes::chain(&error), "the guest agent did not answer");
                Due {
                    at: Instant::now() + again.min(interval),
                    again: (again * 2).min(interval),
                }
            }
        };
    }
}

fn keep(question: &'static str, answer: Value, answers: &watch::Sender<Answers>) {
    if answer.to_string().len() > LONGEST {
        tracing::debug!(
            event = "agent-verbose",
            question,
            "the guest agent's answer is too long to keep"
        );
        return;
    }
    answers.send_if_modified(|known| known.insert(question, answer.clone()) != Some(answer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_is_told_and_what_is_too_long_is_dropped() {
        let (sender, mut receiver) = watch::channel(Answers::new());
        keep("guest-get-users", Value::from(1), &sender);
        assert!(receiver.has_changed().unwrap());
        receiver.mark_unchanged();
        keep("guest-get-users", Value::from(1), &sender);
        keep("guest-info", Value::from("x".repeat(LONGEST)), &sender);
        assert!(!receiver.has_changed().unwrap());
    }
}
