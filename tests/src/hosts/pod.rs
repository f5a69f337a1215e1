//! What the pod sees: its cgroup (v2), its process, its network, its environment.

use hugepages::PageSize;

use super::{Host, Kind, Tree};

/// The pod.
#[derive(Debug, Clone, Default)]
pub struct Pod {
    /// `cpuset.cpus.effective`.
    pub cpus: &'static str,
    /// `cpuset.mems.effective`.
    pub mems: &'static str,
    /// `Cpus_allowed_list` where it differs.
    pub scheduler: Option<&'static str>,
    /// `memory.max`.
    pub gib: u64,
    /// Limit on pages of 2Mi and of 1Gi, in pages.
    pub hugetlb: [u64; 2],
    /// A group of its own that the process is in, below the container's; the container's has the limits on pages.
    pub inner: Option<&'static str>,
    /// Free pages of 1Gi that other pods have mapped and not touched.
    pub reserved_on_host: u64,
}

const CGROUP: &str = "sys/fs/cgroup";

impl Host {
    pub(super) fn write_pod(&self, tree: &mut Tree) {
        self.write_cgroup(tree);
        self.write_process(tree);
        write_network(tree);
        for device in ["kvm", "vhost-net", "net/tun"] {
            tree.file(format!("dev/{device}"), "");
        }
    }

    fn write_cgroup(&self, tree: &mut Tree) {
        let pod = &self.pod;
        tree.line(format!("{CGROUP}/memory.max"), pod.gib << 30);
        let inner = pod.inner.map(|inner| format!("{CGROUP}/{inner}"));
        let groups = [Some(CGROUP.to_owned()), inner];
        for (group, is_outer) in groups.iter().flatten().zip([true, false]) {
            tree.line(format!("{group}/cpuset.cpus.effective"), pod.cpus);
            tree.line(format!("{group}/cpuset.mems.effective"), pod.mems);
            for size in self.sizes() {
                let pages = pod.hugetlb[usize::from(size == PageSize::GIB_1)];
                let limit = if is_outer {
                    (pages * size.0.0).to_string()
                } else {
                    "max".to_owned()
                };
                let file = |name| format!("{group}/hugetlb.{}.{name}", size.cgroup_form());
                tree.line(file("max"), &limit);
                tree.line(file("rsvd.max"), &limit);
                tree.line(file("current"), 0);
                tree.line(file("rsvd.current"), 0);
                tree.line(file("events"), "max 0");
            }
        }
        tree.line(
            "proc/self/cgroup",
            format_args!("0::/{}", pod.inner.unwrap_or("")),
        );
        tree.file(
            "proc/self/mountinfo",
            "1021 1020 0:101 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
             1024 1020 0:103 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro\n\
             1025 1024 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot\n",
        );
    }

    fn write_process(&self, tree: &mut Tree) {
        let pod = &self.pod;
        tree.file(
            "proc/self/status",
            format!(
                "Name:\tvirt-launcher\nState:\tR (running)\nTgid:\t1\nPid:\t1\nPPid:\t0\nUid:\t107\t107\t107\t107\n\
                 Gid:\t107\t107\t107\t107\nThreads:\t1\nCapEff:\t0000000000000400\nNoNewPrivs:\t0\nSeccomp:\t2\n\
                 Cpus_allowed_list:\t{}\nMems_allowed_list:\t{}\n",
                pod.scheduler.unwrap_or(pod.cpus),
                pod.mems
            ),
        );
        let name = self.pod_name();
        let mut variables = vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            format!("HOSTNAME={name}"),
            format!("POD_NAME={name}"),
        ];
        let virtual_ = |kind| matches!(kind, Kind::Virtual { .. });
        let addresses: Vec<&str> = self
            .devices
            .iter()
            .filter(|device| virtual_(device.kind))
            .map(|device| device.address())
            .collect();
        if !addresses.is_empty() {
            variables.push(format!(
                "PCIDEVICE_EXAMPLE_COM_SRIOV_NET={}",
                addresses.join(",")
            ));
            variables.push("KUBEVIRT_RESOURCE_NAME_fast=example.com/sriov_net".to_owned());
        }
        let environment: String = variables.iter().map(|entry| format!("{entry}\0")).collect();
        tree.file("proc/self/environ", environment);
        tree.line("proc/sys/kernel/hostname", name);
        tree.file(
            "etc/resolv.conf",
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
        );
    }

    fn pod_name(&self) -> String {
        format!("virt-launcher-{}", self.name)
    }
}

/// `lo`, and `eth0` with 10.244.3.7.
fn write_network(tree: &mut Tree) {
    for (name, index, mtu, flags, address, kind) in [
        ("lo", 1, 65536, "0x9", "00:00:00:00:00:00", 772),
        ("eth0", 3, 1450, "0x1003", "0a:58:0a:f4:03:07", 1),
    ] {
        let link = format!("sys/class/net/{name}");
        tree.line(format!("{link}/ifindex"), index);
        tree.line(format!("{link}/mtu"), mtu);
        tree.line(format!("{link}/flags"), flags);
        tree.line(format!("{link}/address"), address);
        tree.line(format!("{link}/type"), kind);
    }
    tree.file(
        "proc/net/route",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
         eth0\t00000000\t0103F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
         eth0\t0003F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    );
    tree.file(
        "proc/net/fib_trie",
        "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.244.3.7\n        /32 host LOCAL\n",
    );
    tree.file(
        "proc/net/if_inet6",
        "00000000000000000000000000000001 01 80 10 80       lo\n\
         fe8000000000000008580afffef40307 03 40 20 80     eth0\n",
    );
}
