//! Guest RAM: what backs it, who fills it, and the NUMA nodes that the guest sees it on.

use std::collections::BTreeMap;

use hugepages::{Bytes, PageSize};
use numa::CpuSet;
use serde_json::Value;

use crate::machine::device::{KeyValues, Props};
use crate::placement::{Binding, GuestNode, MemoryPlacement, Placement};

/// The name that `-machine memory-backend=` refers to.
pub const BACKEND: &str = "pc.ram";

/// Where KubeVirt mounts a pod's huge pages.
const HUGETLBFS: &str = "/dev/hugepages";

/// Guest RAM in QEMU's names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// `-object`: contexts of the threads that fill, then backends that refer to them.
    pub objects: Vec<Props>,
    /// `-numa`, which takes no JSON.
    pub numa: Vec<KeyValues>,
    /// All RAM is one backend of this name; none where each guest node names its own.
    pub whole: Option<&'static str>,
}

/// The id of the backend of a guest node, by which its pages are found again.
pub fn backend_id(placement: &Placement, guest_node: u32) -> String {
    if placement.guest_nodes.is_empty() {
        BACKEND.to_owned()
    } else {
        format!("ram-node{guest_node}")
    }
}

/// The ids of the contexts of threads that fill memory; `thread-id` is among their properties.
pub fn fill_contexts(placement: &Placement) -> Vec<String> {
    (0..contexts(placement).len())
        .map(fill_context_id)
        .collect()
}

fn fill_context_id(index: usize) -> String {
    format!("fill{index}")
}

/// CPUs of each context, each set once.
fn contexts(placement: &Placement) -> Vec<CpuSet> {
    let mut contexts = Vec::new();
    for parts in by_backend(placement).values() {
        let cpus = fillers(placement, parts);
        if !cpus.is_empty() && !contexts.contains(&cpus) {
            contexts.push(cpus);
        }
    }
    contexts
}

/// RAM as placed.
///
/// Backends that threads of the same CPUs fill share a context. QEMU fills all of those that have one at the same time
/// (`qemu_finish_async_prealloc_mem`), the others one after the other. Contexts are objects of the command line alone:
/// the sandbox's `resourcecontrol=deny` refuses their affinity later.
///
/// `memfd` is off where the VMI's annotation says so: then huge pages are a file of the pod's hugetlbfs.
pub fn memory(placement: &Placement, memfd: bool) -> Memory {
    let contexts = contexts(placement);
    let backends = by_backend(placement);
    let backends = backends.into_iter().map(|(guest_node, parts)| {
        let cpus = fillers(placement, &parts);
        let context = contexts.iter().position(|context| *context == cpus);
        let object = kind(&parts, &backend_id(placement, guest_node), memfd);
        let fill = context.map(|index| (index, &contexts[index]));
        backend(placement, &parts, object, fill)
    });
    let threads = contexts.iter().enumerate().map(context);
    Memory {
        objects: threads.chain(backends).collect(),
        numa: numa(placement),
        whole: placement.guest_nodes.is_empty().then_some(BACKEND),
    }
}

/// The parts of each backend: of each guest node, or of all RAM.
pub fn by_backend(placement: &Placement) -> BTreeMap<u32, Vec<&MemoryPlacement>> {
    let mut backends: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for part in &placement.memory {
        let node = if placement.guest_nodes.is_empty() {
            0
        } else {
            part.guest_node
        };
        backends.entry(node).or_default().push(part);
    }
    backends
}

fn host_nodes(parts: &[&MemoryPlacement]) -> CpuSet {
    parts.iter().filter_map(|part| part.host_node).collect()
}

/// CPUs of all threads that fill memory of these parts.
fn fillers(placement: &Placement, parts: &[&MemoryPlacement]) -> CpuSet {
    let nodes = host_nodes(parts);
    let fills = placement.fill.iter().filter(|fill| match fill.host_node {
        Some(node) => nodes.contains(node),
        None => nodes.is_empty(),
    });
    fills
        .map(|fill| cpu_set(&fill.cpus))
        .fold(CpuSet::new(), |all, cpus| all.union(&cpus))
}

fn context((index, cpus): (usize, &CpuSet)) -> Props {
    Props::new()
        .with("qom-type", "thread-context")
        .with("id", fill_context_id(index))
        .with("cpu-affinity", ids(cpus))
}

/// What the pages are of.
fn kind(parts: &[&MemoryPlacement], id: &str, memfd: bool) -> Props {
    let size: u64 = parts.iter().map(|part| part.bytes).sum();
    let object = |kind: &str| {
        Props::new()
            .with("qom-type", kind)
            .with("id", id)
            .with("size", size)
    };
    match parts.iter().find_map(|part| page_size(part)) {
        Some(page) if memfd => object("memory-backend-memfd")
            .with("share", true)
            .with("hugetlb", true)
            .with("hugetlbsize", page.0.0),
        Some(_) => object("memory-backend-file").with("mem-path", HUGETLBFS),
        None => object("memory-backend-ram"),
    }
}

fn backend(
    placement: &Placement,
    parts: &[&MemoryPlacement],
    mut backend: Props,
    fill: Option<(usize, &CpuSet)>,
) -> Props {
    if placement.realtime.is_some() {
        // KSM would take pages away from a guest that must not wait for them.
        backend = backend.with("merge", false);
    }
    let nodes = host_nodes(parts);
    if placement.binding == Binding::Bind && !nodes.is_empty() {
        backend = backend
            .with("host-nodes", ids(&nodes))
            .with("policy", "bind");
    }
    // A huge page that is missing when the guest touches it kills QEMU (SIGBUS): they are all taken before it runs.
    let huge = parts.iter().any(|part| part.page_size.is_some());
    if huge || fill.is_some() {
        backend = backend.with("prealloc", true);
    }
    if let Some((context, cpus)) = fill {
        backend = backend
            .with("prealloc-threads", cpus.len())
            .with("prealloc-context", fill_context_id(context));
    }
    backend
}

/// Nodes, then the distances between two of them.
fn numa(placement: &Placement) -> Vec<KeyValues> {
    let nodes = &placement.guest_nodes;
    let distances = nodes.iter().flat_map(|from| {
        let apart = move |(to, _): &(&GuestNode, &u32)| to.id != from.id;
        let pairs = nodes.iter().zip(&from.distances).filter(apart);
        pairs.map(|(to, distance)| {
            KeyValues::headed("dist")
                .with("src", from.id.to_string())
                .with("dst", to.id.to_string())
                .with("val", distance.to_string())
        })
    });
    nodes
        .iter()
        .map(|node| guest_node(placement, node))
        .chain(distances)
        .collect()
}

fn guest_node(placement: &Placement, node: &GuestNode) -> KeyValues {
    let mut option = KeyValues::headed("node").with("nodeid", node.id.to_string());
    for range in node.vcpus.split(',').filter(|range| !range.is_empty()) {
        option = option.with("cpus", range);
    }
    let backed = placement
        .memory
        .iter()
        .any(|part| part.guest_node == node.id);
    option.with_some("memdev", backed.then(|| backend_id(placement, node.id)))
}

fn ids(set: &CpuSet) -> Value {
    set.iter().collect()
}

fn cpu_set(list: &str) -> CpuSet {
    list.parse().expect("a placement writes lists of CPUs")
}

fn page_size(part: &MemoryPlacement) -> Option<PageSize> {
    let text = part.page_size.as_deref()?;
    Some(text.parse().expect("a placement writes sizes of pages"))
}

/// Whether any of it is huge pages.
pub fn is_huge(placement: &Placement) -> bool {
    placement.memory.iter().any(|part| part.page_size.is_some())
}

/// `-m`.
pub fn size(guest: Bytes) -> KeyValues {
    KeyValues::new().with("size", format!("{}k", guest.0 / Bytes::KIB.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Fill;
    use crate::plan::fixtures;

    fn part(guest_node: u32, host_node: Option<u32>, pages: u64) -> MemoryPlacement {
        MemoryPlacement {
            guest_node,
            host_node,
            bytes: pages << 30,
            page_size: Some("1Gi".to_owned()),
        }
    }

    fn fill(host_node: Option<u32>, cpus: &str) -> Fill {
        Fill {
            host_node,
            cpus: cpus.to_owned(),
        }
    }

    fn json(objects: &[Props]) -> String {
        let lines = objects.iter().map(|it| serde_json::to_string(it).unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn cells_each_have_a_backend_that_their_nodes_threads_fill() {
        insta::assert_snapshot!(json(&memory(&fixtures::two_cells(), true).objects), @r#"
        {"qom-type":"thread-context","id":"fill0","cpu-affinity":[0,1,2,3]}
        {"qom-type":"thread-context","id":"fill1","cpu-affinity":[4,5,6,7]}
        {"qom-type":"memory-backend-memfd","id":"ram-node0","size":1073741824,"share":true,"hugetlb":true,"hugetlbsize":1073741824,"merge":false,"host-nodes":[0],"policy":"bind","prealloc":true,"prealloc-threads":4,"prealloc-context":"fill0"}
        {"qom-type":"memory-backend-memfd","id":"ram-node1","size":1073741824,"share":true,"hugetlb":true,"hugetlbsize":1073741824,"merge":false,"host-nodes":[1],"policy":"bind","prealloc":true,"prealloc-threads":4,"prealloc-context":"fill1"}
        "#);
    }

    #[test]
    fn the_guest_sees_nodes_and_distances() {
        let numa = memory(&fixtures::two_cells(), true).numa;
        let lines: Vec<_> = numa.iter().map(crate::argv::keyval::render).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        node,nodeid=0,cpus=0-1,memdev=ram-node0
        node,nodeid=1,cpus=2-3,memdev=ram-node1
        dist,src=0,dst=1,val=21
        dist,src=1,dst=0,val=21
        ");
    }

    #[test]
    fn a_backend_of_two_host_nodes_is_filled_by_threads_of_both() {
        let placement = Placement {
            memory: vec![part(0, Some(2), 1), part(0, Some(0), 3)],
            binding: Binding::Bind,
            fill: vec![fill(Some(0), "0-1"), fill(Some(1), "4"), fill(Some(2), "8")],
            ..Placement::default()
        };
        insta::assert_snapshot!(json(&memory(&placement, true).objects), @r#"
        {"qom-type":"thread-context","id":"fill0","cpu-affinity":[0,1,8]}
        {"qom-type":"memory-backend-memfd","id":"pc.ram","size":4294967296,"share":true,"hugetlb":true,"hugetlbsize":1073741824,"host-nodes":[0,2],"policy":"bind","prealloc":true,"prealloc-threads":3,"prealloc-context":"fill0"}
        "#);
    }

    #[test]
    fn first_touch_leaves_the_policy_out() {
        let mut placement = fixtures::two_cells();
        placement.binding = Binding::FirstTouch;
        for backend in memory(&placement, true).objects.split_off(2) {
            assert!(backend.get("policy").is_none() && backend.get("host-nodes").is_none());
            assert!(backend.get("prealloc-context").is_some());
        }
    }

    #[test]
    fn ordinary_pages_are_bound_and_not_taken_ahead() {
        let placement = Placement {
            memory: vec![MemoryPlacement {
                page_size: None,
                ..part(0, Some(1), 1)
            }],
            binding: Binding::Bind,
            ..Placement::default()
        };
        insta::assert_snapshot!(json(&memory(&placement, true).objects), @r#"{"qom-type":"memory-backend-ram","id":"pc.ram","size":1073741824,"host-nodes":[1],"policy":"bind"}"#);
    }

    #[test]
    fn huge_pages_are_taken_ahead_even_where_nobody_is_named_to_fill_them() {
        let placement = Placement {
            memory: vec![part(0, None, 1)],
            ..Placement::default()
        };
        let objects = memory(&placement, true).objects;
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].get("prealloc"), Some(&Value::Bool(true)));
    }

    #[test]
    fn without_memfd_pages_come_from_the_pods_hugetlbfs() {
        let placement = Placement {
            memory: vec![part(0, None, 1)],
            ..Placement::default()
        };
        insta::assert_snapshot!(json(&memory(&placement, false).objects), @r#"{"qom-type":"memory-backend-file","id":"pc.ram","size":1073741824,"mem-path":"/dev/hugepages","prealloc":true}"#);
    }
}
