//! `sys/devices/system/cpu` and `proc/cpuinfo`.

use super::{Host, Tree};

const CPU: &str = "sys/devices/system/cpu";

impl Host {
    pub(super) fn write_cpus(&self, tree: &mut Tree) {
        let online = self.online();
        tree.line(format!("{CPU}/online"), &online);
        tree.line(format!("{CPU}/possible"), self.possible());
        tree.line(format!("{CPU}/offline"), self.offline);
        let cores = self.cores;
        for core in 0..cores.count {
            let around = |size: u32| {
                let first = core / size * size;
                self.cpus_of(first..(first + size).min(cores.count))
            };
            for cpu in self.cpus_of(core..core + 1).iter() {
                let cpu = format!("{CPU}/cpu{cpu}");
                let topology = format!("{cpu}/topology");
                tree.line(format!("{topology}/core_cpus_list"), around(1));
                if let Some(cluster) = cores.cluster {
                    tree.line(format!("{topology}/cluster_cpus_list"), around(cluster));
                }
                tree.line(
                    format!("{topology}/package_cpus_list"),
                    around(cores.package),
                );
                // Index 0 and 1 are L1's, 2 the L2.
                tree.line(format!("{cpu}/cache/index3/level"), 3);
                tree.line(
                    format!("{cpu}/cache/index3/shared_cpu_list"),
                    around(cores.l3),
                );
            }
        }
        tree.file("proc/cpuinfo", self.cpuinfo());
    }

    /// Of the first CPU: the others' would be the same.
    fn cpuinfo(&self) -> String {
        let (vendor, model) = self.cpu;
        let virtual_ = if vendor == "AuthenticAMD" {
            "svm"
        } else {
            "vmx"
        };
        let huge = self.nodes.iter().any(|node| node.large.is_some());
        let pdpe1gb = if huge { " pdpe1gb" } else { "" };
        format!(
            "processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: {model}\nflags\t\t: fpu vme de pse tsc msr pae mce \
             cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx{pdpe1gb} rdtscp lm \
             constant_tsc pni pclmulqdq {virtual_} ssse3 fma cx16 sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c \
             rdrand lahf_lm abm fsgsbase bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap arat umip\n\n"
        )
    }
}
