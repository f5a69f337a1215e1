//! Facts as `virt-launcher host` prints them for people; machines take the JSON.

mod nodes;

use std::fmt::{self, Display, Write};

use super::pci::PciFacts;
use super::{HostFacts, Link, Route};
use nodes::{LimitLine, NodeLine, PoolLine, Shape};

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
    for (call, allowed) in [("mbind", facts.mbind), ("SCHED_FIFO", facts.realtime)] {
        line(call, &if allowed { "allowed" } else { "forbidden" })?;
    }
    for device in facts.pci.values() {
        line("PCI device", &PciLine(device))?;
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

struct PciLine<'a>(&'a PciFacts);

impl Display for PciLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.0;
        write!(f, "{} ({})", device.address, device.id)?;
        match device.node {
            Some(node) => write!(f, ", node {}", node.0)?,
            None => write!(f, ", node unknown")?,
        }
        match &device.driver {
            Some(driver) => write!(f, ", driver {driver}")?,
            None => write!(f, ", no driver")?,
        }
        match &device.group {
            Some(group) => write!(f, ", group {}", group.id),
            None => write!(f, ", no IOMMU group"),
        }
    }
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
