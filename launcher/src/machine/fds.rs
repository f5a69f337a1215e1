//! Numbers of the files that QEMU inherits.

use crate::net::plan::NetworkPlan;
use crate::passthrough::plan::PassthroughPlan;

/// The first number: everything below is the spawner's own.
const FIRST: i32 = 10;

/// Numbers by what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fds {
    /// QMP's listener.
    pub qmp: i32,
    /// The guest agent's listener.
    pub agent: i32,
    /// The serial console's listener.
    pub serial: Option<i32>,
    /// One for each NIC of the network plan.
    pub nics: Vec<NicFds>,
    /// The serial console's log.
    pub serial_log: Option<i32>,
    /// `/dev/iommu`, where devices of the host go by it.
    pub iommufd: Option<i32>,
    /// One for each device of the host that goes by iommufd.
    pub devices: Vec<i32>,
}

/// Numbers of one NIC.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NicFds {
    /// Tap queues, from 0.
    pub tap: Vec<i32>,
    /// A `/dev/vhost-net` for each queue, or none at all.
    pub vhost: Vec<i32>,
}

impl Fds {
    /// Numbers for one VM.
    pub fn number(
        serial_console: bool,
        network: &NetworkPlan,
        passthrough: &PassthroughPlan,
    ) -> Self {
        let cdevs = passthrough.devices.iter().flat_map(|device| &device.cdev);
        let mut numbers = FIRST..;
        let mut take = || numbers.next().unwrap_or(i32::MAX);
        Self {
            qmp: take(),
            agent: take(),
            serial: serial_console.then(&mut take),
            nics: network
                .nics
                .iter()
                .map(|nic| NicFds {
                    tap: (0..nic.tap.queues).map(|_| take()).collect(),
                    vhost: (0..if nic.tap.vhost { nic.tap.queues } else { 0 })
                        .map(|_| take())
                        .collect(),
                })
                .collect(),
            serial_log: serial_console.then(&mut take),
            iommufd: passthrough.by_iommufd().then(&mut take),
            devices: cdevs.map(|_| take()).collect(),
        }
    }
}
