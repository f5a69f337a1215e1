use super::{Interface, Rng, mirror};

mirror! {
    pub struct Devices {
        pub disks: Vec<Disk>,
        pub interfaces: Vec<Interface>,
        pub inputs: Vec<Input>,
        pub gpus: Vec<PluginDevice>,
        pub host_devices: Vec<PluginDevice>,
        pub video: Option<Video>,
        pub panic_devices: Vec<PanicDevice>,
        pub watchdog: Option<Watchdog>,
        pub rng: Option<Rng>,
        pub use_virtio_transitional: Option<bool>,
        pub disable_hotplug: Option<bool>,
        pub block_multi_queue: Option<bool>,
        #[serde(rename = "networkInterfaceMultiqueue")]
        pub network_interface_multiqueue: Option<bool>,
        pub autoattach_pod_interface: Option<bool>,
        pub autoattach_graphics_device: Option<bool>,
        pub autoattach_serial_console: Option<bool>,
        pub autoattach_mem_balloon: Option<bool>,
        pub autoattach_input_device: Option<bool>,
    }

    /// An entry of `gpus` or `hostDevices`.
    pub struct PluginDevice {
        pub name: Option<String>,
        pub device_name: Option<String>,
    }

    pub struct Disk {
        pub name: Option<String>,
        pub disk: Option<DiskTarget>,
        pub cdrom: Option<CdRomTarget>,
        pub cache: Option<String>,
        pub io: Option<String>,
        pub serial: Option<String>,
        pub boot_order: Option<i64>,
        pub error_policy: Option<String>,
        #[serde(rename = "dedicatedIOThread")]
        pub dedicated_io_thread: Option<bool>,
    }

    pub struct DiskTarget {
        pub bus: Option<String>,
        pub readonly: Option<bool>,
        pub pci_address: Option<String>,
    }

    pub struct CdRomTarget {
        pub bus: Option<String>,
        pub readonly: Option<bool>,
        pub tray: Option<String>,
    }

    pub struct Input {
        pub name: Option<String>,
        pub bus: Option<String>,
        #[serde(rename = "type")]
        pub kind: Option<String>,
    }

    pub struct Watchdog {
        pub name: Option<String>,
        #[serde(rename = "i6300esb")]
        pub i6300esb: Option<I6300Esb>,
    }

    pub struct I6300Esb {
        pub action: Option<String>,
    }

    pub struct PanicDevice {
        pub model: Option<String>,
    }

    pub struct Video {
        #[serde(rename = "type")]
        pub kind: Option<String>,
    }
}
