//! What the guest agent tells of the guest, asked at KubeVirt's intervals (facts 9.4), and only while an agent is there.
//!
//! Everything that comes is the guest's word: bounded, kept as it came, and never acted upon.

mod schedule;

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::agent::Port;
use schedule::Schedule;

/// Longest answer that is kept, as JSON.
const LONGEST: usize = 128 << 10;

/// Answers by question.
pub type Answers = BTreeMap<&'static str, Value>;

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
    let begun = Instant::now();
    let mut schedule = Schedule::new();
    loop {
        let (question, at) = schedule.next();
        sleep_until(begun + at).await;
        let command = question.command();
        let answer = agent.ask(command, Value::Null).await;
        schedule.asked(question, begun.elapsed(), answer.is_ok());
        match answer {
            Ok(answer) => keep(command, answer, answers),
            Err(error) => {
                tracing::debug!(event = "agent-silent", question = command, error = %crate::causes::chain(&error), "the guest agent did not answer");
            }
        }
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
