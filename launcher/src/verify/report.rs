//! What was found.

use numa::{CpuSet, Scheduler};
use serde::Serialize;

use super::memory::MemoryCheck;
use super::threads::ThreadCheck;

/// QEMU against its placement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Every thread, by role.
    pub threads: Vec<ThreadCheck>,
    /// Guest memory that has a place.
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

fn whose(memory: &MemoryCheck) -> String {
    match memory.guest_node {
        Some(node) => format!("memory of guest node {node}"),
        None => "guest memory".to_owned(),
    }
}

fn by_node(memory: &MemoryCheck) -> String {
    let nodes = memory.actual.iter();
    let actual: Vec<_> = nodes
        .map(|(node, bytes)| format!("`{bytes}` on node {}", node.0))
        .collect();
    match actual.as_slice() {
        [] => "nowhere".to_owned(),
        parts => parts.join(", "),
    }
}

/// What became of each backend's memory when the pod's memory nodes changed to `mems`.
pub fn after_mems(before: &[MemoryCheck], now: &[MemoryCheck], mems: &CpuSet) -> Vec<String> {
    let fate = |before: Option<&MemoryCheck>, now: &MemoryCheck| {
        let whose = whose(now);
        let there = by_node(now);
        if before.is_some_and(|before| before.actual != now.actual) {
            format!("{whose} was moved by the kernel: {there}")
        } else if now.actual.keys().all(|node| mems.contains(node.0)) {
            format!("{whose} stays: {there}")
        } else {
            format!("{whose} stays, outside of the pod's nodes `{mems}`: {there}")
        }
    };
    let pairs = now.iter().enumerate();
    pairs
        .map(|(index, now)| fate(before.get(index), now))
        .collect()
}

fn elsewhere(memory: &MemoryCheck) -> String {
    let whose = whose(memory);
    let actual = by_node(memory);
    let wanted = match &memory.wanted {
        Some(nodes) => format!("node `{nodes}`"),
        None => "any node".to_owned(),
    };
    let bytes = memory.bytes;
    match memory.page_size {
        Some(size) => format!(
            "{whose} was to have `{bytes}` in pages of `{size}` on {wanted}, and is {actual}"
        ),
        None => {
            let held = match &memory.bound_to {
                Some(nodes) => format!("is bound to node `{nodes}`"),
                None => "is bound to none".to_owned(),
            };
            let there = match memory.actual.is_empty() {
                true => String::new(),
                false => format!("; what is there is {actual}"),
            };
            format!("{whose}, `{bytes}`, was to be on {wanted}, and {held}{there}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hugepages::{Bytes, PageSize};
    use numa::NodeId;

    fn memory(page_size: Option<PageSize>, present: &[(u32, u64)]) -> MemoryCheck {
        MemoryCheck {
            guest_node: None,
            page_size,
            wanted: Some("1".parse().unwrap()),
            bytes: Bytes(2 << 30),
            actual: present
                .iter()
                .map(|(node, gib)| (NodeId(*node), Bytes(gib << 30)))
                .collect(),
            bound_to: None,
            ok: false,
        }
    }

    #[test]
    fn memory_elsewhere_is_told_with_where_it_is() {
        let report = |memory| Report {
            memory: vec![memory],
            ..Report::default()
        };
        let huge = memory(Some(PageSize::GIB_1), &[(0, 1), (1, 1)]);
        insta::assert_snapshot!(report(huge).mismatches().join("\n"), @"guest memory was to have `2Gi` in pages of `1Gi` on node `1`, and is `1Gi` on node 0, `1Gi` on node 1");
        let mut ordinary = memory(None, &[]);
        insta::assert_snapshot!(report(ordinary.clone()).mismatches().join("\n"), @"guest memory, `2Gi`, was to be on node `1`, and is bound to none");
        ordinary.bound_to = Some("0".parse().unwrap());
        ordinary.actual.insert(NodeId(0), Bytes(4096));
        insta::assert_snapshot!(report(ordinary).mismatches().join("\n"), @"guest memory, `2Gi`, was to be on node `1`, and is bound to node `0`; what is there is `4Ki` on node 0");
    }

    #[test]
    fn what_becomes_of_memory_when_the_pods_nodes_change() {
        let size = Some(PageSize::GIB_1);
        let (there, here) = ([memory(size, &[(1, 2)])], [memory(size, &[(0, 2)])]);
        let told =
            |before, now, mems: &str| after_mems(before, now, &mems.parse().unwrap()).join("\n");
        insta::assert_snapshot!(told(&there, &here, "0"), @"guest memory was moved by the kernel: `2Gi` on node 0");
        insta::assert_snapshot!(told(&there, &there, "0"), @"guest memory stays, outside of the pod's nodes `0`: `2Gi` on node 1");
        insta::assert_snapshot!(told(&there, &there, "0-1"), @"guest memory stays: `2Gi` on node 1");
    }
}
