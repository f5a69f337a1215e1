//! The VM as data, in QEMU's own names: one file a device, PCI addresses as a last pass over the finished machine.

pub mod balloon;
pub mod blockdev;
pub mod board;
pub mod boot;
pub mod clock;
pub mod cpu;
pub mod device;
pub mod disk;
pub mod fds;
pub mod hostdev;
pub mod iothread;
pub mod memory;
pub mod nic;
pub mod panic;
pub mod pci;
pub mod rng;
pub mod scsi;
pub mod serial;
pub mod smbios;
pub mod step;
pub mod tablet;
pub mod topology;
pub mod video;
pub mod virtio;
pub mod watchdog;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use uuid::Uuid;

use crate::host::CpuIdentity;
use crate::machine::blockdev::Backend;
use crate::machine::board::Accel;
use crate::machine::boot::Kernel;
use crate::machine::device::{Connect, Device, KeyValues, Props};
use crate::machine::disk::DiskContext;
use crate::machine::fds::Fds;
use crate::machine::step::QmpStep;
use crate::machine::virtio::Virtio;
use crate::net::plan::NetworkPlan;
use crate::passthrough::plan::PassthroughPlan;
use crate::placement::Placement;
use crate::refusal::{Notice, Violation};
use crate::spec::Spec;
use crate::spec::device::InputBus;
use crate::spec::disk::Bus;
use crate::storage::plan::StoragePlan;

/// Everything that QEMU is told of one VM.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// `-name guest=`.
    pub name: String,
    /// `-machine`.
    pub board: KeyValues,
    /// `-accel`.
    pub accel: KeyValues,
    /// `-cpu`, verbatim.
    pub cpu: String,
    /// `-m`.
    pub memory: KeyValues,
    /// `-numa`.
    pub numa: Vec<KeyValues>,
    /// `-smp`.
    pub smp: KeyValues,
    /// `-uuid`.
    pub uuid: Uuid,
    /// `-smbios`.
    pub smbios: Vec<KeyValues>,
    /// `-vnc`, on a unix socket that QEMU makes.
    pub vnc: Option<Utf8PathBuf>,
    /// `-add-fd`.
    pub log_fds: Vec<KeyValues>,
    /// QMP's `-chardev`.
    pub monitor: KeyValues,
    /// `-rtc`.
    pub rtc: KeyValues,
    /// `-global`.
    pub globals: Vec<KeyValues>,
    /// `-action`.
    pub action: KeyValues,
    /// `-boot`.
    pub boot: KeyValues,
    /// `-kernel` and what goes with it.
    pub kernel: Option<Kernel>,
    /// `-object`.
    pub objects: Vec<Props>,
    /// `-chardev` of the guest's ports.
    pub chardevs: Vec<KeyValues>,
    /// `-blockdev`, in the order in which they refer to each other.
    pub blockdevs: Vec<Props>,
    /// `-netdev`.
    pub netdevs: Vec<Props>,
    /// `-device`, buses before what is on them.
    pub devices: Vec<Device>,
    /// QEMU's environment.
    pub environment: BTreeMap<String, String>,
    /// QMP commands before `cont`.
    pub steps: Vec<QmpStep>,
}

/// What a machine is made from.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What is asked for.
    pub spec: &'a Spec,
    /// Who runs where.
    pub placement: &'a Placement,
    /// The host's CPU.
    pub host_cpu: &'a CpuIdentity,
    /// Links, one a NIC of the spec.
    pub network: &'a NetworkPlan,
    /// Devices of the host, one a host device of the spec.
    pub passthrough: &'a PassthroughPlan,
    /// Images, one a disk of the spec.
    pub storage: &'a StoragePlan,
    /// Numbers of inherited files.
    pub fds: &'a Fds,
    /// Who runs the guest's instructions.
    pub accel: Accel,
    /// Where VNC listens.
    pub vnc: &'a Utf8Path,
    /// Where `kernelBoot` files are.
    pub kernel_boot: &'a Utf8Path,
}

/// The finished machine, and what its owner should know.
pub fn build(parts: Parts<'_>) -> Result<(Machine, Vec<Notice>), Vec<Violation>> {
    let spec = parts.spec;
    let mut notices = Vec::new();
    let mut violations = Vec::new();
    let cpu = keep(
        cpu::cpu(&spec.cpu, parts.host_cpu, parts.accel),
        &mut violations,
    );
    let clock = keep_one(
        clock::rtc(&spec.firmware.clock, parts.accel),
        &mut violations,
    );
    let backends = backends(parts, &mut notices, &mut violations);
    violations.extend(unlinked(parts));
    let devices = keep(devices(parts, &backends), &mut violations);
    let (Some(cpu), Some(clock), Some(devices), true) =
        (cpu, clock, devices, violations.is_empty())
    else {
        return Err(violations);
    };
    notices.extend(cpu.notices);
    notices.extend(clock.notices);
    let mut argument = vec![cpu.argument.as_str()];
    argument.extend(cpu::of_placement(parts.placement, parts.accel));
    let ram = memory::memory(parts.placement, spec.memory.memfd);
    let machine = Machine {
        name: spec.identity.domain_name(),
        board: board::machine(&spec.firmware, ram.whole),
        accel: board::accel(parts.accel),
        cpu: argument.join(","),
        memory: memory::size(spec.memory.guest),
        numa: ram.numa,
        smp: board::smp(&spec.cpu),
        uuid: spec.firmware.uuid,
        smbios: smbios::smbios(&spec.firmware),
        vnc: spec.devices.graphics.then(|| parts.vnc.to_owned()),
        log_fds: serial::log_fds(parts.fds),
        monitor: serial::monitor_chardev(parts.fds),
        rtc: clock.rtc,
        globals: clock.globals,
        action: boot::action(spec.lifecycle.reboot_policy, spec.devices.watchdog.as_ref()),
        boot: boot::boot(spec.lifecycle.start_paused),
        kernel: kernel(parts),
        objects: objects(spec, ram.objects, parts.fds.iommufd),
        chardevs: serial::chardevs(parts.fds),
        blockdevs: backends
            .into_iter()
            .flat_map(|backend| backend.nodes)
            .collect(),
        netdevs: spec
            .nics
            .iter()
            .zip(&parts.fds.nics)
            .map(|(nic, fds)| nic::netdev(nic, fds))
            .collect(),
        devices,
        environment: clock.environment,
        steps: steps(spec),
    };
    Ok((machine, notices))
}

fn keep<T>(result: Result<T, Vec<Violation>>, violations: &mut Vec<Violation>) -> Option<T> {
    result.map_err(|more| violations.extend(more)).ok()
}

fn keep_one<T>(result: Result<T, Violation>, violations: &mut Vec<Violation>) -> Option<T> {
    keep(result.map_err(|one| vec![one]), violations)
}

fn kernel(parts: Parts<'_>) -> Option<Kernel> {
    let boot = parts.spec.firmware.kernel_boot.as_ref()?;
    Some(boot::kernel(boot, parts.kernel_boot))
}

fn objects(spec: &Spec, ram: Vec<Props>, iommufd: Option<i32>) -> Vec<Props> {
    let mut objects = ram;
    objects.extend(iothread::objects(1..=spec.iothreads.count));
    if spec.devices.rng {
        objects.push(rng::backend());
    }
    objects.extend(iommufd.map(hostdev::iommufd));
    objects
}

fn steps(spec: &Spec) -> Vec<QmpStep> {
    let down = spec.nics.iter().filter(|nic| nic.link_down);
    let mut steps: Vec<_> = down.map(nic::link_down).collect();
    if spec.devices.balloon {
        steps.push(balloon::stats_period());
    }
    steps
}

/// NICs that have no plan of their own at their place in the network plan.
fn unlinked(parts: Parts<'_>) -> Vec<Violation> {
    let mut plans = parts.network.nics.iter();
    let unlinked = parts.spec.nics.iter().filter(|nic| {
        let plan = plans.next();
        plan.is_none_or(|plan| plan.name != nic.name || plan.tap.queues == 0)
    });
    unlinked
        .map(|nic| {
            Violation::new(
                nic.path.clone(),
                format!("no link is planned for interface `{}`", nic.name),
                "an interface needs a network of its name",
            )
        })
        .collect()
}

/// Block nodes of each disk, in the VMI's order.
fn backends(
    parts: Parts<'_>,
    notices: &mut Vec<Notice>,
    violations: &mut Vec<Violation>,
) -> Vec<Backend> {
    let images = &parts.storage.disks;
    let mut backends = Vec::new();
    for (index, disk) in parts.spec.disks.iter().enumerate() {
        let result = match images.iter().find(|image| image.name == disk.name) {
            Some(image) => blockdev::backend(index, disk, image, notices),
            None => Err(Violation::new(
                disk.path.clone(),
                format!("no image is planned for disk `{}`", disk.name),
                "a disk needs a volume of its name",
            )),
        };
        backends.push(keep_one(result, violations).unwrap_or_default());
    }
    backends
}

/// Every device with its address, in the order in which libvirt hands addresses out.
fn devices(parts: Parts<'_>, backends: &[Backend]) -> Result<Vec<Device>, Vec<Violation>> {
    let spec = parts.spec;
    let asked = &spec.devices;
    let virtio = Virtio::of(asked.virtio_transitional);
    let mut devices = Vec::new();
    devices.extend(video::video(asked).map_err(|violation| vec![violation])?);
    devices.extend(
        spec.nics
            .iter()
            .zip(&parts.network.nics)
            .map(|(nic, plan)| nic::device(nic, plan, virtio)),
    );
    devices.extend(controllers(spec, virtio));
    devices.extend(disks(spec, virtio, backends));
    let passed = parts.passthrough.devices.iter().zip(&spec.host_devices);
    let mut numbers = parts.fds.devices.iter().copied();
    devices.extend(passed.map(|(passed, asked)| {
        let number = passed.cdev.as_ref().and_then(|_| numbers.next());
        let placed = parts.placement.devices.iter();
        let node = placed
            .filter(|device| device.name == passed.name)
            .find_map(|device| device.guest_node);
        hostdev::device(passed, asked, node, number)
    }));
    if asked.balloon {
        let reporting = spec.memory.free_page_reporting && balloon::may_report(parts.placement);
        devices.push(balloon::balloon(virtio, reporting));
    }
    if asked.rng {
        devices.push(rng::rng(virtio));
    }
    devices.extend(asked.watchdog.as_ref().map(watchdog::watchdog));
    devices.extend(tablet::virtio_tablets(&asked.inputs));
    devices.push(serial::agent_port());
    if asked.serial_console {
        devices.push(serial::isa_serial());
    }
    let panics = || asked.panics.iter().copied().filter_map(panic::panic);
    devices.extend(panics().filter(|device| device.connect == Connect::Named));
    devices.extend(tablet::usb_tablets(&asked.inputs)?);
    devices.extend(panics().filter(|device| device.connect != Connect::Named));
    topology::assign(devices, room(spec))
}

/// USB, SCSI, virtio-serial, AHCI: what KubeVirt names first, then what libvirt adds.
fn controllers(spec: &Spec, virtio: Virtio) -> Vec<Device> {
    let console = spec.devices.serial_console;
    let mut controllers: Vec<_> = tablet::usb_controller(&spec.devices.inputs)
        .into_iter()
        .collect();
    controllers.extend(scsi::wanted(spec).then(|| scsi::controller(spec, virtio)));
    controllers.extend(disk::extra_ahci(&spec.disks));
    let serial = serial::virtio_serial(virtio, console);
    if console {
        let named = controllers
            .iter()
            .take_while(|device| device.driver != "ich9-ahci")
            .count();
        controllers.insert(named, serial);
    } else {
        controllers.push(serial);
    }
    controllers
}

fn disks(spec: &Spec, virtio: Virtio, backends: &[Backend]) -> Vec<Device> {
    let queues = spec.devices.block_multi_queue.then(|| spec.cpu.vcpus());
    spec.disks
        .iter()
        .zip(backends)
        .zip(disk::sd_indices(&spec.disks))
        .zip(boot::disk_indices(spec))
        .map(|(((disk, backend), sd_index), boot_index)| {
            let context = DiskContext {
                virtio,
                queues,
                sd_index,
                boot_index,
            };
            disk::device(disk, backend, context)
        })
        .collect()
}

/// Devices as KubeVirt counts them: it counts its USB controller and its balloon even where they are `none`.
fn room(spec: &Spec) -> topology::Room {
    let devices = &spec.devices;
    let virtio_disks = spec
        .disks
        .iter()
        .filter(|disk| disk.bus == Bus::Virtio)
        .count();
    let virtio_inputs = devices
        .inputs
        .iter()
        .filter(|input| input.bus == InputBus::Virtio)
        .count();
    let usb_and_balloon = 2;
    topology::Room {
        memory: spec.memory.guest,
        in_use: usb_and_balloon
            + spec.nics.len()
            + spec.host_devices.len()
            + usize::from(scsi::wanted(spec))
            + usize::from(devices.serial_console)
            + virtio_disks
            + virtio_inputs
            + usize::from(devices.rng),
        conventional_placeholders: devices.virtio_transitional,
    }
}
