//! What was found.

use numa::Scheduler;
use serde::Serialize;

use super::memory::MemoryCheck;
use super::threads::ThreadCheck;

/// QEMU against its placement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Every thread, by role.
    pub threads: Vec<ThreadCheck>,
    /// Every backend of huge pages.
    pub memory: Vec<MemoryCheck>,
}

impl Report {
    /// Whether all is as placed.
    pub fn ok(&self) -> bool {
        self.threads.iter().all(|thread| thread.ok) && self.memory.iter().all(|memory| memory.ok)
    }

    /// What is not as placed, a line each.
    pub fn mismatches(&self) -> Vec<String> {
        let threads = self.threads.iter().filter(|thread| !thread.ok);
        let memory = self.memory.iter().filter(|memory| !memory.ok);
        threads
            .map(misplaced)
            .chain(memory.map(elsewhere))
            .collect()
    }
}

fn misplaced(thread: &ThreadCheck) -> String {
    let ThreadCheck {
        role, tid, actual, ..
    } = thread;
    let mut wrong = Vec::new();
    if let Some(wanted) = &thread.wanted
        && wanted != actual
    {
        wrong.push(format!("runs on `{actual}`, not on `{wanted}`"));
    }
    if let Some(priority) = thread.wanted_priority
        && thread.scheduler != Scheduler::Fifo(priority)
    {
        wrong.push(format!("is not under SCHED_FIFO at priority `{priority}`"));
    }
    format!("{role} (thread {}) {}", tid.0, wrong.join(" and "))
}

fn elsewhere(memory: &MemoryCheck) -> String {
    let whose = match memory.guest_node {
        Some(node) => format!("memory of guest node {node}"),
        None => "guest memory".to_owned(),
    };
    let actual: Vec<_> = memory
        .actual
        .iter()
        .map(|(node, bytes)| format!("`{bytes}` on node {}", node.0))
        .collect();
    let actual = match actual.as_slice() {
        [] => "nowhere".to_owned(),
        parts => parts.join(", "),
    };
    let wanted = match &memory.wanted {
        Some(nodes) => format!("node `{nodes}`"),
        None => "any node".to_owned(),
    };
    let (bytes, size) = (memory.bytes, memory.page_size);
    format!("{whose} was to have `{bytes}` in pages of `{size}` on {wanted}, and is {actual}")
}
