//! Which CPU is whose: vCPUs, supplemental I/O threads, the emulator.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use numa::{CpuSet, NodeId};

use super::devices::{self, DeviceFacts};
use super::misfit::{Misfit, Wants};
use super::pool::{CpuPool, nodes_by_cpu};
use super::strict;
use crate::host::HostFacts;
use crate::placement::Policy;
use crate::spec::Spec;

/// CPUs, each for one thread of the VM's alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pins {
    /// By vCPU.
    pub vcpus: Vec<u32>,
    /// By supplemental I/O thread.
    pub supplemental: Vec<u32>,
    /// None, one, or two.
    pub emulator: Vec<u32>,
    /// The host node of each vCPU.
    pub nodes: Vec<Option<NodeId>>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// What a VM wants of the pod's CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// Cores of the guest.
    pub cores: usize,
    /// vCPUs a core.
    pub threads: u32,
    /// Supplemental I/O threads.
    pub supplemental: usize,
    /// CPUs for the emulator without which it does not start.
    pub emulator: usize,
    /// One more for the emulator, so that the VM has an even number.
    pub even: bool,
    /// A core's threads may be on different nodes.
    pub crossing: bool,
}

impl Demand {
    pub(super) fn of(spec: &Spec) -> Self {
        let cpu = &spec.cpu;
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let supplemental = if spec.iothreads.supplemental {
            count(spec.iothreads.count)
        } else {
            0
        };
        let emulator = usize::from(cpu.isolate_emulator);
        // Counted once: KubeVirt's pod counts the I/O threads twice, its launcher once (facts 5.2).
        let before = count(cpu.vcpus()) + supplemental;
        Self {
            cores: count(cpu.sockets * cpu.cores),
            threads: cpu.threads,
            supplemental,
            emulator,
            even: emulator > 0 && cpu.even_parity && before.is_multiple_of(2),
            crossing: !cpu.numa_passthrough,
        }
    }

    pub(super) fn vcpus(&self) -> usize {
        self.cores * usize::try_from(self.threads).unwrap_or(1)
    }

    /// CPUs in all, without the one for evenness.
    pub(super) fn cpus(&self) -> usize {
        self.vcpus() + self.supplemental + self.emulator
    }

    /// For people: `3 for vCPUs, 1 for the emulator`.
    pub(super) fn words(&self) -> String {
        let mut words = vec![format!("{} for vCPUs", self.vcpus())];
        if self.supplemental > 0 {
            words.push(format!("{} for I/O threads", self.supplemental));
        }
        if self.emulator > 0 {
            words.push(format!("{} for the emulator", self.emulator));
        }
        words.join(", ")
    }
}

/// A CPU of the pod's for every thread that is to have one.
pub(super) fn pins(
    spec: &Spec,
    facts: &HostFacts,
    devices: &[DeviceFacts],
) -> Result<Pins, Vec<Misfit>> {
    let demand = Demand::of(spec);
    enough(&demand, &facts.cpus).map_err(|misfit| vec![misfit])?;
    let pins = match spec.placement.policy {
        Policy::None => in_kubevirts_order(&demand, facts).map_err(|misfit| vec![misfit])?,
        Policy::Prefer => {
            let wanted = devices::nodes(devices, facts);
            near(&demand, facts, &facts.cpus, &wanted).map_err(|misfit| vec![misfit])?
        }
        Policy::Strict => strict::pins(spec, &demand, facts, devices)?,
    };
    Ok(pins)
}

fn enough(demand: &Demand, cpus: &CpuSet) -> Result<(), Misfit> {
    let (wanted, has) = (demand.cpus(), cpus.len());
    if wanted <= has {
        return Ok(());
    }
    Err(Misfit::Cpus {
        wanted,
        what: demand.words(),
        has,
        cpus: cpus.clone(),
        of: if has < demand.vcpus() {
            Wants::Vcpus
        } else if has < demand.vcpus() + demand.supplemental {
            Wants::Iothreads
        } else {
            Wants::Emulator
        },
    })
}

/// All as KubeVirt does it: no locality, the emulator on the first CPU that is left.
fn in_kubevirts_order(demand: &Demand, facts: &HostFacts) -> Result<Pins, Misfit> {
    let mut pool = CpuPool::new(&facts.topology, &facts.cpus, demand.threads);
    let vcpus = fit(&mut pool, demand)?;
    let order = pool.nodes();
    Ok(finish(demand, facts, pool, vcpus, &order))
}

/// vCPUs as near to the nodes `wanted` as the CPUs `allowed` let them be, and other threads near the vCPUs. With no
/// node wanted the vCPUs are where KubeVirt puts them.
pub(super) fn near(
    demand: &Demand,
    facts: &HostFacts,
    allowed: &CpuSet,
    wanted: &[NodeId],
) -> Result<Pins, Misfit> {
    let mut pool = CpuPool::new(&facts.topology, allowed, demand.threads);
    let vcpus = if wanted.is_empty() {
        fit(&mut pool, demand)?
    } else {
        let chosen = choose(demand, facts, &mut pool, wanted)?;
        // Within what was chosen the order is KubeVirt's.
        fit(
            &mut CpuPool::new(&facts.topology, &chosen, demand.threads),
            demand,
        )?
    };
    let order = near_vcpus(facts, &pool, &vcpus);
    Ok(finish(demand, facts, pool, vcpus, &order))
}

fn fit(pool: &mut CpuPool, demand: &Demand) -> Result<Vec<u32>, Misfit> {
    pool.fit_cores(demand.cores, demand.crossing)
        .map_err(|cores| Misfit::Crossing { cores })
}

/// Takes CPUs for the vCPUs out of the pool, those of the nearest nodes first.
fn choose(
    demand: &Demand,
    facts: &HostFacts,
    pool: &mut CpuPool,
    wanted: &[NodeId],
) -> Result<CpuSet, Misfit> {
    let order = by_nearness(facts, pool, wanted);
    let mut chosen = CpuSet::new();
    let mut missing = demand.cores;
    if !demand.crossing {
        // The guest sees its nodes: each device's node is to be one of them.
        for node in wanted {
            if missing > 0
                && let Some(core) = pool.fit_core_on(Some(*node))
            {
                chosen.extend(core);
                missing -= 1;
            }
        }
    }
    for node in &order {
        while missing > 0
            && let Some(core) = pool.fit_core_on(*node)
        {
            chosen.extend(core);
            missing -= 1;
        }
    }
    let mut threads = missing * usize::try_from(demand.threads).unwrap_or(1);
    if demand.crossing {
        for node in &order {
            while threads > 0
                && let Some(cpu) = pool.fit_fragment_on(*node)
            {
                chosen.insert(cpu);
                threads -= 1;
            }
        }
    }
    if threads > 0 {
        return Err(Misfit::Crossing { cores: missing });
    }
    Ok(chosen)
}

/// The pool's nodes: those wanted, then the others by their distance from the nearest of them.
fn by_nearness(facts: &HostFacts, pool: &CpuPool, wanted: &[NodeId]) -> Vec<Option<NodeId>> {
    let far = |node: Option<NodeId>| {
        let node = node?;
        let distances = wanted.iter().map(|from| distance(facts, *from, node));
        distances.min()
    };
    let mut nodes = pool.nodes();
    nodes.sort_by_key(|node| {
        let rank = wanted.iter().position(|wanted| Some(*wanted) == *node);
        (
            rank.unwrap_or(wanted.len()),
            far(*node).unwrap_or(u32::MAX),
            *node,
        )
    });
    nodes
}

/// A distance that the firmware does not tell is beyond all that it tells.
pub(super) fn distance(facts: &HostFacts, from: NodeId, to: NodeId) -> u32 {
    facts.topology.distance(from, to).unwrap_or(u32::MAX)
}

/// The pool's nodes: those with the most vCPUs first, then by distance from the first.
fn near_vcpus(facts: &HostFacts, pool: &CpuPool, vcpus: &[u32]) -> Vec<Option<NodeId>> {
    let node_of = nodes_by_cpu(&facts.topology);
    let mut counts: BTreeMap<Option<NodeId>, usize> = BTreeMap::new();
    for cpu in vcpus {
        *counts.entry(node_of.get(cpu).copied()).or_default() += 1;
    }
    let on = |node: &Option<NodeId>| Reverse(counts.get(node).copied().unwrap_or(0));
    let mut nodes = pool.nodes();
    nodes.sort_by_key(on);
    let home = nodes.first().copied().flatten();
    nodes.sort_by_key(|node| {
        let far = home
            .zip(*node)
            .map(|(home, node)| distance(facts, home, node));
        (on(node), far.unwrap_or(u32::MAX))
    });
    nodes
}

/// The other threads' CPUs, out of what the vCPUs left.
fn finish(
    demand: &Demand,
    facts: &HostFacts,
    mut pool: CpuPool,
    vcpus: Vec<u32>,
    order: &[Option<NodeId>],
) -> Pins {
    let mut threads =
        |count: usize| -> Vec<u32> { (0..count).map_while(|_| pool.fit_thread(order)).collect() };
    let supplemental = threads(demand.supplemental);
    let mut emulator = threads(demand.emulator);
    let mut notes = Vec::new();
    if demand.even {
        let second = threads(1);
        if second.is_empty() {
            notes.push(
                "the pod has no second CPU for the emulator, which its annotation for an even number of CPUs asks for"
                    .to_owned(),
            );
        }
        emulator.extend(second);
    }
    let node_of = nodes_by_cpu(&facts.topology);
    Pins {
        nodes: vcpus.iter().map(|cpu| node_of.get(cpu).copied()).collect(),
        vcpus,
        supplemental,
        emulator,
        notes,
    }
}

#[cfg(test)]
mod tests;
