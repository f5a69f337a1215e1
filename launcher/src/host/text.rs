//! Facts as `virt-launcher host` prints them for people; machines take the JSON.

use std::fmt::{self, Display, Write};

use hugepages::{Limit, Pool};
use numa::{Kib, Node, NodeId, Topology};

use super::{HostFacts, Link, Route};

/// One fact a line, its name first; ends with a line break.
pub fn text(facts: &HostFacts) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_facts(&mut out, facts);
    out
}

fn write_facts(out: &mut String, facts: &HostFacts) -> fmt::Result {
    let mut line = |name: &str, value: &dyn Display| writeln!(out, "{name:<14} {value}");
    line("host name", &facts.hostname)?;
    line("CPU", &Cpu(facts))?;
    line("CPUs", &Or(&facts.cpus.to_string(), "unknown"))?;
    line("memory nodes", &Or(&facts.mems.to_string(), "unknown"))?;
    for disagreement in &facts.disagreements {
        line("", &format_args!("  {disagreement}"))?;
    }
    line("topology", &Shape(&facts.topology))?;
    for (id, node) in &facts.topology.nodes {
        line("node", &NodeLine(*id, node))?;
        for pool in facts.pools.iter().filter(|pool| pool.node == *id) {
            line("", &PoolLine(pool))?;
        }
    }
    // A kernel without NUMA has pools and no node.
    if facts.topology.nodes.is_empty() {
        for pool in &facts.pools {
            line("huge pages", &PoolLine(pool))?;
        }
    }
    for limit in &facts.hugetlb {
        line("page limit", &LimitLine(limit))?;
    }
    match facts.memory_limit {
        Some(limit) => line("memory limit", &limit)?,
        None => line("memory limit", &"none")?,
    }
    for (device, there) in [
        ("/dev/kvm", facts.kvm),
        ("/dev/vhost-net", facts.vhost_net),
        ("/dev/net/tun", facts.tun),
    ] {
        line(device, &if there { "there" } else { "absent" })?;
    }
    let resolver = &facts.resolver;
    let servers = words(&resolver.nameservers).chain(words(&resolver.nameservers6));
    let servers: Vec<String> = servers.collect();
    line("name servers", &Or(&servers.join(" "), "none"))?;
    line("search", &Or(&resolver.search.join(" "), "none"))?;
    line(
        "environment",
        &format_args!("{} variables", facts.environment.len()),
    )?;
    for link in &facts.links {
        line("link", &LinkLine(link))?;
        for route in &link.routes {
            line("", &RouteLine(route))?;
        }
    }
    Ok(())
}

fn words<T: Display>(items: &[T]) -> impl Iterator<Item = String> + '_ {
    items.iter().map(ToString::to_string)
}

/// The text, or a word for its absence.
struct Or<'a>(&'a str, &'static str);

impl Display for Or<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { self.1 } else { self.0 })
    }
}

/// `AMD EPYC (AuthenticAMD), virtualisation svm`.
struct Cpu<'a>(&'a HostFacts);

impl Display for Cpu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = &self.0.cpu;
        let model = Or(&cpu.model_name, "unknown");
        let vendor = Or(&cpu.vendor, "unknown vendor");
        let virtual_ = cpu
            .flags
            .iter()
            .find(|flag| *flag == "vmx" || *flag == "svm");
        let virtual_ = virtual_.map_or("no virtualisation", String::as_str);
        write!(f, "{model} ({vendor}), {virtual_}")
    }
}

/// `16 CPUs (0-15); cores 8, L3 caches 2, packages 2; offline 16-31`.
struct Shape<'a>(&'a Topology);

impl Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.0;
        let cpus = &topology.cpus;
        let cores = topology.cores.len();
        write!(f, "{} CPUs ({cpus}); cores {cores}", cpus.len())?;
        for (sets, name) in [
            (&topology.l3, "L3 caches"),
            (&topology.packages, "packages"),
        ] {
            if !sets.is_empty() {
                write!(f, ", {name} {}", sets.len())?;
            }
        }
        if !topology.offline.is_empty() {
            write!(f, "; offline {}", topology.offline)?;
        }
        Ok(())
    }
}

/// `0: CPUs 0-3,8-11; 94.2Gi, 49.6Gi free; distances 0: 10, 1: 21`.
struct NodeLine<'a>(NodeId, &'a Node);

impl Display for NodeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id, node) = self;
        write!(f, "{}: ", id.0)?;
        match node.has_cpus() {
            true => write!(f, "CPUs {}", node.cpus)?,
            false => f.write_str("no CPUs")?,
        }
        if node.has_memory() {
            let (total, free) = (gib(node.memory.total), gib(node.memory.free));
            write!(f, "; {total}, {free} free")?;
        } else {
            f.write_str("; no memory")?;
        }
        for (index, (to, distance)) in node.distances.iter().enumerate() {
            let before = if index == 0 { "; distances" } else { "," };
            write!(f, "{before} {}: {distance}", to.0)?;
        }
        Ok(())
    }
}

/// In GiB, one digit after the point.
fn gib(size: Kib) -> String {
    let tenths = size.0.saturating_mul(10) >> 20;
    format!("{}.{}Gi", tenths / 10, tenths % 10)
}

/// `huge pages of 1Gi: 1 of 4 free`.
struct PoolLine<'a>(&'a Pool);

impl Display for PoolLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = self.0;
        let (size, free, pages) = (pool.size, pool.free, pool.pages);
        write!(f, "  huge pages of {size}: {free} of {pages} free")?;
        if pool.surplus > 0 {
            write!(f, ", {} surplus", pool.surplus)?;
        }
        if pool.reserved_on_host > 0 {
            write!(f, "; {} promised on the host", pool.reserved_on_host)?;
        }
        Ok(())
    }
}

/// `1Gi: use 4Gi, of which 4Gi are left (/sys/fs/cgroup/hugetlb.1GB.max)`.
struct LimitLine<'a>(&'a Limit);

impl Display for LimitLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.0;
        write!(
            f,
            "{}: {} of at most {}, {} left ({})",
            limit.size,
            limit.of,
            limit.limit,
            limit.left(),
            limit.file
        )
    }
}

/// `2 eth0 up, mtu 1450, 02:..., 10.244.1.5/24`.
struct LinkLine<'a>(&'a Link);

impl Display for LinkLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = self.0;
        let state = if link.up { "up" } else { "down" };
        write!(f, "{} {} {state}, mtu {}", link.index, link.name, link.mtu)?;
        if let Some(mac) = link.mac {
            write!(f, ", {mac}")?;
        }
        for address in words(&link.addresses).chain(words(&link.addresses6)) {
            write!(f, ", {address}")?;
        }
        Ok(())
    }
}

/// `route 0.0.0.0/0 via 10.244.1.1`.
struct RouteLine<'a>(&'a Route);

impl Display for RouteLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  route {}", self.0.destination)?;
        match self.0.gateway {
            Some(gateway) => write!(f, " via {gateway}"),
            None => f.write_str(" on-link"),
        }
    }
}
