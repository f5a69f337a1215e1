//! Huge pages are counted before QEMU takes them, watched while it does, and explained where it could not.
//!
//! QEMU greets only after it has filled all memory, which takes seconds a hundred GiB: as long as pages come, it is not
//! late. Of a fill that failed it says `Bad address` whatever the cause, so the counts tell why.

use hugepages::{Bytes, Counts, Nodes, PageSize, Part, Progress, Request, Sampler, Shortfall};
use numa::{Cgroup, CpuSet, FactError, HostRoot, NodeId};

use super::progress::{MILESTONE, PROGRESS, bar};
use crate::machine::memory::by_backend;
use crate::placement::{Binding, Placement};

/// Memory that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// There are too few pages.
    #[error("there are too few huge pages for the guest")]
    Short(#[source] Shortfall),
    /// A file of the kernel's.
    #[error(transparent)]
    Fact(#[from] FactError),
}

/// One VM's huge pages.
#[derive(Debug)]
pub struct Fill {
    root: HostRoot,
    request: Request,
    before: Counts,
    sampler: Sampler,
    last: Option<Progress>,
    /// Tenths that the log has.
    told: u64,
}

/// What the placement asks of the pools; none where it has no huge pages.
pub fn request(placement: &Placement, all: &[NodeId]) -> Option<Request> {
    let mut size = None;
    let mut parts = Vec::new();
    for backend in by_backend(placement).values() {
        let page_size = |text: &String| text.parse::<PageSize>().ok();
        let Some(page) = backend
            .iter()
            .find_map(|part| part.page_size.as_ref().and_then(page_size))
        else {
            continue;
        };
        size = Some(page);
        let bytes: u64 = backend.iter().map(|part| part.bytes).sum();
        let mut nodes: Vec<NodeId> = Vec::new();
        for node in backend.iter().filter_map(|part| part.host_node) {
            if !nodes.contains(&NodeId(node)) {
                nodes.push(NodeId(node));
            }
        }
        if placement.binding != Binding::Bind {
            // Without a policy the kernel takes pages from farther away where near ones are gone.
            nodes.extend(
                all.iter()
                    .filter(|node| !nodes.contains(node))
                    .copied()
                    .collect::<Vec<_>>(),
            );
        }
        parts.push(Part {
            pages: bytes.div_ceil(page.0.0),
            nodes: match nodes.as_slice() {
                [one] => Nodes::On(*one),
                _ => Nodes::AnyOf(nodes),
            },
        });
    }
    Some(Request { size: size?, parts })
}

impl Fill {
    /// Counts the pages before QEMU is started; none where no huge page is wanted.
    pub fn prepare(placement: &Placement, root: &HostRoot) -> Result<Option<Self>, FillError> {
        if !crate::machine::memory::is_huge(placement) {
            return Ok(None);
        }
        let before = Counts::read(root, &Cgroup::read(root)?)?;
        let all: CpuSet = before.pools.iter().map(|pool| pool.node.0).collect();
        let all: Vec<NodeId> = all.iter().map(NodeId).collect();
        let Some(request) = request(placement, &all) else {
            return Ok(None);
        };
        let reservation = hugepages::reserve(&request, &before.pools, &before.limits)
            .map_err(FillError::Short)?;
        Ok(Some(Self {
            root: root.clone(),
            sampler: Sampler::start(root, reservation)?,
            request,
            before,
            last: None,
            told: 0,
        }))
    }

    /// Whether pages came since the last look.
    pub fn look(&mut self) -> bool {
        let Some(Ok(progress)) = self.sampler.next() else {
            return false;
        };
        let before = self.last.as_ref().map_or(Bytes(0), Progress::filled);
        let more = progress.filled() > before;
        let tenths = progress.filled().0.saturating_mul(10) / progress.wanted().0.max(1);
        tell(&progress, tenths > self.told);
        self.told = tenths;
        self.last = Some(progress);
        more
    }

    /// Why it failed, where the counts tell. A QEMU that has all its pages and is late did not fail for want of them, though
    /// those it has would be counted as missing.
    pub fn explain(&self) -> Option<Shortfall> {
        if self.last.as_ref().is_some_and(Progress::is_done) {
            return None;
        }
        let cgroup = Cgroup::read(&self.root).ok()?;
        let after = Counts::read(&self.root, &cgroup).ok()?;
        hugepages::explain(&self.request, &self.before, &after)
    }

    /// Everything that was asked for.
    pub fn wanted(&self) -> Bytes {
        Bytes(self.request.pages().saturating_mul(self.request.size.0.0))
    }

    /// The size of its pages.
    pub fn page_size(&self) -> PageSize {
        self.request.size
    }
}

/// Every time for a terminal, which shows the last alone; at each tenth for a log.
fn tell(progress: &Progress, tenth: bool) {
    let (filled, wanted) = (progress.filled(), progress.wanted());
    let bar = bar(filled.0, wanted.0);
    tracing::info!(target: PROGRESS, event = "progress", progress = true, "memory: {bar} {filled} of {wanted} filled");
    if tenth {
        tracing::info!(
            target: MILESTONE,
            event = "memory-filling",
            filled = filled.0,
            wanted = wanted.0,
            "memory: {filled} of {wanted} filled"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    const ALL: [NodeId; 3] = [NodeId(0), NodeId(1), NodeId(2)];

    #[test]
    fn cells_ask_their_own_nodes() {
        let request = request(&fixtures::two_cells(), &ALL).unwrap();
        let nodes: Vec<_> = request.parts.iter().map(|part| &part.nodes).collect();
        assert_eq!(nodes, [&Nodes::On(NodeId(0)), &Nodes::On(NodeId(1))]);
        assert_eq!(request.pages(), 2);
    }

    #[test]
    fn without_a_policy_any_node_may_give_the_nearest_first() {
        let mut placement = fixtures::two_cells();
        placement.binding = Binding::FirstTouch;
        let request = request(&placement, &ALL).unwrap();
        let order = [NodeId(1), NodeId(0), NodeId(2)];
        assert_eq!(request.parts[1].nodes.all(), order);
    }

    #[test]
    fn ordinary_memory_asks_nothing() {
        assert!(request(&Placement::default(), &ALL).is_none());
        let none = Fill::prepare(&Placement::default(), &HostRoot::default());
        assert!(none.unwrap().is_none());
    }
}
