//! What an emulated node looks like, and the QEMU that plays it.

use camino::Utf8Path;

/// A node's hardware.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Names its test and its directory of results.
    pub name: &'static str,
    /// NUMA nodes, from 0.
    pub cells: &'static [Cell],
    /// Threads of one core: 1, or 2 for SMT.
    pub threads: u8,
    /// SR-IOV NICs `pf0`, `pf1`, ..., all on one wire.
    pub nics: &'static [Nic],
    /// What stands between devices and memory.
    pub iommu: Iommu,
    /// Whether the kernel has `/dev/iommu`, and vfio a file for each device.
    pub iommufd: bool,
    /// What it boots.
    pub kernel: Kernel,
}

/// Debian's generic kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Of bookworm-backports (6.12).
    Current,
    /// Of bookworm (6.1): its vhost workers are the kernel's own threads, and it has cpusets of v1.
    Older,
}

impl Kernel {
    /// Where `make node` puts it, in the project.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Current => "target/node",
            Self::Older => "target/node/older",
        }
    }
}

/// One NUMA node.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Host CPUs, threads counted; 0 for memory alone.
    pub cpus: u8,
    /// Memory in GiB. Below 4 on node 0, its 1Gi pages may end up on another node.
    pub memory: u8,
    /// Free 1Gi pages.
    pub huge_1g: u8,
    /// Free 2Mi pages.
    pub huge_2m: u16,
}

/// One `igb`, the only NIC of QEMU's with VFs that a driver of the guest's knows.
#[derive(Debug, Clone, Copy)]
pub struct Nic {
    /// The NUMA node it hangs on.
    pub cell: u8,
    /// VFs made at boot, at most 7, bound to no driver.
    pub vfs: u8,
    /// Whether its root port has ACS. Without, the NIC and all its VFs share a group with the port.
    pub acs: bool,
}

/// The emulated IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iommu {
    /// VT-d.
    Intel {
        /// Without it VFIO refuses a device.
        interrupt_remapping: bool,
    },
    /// `virtio-iommu`, which remaps no interrupts.
    Virtio,
    /// None: VFIO has no groups.
    None,
}

/// Two nodes of four CPUs; four VFs on node 1, one on node 0; a few 2Mi pages, one 1Gi page on node 0 and five on node 1.
pub const DEFAULT: Shape = Shape {
    name: "default",
    cells: &[
        Cell {
            cpus: 4,
            memory: 4,
            huge_1g: 1,
            huge_2m: 64,
        },
        Cell {
            cpus: 4,
            memory: 8,
            huge_1g: 5,
            huge_2m: 64,
        },
    ],
    threads: 1,
    nics: &[
        Nic {
            cell: 1,
            vfs: 4,
            acs: true,
        },
        Nic {
            cell: 0,
            vfs: 1,
            acs: true,
        },
    ],
    iommu: Iommu::Intel {
        interrupt_remapping: true,
    },
    iommufd: false,
    kernel: Kernel::Current,
};

/// The same with iommufd, which the distro's kernels lack.
pub const IOMMUFD: Shape = Shape {
    name: "iommufd",
    iommufd: true,
    ..DEFAULT
};

/// Where things of the project and of this boot are.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The project.
    pub project: &'a Utf8Path,
    /// Written to by the node.
    pub results: &'a Utf8Path,
    /// The kernel's console: a file; none puts a shell on the terminal.
    pub console: Option<&'a Utf8Path>,
    /// The test program, beside which the others are.
    pub program: &'a Utf8Path,
}

impl Shape {
    /// Arguments of the QEMU that plays this node.
    pub fn qemu_args(&self, places: &Places<'_>) -> Vec<String> {
        let mut args = Args::default();
        args.add("-nodefaults", "");
        args.add("-no-user-config", "");
        args.add("-display", "none");
        args.add("-no-reboot", "");
        args.add("-machine", "q35");
        args.add("-accel", "tcg,thread=multi,tb-size=1024");
        // An AMD model for `svm`, which is what makes `/dev/kvm` work inside, less what emulation lacks.
        args.add(
            "-cpu",
            "EPYC,+svm,+npt,-fxsr-opt,-misalignsse,-osvw,-topoext,-nrip-save,-xsavec",
        );
        self.processors_and_memory(&mut args);
        self.devices(&mut args);
        Self::shares(places, &mut args);
        self.boot(places, &mut args);
        args.0
    }

    fn processors_and_memory(&self, args: &mut Args) {
        let cpus: u32 = self.cells.iter().map(|cell| u32::from(cell.cpus)).sum();
        let with_cpus = self.cells.iter().filter(|cell| cell.cpus > 0);
        let sizes: Vec<u8> = with_cpus.map(|cell| cell.cpus).collect();
        // A socket a node where they are alike, else one for all.
        let alike = sizes.windows(2).all(|pair| pair[0] == pair[1]);
        let sockets = if alike {
            u32::try_from(sizes.len()).expect("few nodes")
        } else {
            1
        };
        let threads = u32::from(self.threads);
        args.add(
            "-smp",
            format!(
                "{cpus},sockets={sockets},cores={},threads={threads}",
                cpus / sockets / threads
            ),
        );
        let memory: u32 = self.cells.iter().map(|cell| u32::from(cell.memory)).sum();
        args.add("-m", format!("{memory}G"));
        let mut first = 0;
        for (id, cell) in self.cells.iter().enumerate() {
            args.add(
                "-object",
                format!("memory-backend-ram,id=memory{id},size={}G", cell.memory),
            );
            let next = first + cell.cpus;
            let cpus = match cell.cpus {
                0 => String::new(),
                _ => format!(",cpus={first}-{}", next - 1),
            };
            args.add("-numa", format!("node,nodeid={id},memdev=memory{id}{cpus}"));
            first = next;
        }
        for from in 0..self.cells.len() {
            for to in (0..self.cells.len()).filter(|to| *to != from) {
                args.add("-numa", format!("dist,src={from},dst={to},val=21"));
            }
        }
    }

    /// Everything but the NICs is put on the root bus by name: QEMU would otherwise pick a NUMA node's.
    fn devices(&self, args: &mut Args) {
        match self.iommu {
            Iommu::Intel {
                interrupt_remapping,
            } => {
                let remapping = if interrupt_remapping { "on" } else { "off" };
                args.add(
                    "-device",
                    format!("intel-iommu,caching-mode=on,intremap={remapping}"),
                );
            }
            Iommu::Virtio => args.add("-device", "virtio-iommu-pci,bus=pcie.0"),
            Iommu::None => {}
        }
        args.add("-netdev", "hubport,id=wire,hubid=0");
        args.add(
            "-device",
            "virtio-net-pci,bus=pcie.0,netdev=wire,mac=52:54:00:00:00:01",
        );
        let mut buses = Vec::new();
        for (index, nic) in self.nics.iter().enumerate() {
            let cell = nic.cell;
            if !buses.contains(&cell) {
                buses.push(cell);
                // The node names NICs in the order of their addresses.
                args.add(
                    "-device",
                    format!(
                        "pxb-pcie,id=cell{cell},bus=pcie.0,bus_nr={},numa_node={cell}",
                        0x20 * buses.len()
                    ),
                );
            }
            let acs = if nic.acs { "" } else { ",disable-acs=on" };
            let chassis = index + 1;
            args.add(
                "-device",
                format!("pcie-root-port,id=port{index},bus=cell{cell},chassis={chassis}{acs}"),
            );
            args.add("-netdev", format!("hubport,id=nic{index},hubid=0"));
            args.add(
                "-device",
                format!(
                    "igb,bus=port{index},netdev=nic{index},mac=52:54:00:00:01:{:02x}",
                    index
                ),
            );
        }
    }

    fn shares(places: &Places<'_>, args: &mut Args) {
        args.add(
            "-fsdev",
            "local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap",
        );
        args.add(
            "-device",
            "virtio-9p-pci,bus=pcie.0,fsdev=machine,mount_tag=machine",
        );
        args.add(
            "-fsdev",
            format!(
                "local,id=results,path={},security_model=none",
                comma(places.results.as_str())
            ),
        );
        args.add(
            "-device",
            "virtio-9p-pci,bus=pcie.0,fsdev=results,mount_tag=results",
        );
    }

    fn boot(&self, places: &Places<'_>, args: &mut Args) {
        match places.console {
            Some(file) => {
                args.add("-serial", format!("file:{}", comma(file.as_str())));
                args.add("-serial", "stdio");
            }
            None => {
                args.add("-serial", "mon:stdio");
                args.add(
                    "-serial",
                    format!("file:{}", comma(places.results.join("told").as_str())),
                );
            }
        }
        let target = places.project.join(self.kernel.directory());
        args.add("-kernel", target.join("vmlinux").as_str());
        args.add("-initrd", target.join("initramfs.cpio").as_str());
        args.add("-append", self.kernel_arguments(places));
    }

    /// `nokaslr`: a kernel that lies in node 0's only free GiB takes its 1Gi page away. `no_timer_check`: on a busy machine
    /// the emulated timer is late for it, which ends the boot.
    fn kernel_arguments(&self, places: &Places<'_>) -> String {
        let pages = |of: fn(&Cell) -> u16| {
            let cells = self.cells.iter().enumerate();
            let counts: Vec<_> = cells
                .map(|(id, cell)| format!("{id}:{}", of(cell)))
                .collect();
            counts.join(",")
        };
        let vfs = self.nics.iter().map(|nic| nic.vfs.to_string());
        let mut words = vec![
            "console=ttyS0 panic=-1 nokaslr no_timer_check intel_iommu=on iommu=nopt default_hugepagesz=2M"
                .to_owned(),
            format!(
                "hugepagesz=1G hugepages={}",
                pages(|cell| cell.huge_1g.into())
            ),
            format!("hugepagesz=2M hugepages={}", pages(|cell| cell.huge_2m)),
            format!("node.project={}", places.project),
            format!("node.kernel={}", self.kernel.directory()),
            format!("node.run={}", places.program),
            format!("node.vfs={}", vfs.collect::<Vec<_>>().join(",")),
        ];
        if self.iommufd {
            words.push("node.iommufd".to_owned());
        }
        if places.console.is_none() {
            words.push("node.shell=ttyS0 quiet".to_owned());
        }
        words.join(" ")
    }
}

/// QEMU's way to write a comma inside a value.
fn comma(value: &str) -> String {
    value.replace(',', ",,")
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        let value = value.into();
        if !value.is_empty() {
            self.0.push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT, Places, comma};

    #[test]
    fn cpus_and_pages_go_to_their_nodes_and_devices_to_named_buses() {
        let path = camino::Utf8Path::new("/p");
        let args = DEFAULT.qemu_args(&Places {
            project: path,
            results: path,
            console: Some(path),
            program: path,
        });
        let has = |text: &str| {
            assert!(
                args.iter().any(|arg| arg.contains(text)),
                "{text}: {args:#?}"
            )
        };
        has("8,sockets=2,cores=4,threads=1");
        has("node,nodeid=0,memdev=memory0,cpus=0-3");
        has("node,nodeid=1,memdev=memory1,cpus=4-7");
        has("hugepagesz=1G hugepages=0:1,1:5 hugepagesz=2M hugepages=0:64,1:64");
        let devices = args
            .iter()
            .skip_while(|arg| *arg != "-device")
            .filter(|arg| arg.contains("pci,"));
        for device in devices {
            assert!(device.contains(",bus="), "{device}");
        }
        assert_eq!(comma("/a,b"), "/a,,b");
    }
}
