//! The phases of a launch, from its own log lines: each says when it ended and how long it took.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::pod::elapsed_ms;
use crate::sample::median;

/// Begin and end of each phase in each round, in ms after the program's exec.
#[derive(Default)]
pub(crate) struct Timeline {
    phases: BTreeMap<&'static str, Vec<(f64, f64)>>,
}

/// One phase, by medians.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
}

/// The log's events with what they end.
const PHASES: &[(&str, &str)] = &[
    ("planned", "VMI, facts, plan"),
    ("storage-ready", "disk images"),
    ("qemu-ready", "QEMU until its greeting"),
    ("network-ready", "network, beside it"),
    ("privileges-dropped", "privileges dropped, read back"),
    ("guest-running", "last commands, cont"),
];
const EXEC: &str = "PID 1, supervisor's exec";

impl Timeline {
    /// One launch.
    pub(crate) fn add(&mut self, executed: f64, before: &[Value], running: &Value) -> Result<()> {
        let mut ends = BTreeMap::new();
        for line in before.iter().chain([running]) {
            let known = PHASES.iter().find(|(event, _)| line["event"] == *event);
            if let Some((event, name)) = known {
                let (end, took) = (elapsed_ms(executed, line)?, line["ms"].as_f64());
                ends.insert(*event, end);
                let begin = match *event {
                    // Its own duration is the whole launch's.
                    "guest-running" => ends.get("privileges-dropped").copied(),
                    _ => None,
                };
                let begin = begin.unwrap_or(end - took.unwrap_or(0.0));
                self.phases.entry(name).or_default().push((begin, end));
                if *event == "planned" {
                    self.phases.entry(EXEC).or_default().push((0.0, begin));
                }
            }
        }
        Ok(())
    }

    /// In the order in which they begin.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<Phase> = self
            .phases
            .iter()
            .map(|(name, rounds)| {
                let (from, to): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
                Phase {
                    name,
                    from_ms: median(&from),
                    to_ms: median(&to),
                }
            })
            .collect();
        phases.sort_by(|one, other| one.from_ms.total_cmp(&other.from_ms));
        phases
    }
}
