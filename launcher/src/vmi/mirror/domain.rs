use super::{Clock, Devices, Features, Marker, mirror};
use crate::quantity::Quantity;

mirror! {
    pub struct Domain {
        pub cpu: Cpu,
        pub memory: Memory,
        pub resources: Resources,
        pub machine: Machine,
        pub firmware: Firmware,
        pub chassis: Chassis,
        pub clock: Clock,
        pub features: Features,
        pub devices: Devices,
        pub reboot_policy: Option<String>,
        pub io_threads_policy: Option<String>,
        pub io_threads: IoThreads,
    }

    pub struct Cpu {
        pub sockets: Option<u32>,
        pub cores: Option<u32>,
        pub threads: Option<u32>,
        pub max_sockets: Option<u32>,
        pub dedicated_cpu_placement: Option<bool>,
        pub isolate_emulator_thread: Option<bool>,
        pub numa: Numa,
        pub realtime: Option<Realtime>,
        pub model: Option<String>,
        pub features: Vec<CpuFeature>,
    }

    pub struct Numa {
        pub guest_mapping_passthrough: Option<Marker>,
    }

    pub struct Realtime {
        pub mask: Option<String>,
    }

    pub struct IoThreads {
        pub supplemental_pool_thread_count: Option<u32>,
    }

    pub struct CpuFeature {
        pub name: Option<String>,
        pub policy: Option<String>,
    }

    pub struct Memory {
        pub guest: Option<Quantity>,
        pub hugepages: Option<HugePages>,
    }

    pub struct HugePages {
        pub page_size: Option<String>,
    }

    pub struct Resources {
        pub requests: ResourceList,
        pub limits: ResourceList,
    }

    pub struct ResourceList {
        pub cpu: Option<Quantity>,
        pub memory: Option<Quantity>,
    }

    pub struct Machine {
        #[serde(rename = "type")]
        pub kind: Option<String>,
    }

    pub struct Firmware {
        pub uuid: Option<String>,
        pub serial: Option<String>,
        pub bootloader: Bootloader,
        pub kernel_boot: Option<KernelBoot>,
    }

    pub struct Bootloader {
        pub bios: Option<Bios>,
    }

    pub struct Bios {
        pub use_serial: Option<bool>,
    }

    pub struct KernelBoot {
        pub kernel_args: Option<String>,
        pub container: Option<KernelBootContainer>,
    }

    pub struct KernelBootContainer {
        pub image: Option<String>,
        pub kernel_path: Option<String>,
        pub initrd_path: Option<String>,
    }

    pub struct Chassis {
        pub manufacturer: Option<String>,
        pub version: Option<String>,
        pub serial: Option<String>,
        pub asset: Option<String>,
        pub sku: Option<String>,
    }
}

/// `rng: {}`.
pub type Rng = Marker;
