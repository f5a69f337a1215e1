//! VMs for tests, as validation would have made them.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use hugepages::Bytes;
use numa::{CpuSet, Kib, Node, NodeId, NodeMemory, Topology};
use uuid::Uuid;

use crate::host::pci::{Group, PciFacts};
use crate::host::{CpuIdentity, HostFacts, ImageFormat, Resolver};
use crate::net::plan::{BridgePlan, Masquerade, NetworkPlan, NicPlan, Setup, TapPlan, Wiring};
use crate::placement::{
    Binding as MemoryBinding, DevicePlacement, Fill, GuestNode, IothreadPlacement, MemoryPlacement,
    Placement, Policy, Realtime, VcpuPlacement,
};
use crate::plan::{Accel, Options};
use crate::pod::PodPaths;
use crate::spec::cpu::{Cpu, CpuFeature, FeaturePolicy};
use crate::spec::device::Devices;
use crate::spec::disk::{Bus, Disk, DiskKind, ErrorPolicy, NoCloud, Source};
use crate::spec::firmware::{Chassis, Clock, Firmware, KernelBoot};
use crate::spec::host_device::{HostDevice, Kind};
use crate::spec::iothread::Iothreads;
use crate::spec::memory::Memory;
use crate::spec::nic::{Binding, DhcpOptions, Network, Nic, NicModel};
use crate::spec::placing::Placing;
use crate::spec::{Identity, Lifecycle, RebootPolicy, Spec};
use crate::storage::plan::{DiskImage, Layer, StoragePlan};

/// The smallest VM that KubeVirt's defaults make: one vCPU, 512 MiB, no disk, no NIC.
pub(crate) fn spec() -> Spec {
    Spec {
        identity: Identity {
            namespace: "default".to_owned(),
            name: "vm".to_owned(),
            uid: Uuid::from_u128(0x11111111_2222_3333_4444_555555555555),
            hostname: "vm".to_owned(),
            subdomain: None,
        },
        cpu: Cpu::default(),
        memory: Memory {
            guest: Bytes(512 << 20),
            hugepages: None,
            memfd: true,
            free_page_reporting: true,
        },
        firmware: firmware(),
        placement: Placing::default(),
        iothreads: Iothreads::default(),
        disks: Vec::new(),
        nics: Vec::new(),
        host_devices: Vec::new(),
        devices: Devices {
            graphics: true,
            video: None,
            serial_console: true,
            balloon: true,
            rng: false,
            panics: Vec::new(),
            watchdog: None,
            inputs: Vec::new(),
            virtio_transitional: false,
            disable_hotplug: false,
            block_multi_queue: false,
        },
        lifecycle: Lifecycle {
            grace_period: Duration::from_secs(30),
            start_paused: false,
            reboot_policy: RebootPolicy::Reboot,
        },
    }
}

fn firmware() -> Firmware {
    Firmware {
        machine_type: "q35".to_owned(),
        uuid: Uuid::from_u128(0xaaaaaaaa_bbbb_5ccc_8ddd_eeeeeeeeeeee),
        serial: None,
        chassis: Chassis::default(),
        bios_serial: false,
        acpi: true,
        smm: false,
        clock: Clock::default(),
        kernel_boot: None,
    }
}

/// `kernelBoot` with everything in it.
pub(crate) fn kernel_boot() -> KernelBoot {
    KernelBoot {
        kernel: Some("vmlinuz".to_owned()),
        initrd: Some("initramfs.img".to_owned()),
        args: Some("console=ttyS0 quiet, please".to_owned()),
    }
}

/// A disk at this position.
pub(crate) fn disk(index: usize, name: &str, bus: Bus) -> Disk {
    Disk {
        name: name.to_owned(),
        volume_index: index,
        path: format!("spec.domain.devices.disks[{index}]"),
        volume_path: format!("spec.volumes[{index}]"),
        source: Source::Claim {
            claim: name.to_owned(),
        },
        kind: DiskKind::Disk,
        bus,
        read_only: false,
        cache: None,
        io: None,
        serial: None,
        boot_order: None,
        error_policy: ErrorPolicy::Stop,
        iothreads: Vec::new(),
        pci_address: None,
    }
}

/// A CD-ROM at this position.
pub(crate) fn cdrom(index: usize, name: &str, bus: Bus) -> Disk {
    Disk {
        kind: DiskKind::CdRom { tray_open: false },
        read_only: true,
        source: Source::CloudInitNoCloud(NoCloud::default()),
        ..disk(index, name, bus)
    }
}

/// A NIC at this position.
pub(crate) fn nic(index: usize, name: &str, model: NicModel) -> Nic {
    Nic {
        name: name.to_owned(),
        path: format!("spec.domain.devices.interfaces[{index}]"),
        network: Network::Primary { pod_link: None },
        binding: Binding::Masquerade {
            cidr: "10.0.2.0/24".parse().unwrap(),
            cidr6: "fd10:0:2::/120".parse().unwrap(),
            ports: Vec::new(),
            istio: false,
        },
        model,
        mac: None,
        queues: 1,
        boot_order: None,
        pci_address: None,
        acpi_index: None,
        link_down: false,
        dhcp_options: DhcpOptions::default(),
    }
}

/// A feature.
pub(crate) fn feature(name: &str, value: &str, policy: FeaturePolicy) -> CpuFeature {
    CpuFeature {
        name: name.to_owned(),
        value: value.to_owned(),
        policy,
    }
}

/// A pod with four CPUs.
pub(crate) fn facts() -> HostFacts {
    HostFacts {
        cpus: "0-3".parse().unwrap(),
        mems: "0".parse().unwrap(),
        disagreements: Vec::new(),
        topology: topology(),
        pools: Vec::new(),
        hugetlb: Vec::new(),
        mbind: true,
        realtime: true,
        cpu: CpuIdentity {
            vendor: "GenuineIntel".to_owned(),
            model_name: "Intel(R) Xeon(R)".to_owned(),
            flags: ["sse4_2", "avx2", "pcid"].map(str::to_owned).to_vec(),
            address_bits: Some(46),
        },
        memory_limit: None,
        kvm: true,
        vhost_net: true,
        tun: true,
        iommufd: false,
        net_raw: true,
        hostname: "virt-launcher-vm".to_owned(),
        resolver: Resolver::default(),
        links: Vec::new(),
        vif_caches: BTreeMap::new(),
        link_vfs: BTreeMap::new(),
        mdevs: BTreeMap::new(),
        network_info: None,
        pci: BTreeMap::new(),
        memlock: Default::default(),
        environment: BTreeMap::new(),
    }
}

/// One node with the CPUs 0 to 3, two cores of two threads.
pub(crate) fn topology() -> Topology {
    let set = |list: &str| list.parse::<CpuSet>().unwrap();
    let node = Node {
        cpus: set("0-3"),
        distances: [(NodeId(0), 10)].into(),
        memory: NodeMemory {
            total: Kib(16 << 20),
            free: Kib(8 << 20),
        },
    };
    Topology {
        cpus: set("0-3"),
        possible: set("0-3"),
        nodes: [(NodeId(0), node)].into(),
        possible_nodes: set("0"),
        cores: vec![set("0,2"), set("1,3")],
        packages: vec![set("0-3")],
        ..Topology::default()
    }
}

/// A network plan for the NICs of a spec: taps with vhost.
pub(crate) fn network(spec: &Spec) -> NetworkPlan {
    let plan = |(index, nic): (u8, &Nic)| NicPlan {
        name: nic.name.clone(),
        pod_link: format!("eth{index}"),
        setup: Setup::Made,
        guest_mac: crate::net::mac::MacAddr([2, 0, 0, 0, 0, index]),
        mtu: 1450,
        tap: TapPlan {
            name: format!("tap{index}"),
            queues: nic.queues,
            vhost: nic.model == NicModel::Virtio,
        },
        bridge: BridgePlan {
            name: format!("k6t-eth{index}"),
            mac: crate::net::mac::MacAddr([2, 0, 0, 0, 0, 0]),
            address: Some("10.0.2.1/24".parse().unwrap()),
            address6: None,
        },
        wiring: Wiring::Masquerade(Masquerade {
            guest: Some("10.0.2.2/24".parse().unwrap()),
            guest6: None,
            ports: Vec::new(),
            istio: None,
        }),
        dhcp: None,
        ipv6: None,
    };
    NetworkPlan {
        nics: (0..).zip(&spec.nics).map(plan).collect(),
    }
}

/// A layer.
pub(crate) fn layer(path: &str, format: ImageFormat, block: bool) -> Layer {
    Layer {
        path: Utf8PathBuf::from(path),
        format,
        block,
    }
}

/// A storage plan for the disks of a spec: raw files that `O_DIRECT` opens.
pub(crate) fn storage(spec: &Spec) -> StoragePlan {
    let image = |disk: &Disk| DiskImage {
        name: disk.name.clone(),
        top: Some(layer(
            &format!("/var/run/kubevirt-private/vmi-disks/{}/disk.img", disk.name),
            ImageFormat::Raw,
            false,
        )),
        backing: None,
        direct_io: Some(true),
        preallocated: false,
    };
    StoragePlan {
        make: Vec::new(),
        disks: spec.disks.iter().map(image).collect(),
    }
}

/// Options in a pod.
pub(crate) fn options(accel: Accel) -> Options {
    Options {
        accel,
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        paths: PodPaths::default(),
        kernel_boot_dir: None,
        disk_paths: BTreeMap::new(),
    }
}

/// Four dedicated vCPUs in two cells of one huge page each, an isolated emulator, real time.
pub(crate) fn two_cells() -> Placement {
    let cell = |node: u32, cpus: &str| GuestNode {
        id: node,
        vcpus: cpus.to_owned(),
        distances: if node == 0 {
            vec![10, 21]
        } else {
            vec![21, 10]
        },
    };
    let memory = |node: u32| MemoryPlacement {
        guest_node: node,
        host_node: Some(node),
        bytes: 1 << 30,
        page_size: Some("1Gi".to_owned()),
    };
    let fill = |node: u32, cpus: &str| Fill {
        host_node: Some(node),
        cpus: cpus.to_owned(),
    };
    Placement {
        policy: Policy::Prefer,
        vcpus: (0..)
            .zip(["1", "2", "5", "6"])
            .map(|(vcpu, cpu)| VcpuPlacement {
                vcpu,
                cpus: cpu.to_owned(),
            })
            .collect(),
        emulator: Some("0,4".to_owned()),
        iothreads: vec![IothreadPlacement {
            id: 1,
            cpus: "0,4".to_owned(),
        }],
        memory: vec![memory(0), memory(1)],
        devices: vec![DevicePlacement {
            name: "vf".to_owned(),
            address: "0000:3b:02.1".to_owned(),
            host_node: Some(1),
            guest_node: Some(1),
        }],
        notes: vec!["memory follows the CPUs of each cell".to_owned()],
        dedicated: true,
        realtime: Some(Realtime {
            vcpus: "0-3".to_owned(),
            priority: 1,
        }),
        guest_nodes: vec![cell(0, "0-1"), cell(1, "2-3")],
        binding: MemoryBinding::Bind,
        fill: vec![fill(0, "0-3"), fill(1, "4-7")],
    }
}

/// An interface's VF, named by the annotation.
pub(crate) fn vf(name: &str, address: &str) -> HostDevice {
    HostDevice {
        name: name.to_owned(),
        path: format!("spec.domain.devices.interfaces[{name}]"),
        kind: Kind::Sriov {
            network: format!("{name}-network"),
        },
        boot_order: None,
        pci_address: None,
        told: address.parse().ok(),
    }
}

/// That VF on vfio-pci, with its file where it has one.
pub(crate) fn vf_facts(address: &str, file: Option<&str>) -> PciFacts {
    let address = address.parse().unwrap();
    PciFacts {
        address,
        driver: Some("vfio-pci".to_owned()),
        id: "8086:1520".to_owned(),
        physical: None,
        node: None,
        group: Some(Group {
            id: 17,
            members: Vec::new(),
        }),
        cdev: Some(file.unwrap_or("vfio9").to_owned()),
        cdev_file: file.is_some(),
        reset_methods: vec!["flr".to_owned()],
        bars: vec![0x4000],
    }
}
