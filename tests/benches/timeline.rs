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
/// They begin together and are told together, when the later one has ended.
const BESIDE: [&str; 2] = ["qemu-ready", "network-ready"];
const EXEC: &str = "PID 1, supervisor's exec";

impl Timeline {
    /// One launch.
    pub(crate) fn add(&mut self, executed: f64, before: &[Value], running: &Value) -> Result<()> {
        let mut told = BTreeMap::new();
        for line in before.iter().chain([running]) {
            let known = PHASES.iter().find(|(event, _)| line["event"] == *event);
            if let Some((event, _)) = known {
                let took = line["ms"].as_f64().unwrap_or(0.0);
                told.insert(*event, (elapsed_ms(executed, line)?, took));
            }
        }
        let beside = BESIDE.iter().filter_map(|event| told.get(event));
        let longest = beside.map(|(_, took)| *took).fold(0.0, f64::max);
        for (event, name) in PHASES {
            let Some(&(end, took)) = told.get(event) else {
                continue;
            };
            let (begin, end) = match *event {
                // Its own duration is the whole launch's.
                "guest-running" => (told.get("privileges-dropped").map_or(end, |it| it.0), end),
                event if BESIDE.contains(&event) => (end - longest, end - longest + took),
                _ => (end - took, end),
            };
            self.phases.entry(name).or_default().push((begin, end));
            if *event == "planned" {
                self.phases.entry(EXEC).or_default().push((0.0, begin));
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
