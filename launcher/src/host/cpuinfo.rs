//! `/proc/cpuinfo`: who made the CPU, and what it can do.

use numa::{FactError, HostRoot, file};

use super::CpuIdentity;

/// Far more than one CPU's entry; the file grows with the number of CPUs.
const ONE_CPU: usize = 64 << 10;

/// The first CPU's identity; empty where the kernel does not tell.
pub(super) fn read(root: &HostRoot) -> Result<CpuIdentity, FactError> {
    let text = file::head(&root.proc("cpuinfo"), ONE_CPU)?;
    Ok(text.map_or_else(CpuIdentity::default, |text| parse(&text)))
}

fn parse(text: &str) -> CpuIdentity {
    let mut cpu = CpuIdentity::default();
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "vendor_id" => cpu.vendor = value.to_owned(),
            "model name" => cpu.model_name = value.to_owned(),
            "flags" => cpu.flags = value.split_whitespace().map(str::to_owned).collect(),
            "address sizes" => {
                cpu.address_bits = value
                    .split_whitespace()
                    .next()
                    .and_then(|bits| bits.parse().ok());
            }
            _ => {}
        }
    }
    cpu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_cpu_counts() {
        let cpu = parse(
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: A: B\nflags\t\t: fpu vmx\naddress sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\nprocessor\t: 1\nvendor_id\t: Other\n",
        );
        assert_eq!(cpu.vendor, "GenuineIntel");
        assert_eq!(cpu.model_name, "A: B");
        assert_eq!(cpu.flags, ["fpu", "vmx"]);
        assert_eq!(cpu.address_bits, Some(46));
    }

    #[test]
    fn nothing_is_nobody() {
        assert_eq!(parse(""), CpuIdentity::default());
    }
}
