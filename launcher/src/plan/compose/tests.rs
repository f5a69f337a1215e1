//! Goldens: what QEMU is told for VMs of every kind, and refusals.

use crate::host::ImageFormat;
use crate::machine::pci::PciAddress;
use crate::passthrough::{self, plan::PassthroughPlan};
use crate::placement::Placement;
use crate::plan::fixtures::{self, cdrom, disk, feature, nic};
use crate::plan::{Accel, LaunchPlan, Options, text};
use crate::refusal::Refusal;
use crate::spec::cpu::{CpuModel, FeaturePolicy};
use crate::spec::device::{Input, InputBus};
use crate::spec::disk::{Bus, Cache, DiskKind, ErrorPolicy, Io};
use crate::spec::nic::NicModel;
use crate::spec::{RebootPolicy, Spec};
use crate::storage::plan::StoragePlan;

fn compose(spec: &Spec, storage: StoragePlan, options: &Options) -> Result<LaunchPlan, Refusal> {
    let network = fixtures::network(spec);
    let parts = (network, storage, PassthroughPlan::default());
    LaunchPlan::compose(spec, &fixtures::facts(), parts, options)
}

fn placed(name: &str, spec: &Spec, placement: Placement, accel: Accel) {
    let parts = (
        fixtures::network(spec),
        fixtures::storage(spec),
        PassthroughPlan::default(),
    );
    let options = fixtures::options(accel);
    let plan = LaunchPlan::placed(spec, &fixtures::facts(), placement, parts, &options).unwrap();
    keep(name, &plan);
}

/// Two goldens a VM: the text for people, and the wire form, which `tests/cases/qemu_accepts.rs` feeds to QEMU.
fn golden(name: &str, spec: &Spec, storage: StoragePlan, accel: Accel) -> LaunchPlan {
    let plan = compose(spec, storage, &fixtures::options(accel)).unwrap();
    keep(name, &plan);
    plan
}

fn keep(name: &str, plan: &LaunchPlan) {
    insta::assert_snapshot!(format!("{name}.text"), text(plan));
    insta::assert_snapshot!(
        format!("{name}.json"),
        serde_json::to_string_pretty(plan).unwrap()
    );
}

/// A VF by the files that QEMU is handed, beside the NIC and the console of the others.
#[test]
fn iommufd() {
    let mut spec = fixtures::spec();
    spec.host_devices = vec![fixtures::vf("fast", "0000:82:02.1")];
    let mut facts = fixtures::facts();
    facts.iommufd = true;
    let vf = fixtures::vf_facts("0000:82:02.1", Some("vfio3"));
    facts.pci.insert(vf.address, vf);
    let (passthrough, notices) = passthrough::plan::plan(&spec, &facts).unwrap();
    assert_eq!(notices, []);
    let parts = (
        fixtures::network(&spec),
        fixtures::storage(&spec),
        passthrough,
    );
    let options = fixtures::options(Accel::Kvm);
    let plan = LaunchPlan::compose(&spec, &facts, parts, &options).unwrap();
    keep("iommufd", &plan);
}

#[test]
fn cells() {
    let mut spec = fixtures::spec();
    spec.cpu.cores = 4;
    spec.memory.guest = hugepages::Bytes(2 << 30);
    spec.disks = vec![disk(0, "root", Bus::Virtio)];
    spec.disks[0].iothreads = vec![1];
    spec.iothreads.count = 1;
    placed("cells", &spec, fixtures::two_cells(), Accel::Kvm);
}

#[test]
fn io_threads_of_a_pool_and_of_the_scsi_controller() {
    let mut spec = fixtures::spec();
    spec.cpu.cores = 2;
    spec.iothreads.count = 3;
    spec.disks = vec![
        disk(0, "pooled", Bus::Virtio),
        disk(1, "own", Bus::Virtio),
        disk(2, "scsi", Bus::Scsi),
        disk(3, "scsi-too", Bus::Scsi),
    ];
    spec.disks[0].iothreads = vec![1, 2];
    spec.disks[1].iothreads = vec![2];
    spec.disks[3].iothreads = vec![3];
    let storage = fixtures::storage(&spec);
    golden("iothreads", &spec, storage, Accel::Kvm);
}

fn address(text: &str) -> Option<PciAddress> {
    Some(text.parse().unwrap())
}

#[test]
fn minimal() {
    let spec = fixtures::spec();
    golden("minimal", &spec, StoragePlan::default(), Accel::Kvm);
}

fn masquerade_spec() -> Spec {
    let mut spec = fixtures::spec();
    spec.nics = vec![nic(0, "default", NicModel::Virtio)];
    spec.disks = vec![
        disk(0, "containerdisk", Bus::Virtio),
        disk(1, "cloudinitdisk", Bus::Virtio),
    ];
    spec.devices.rng = true;
    spec.firmware.kernel_boot = Some(fixtures::kernel_boot());
    spec
}

fn masquerade_storage(spec: &Spec) -> StoragePlan {
    let mut storage = fixtures::storage(spec);
    storage.disks[0].top = Some(fixtures::layer(
        "/var/run/kubevirt-ephemeral-disks/disk-data/containerdisk/disk.qcow2",
        ImageFormat::Qcow2,
        false,
    ));
    storage.disks[0].backing = Some(fixtures::layer(
        "/var/run/kubevirt/container-disks/disk_0.img",
        ImageFormat::Qcow2,
        false,
    ));
    storage.disks[1].direct_io = None;
    storage
}

#[test]
fn masquerade_with_overlay_and_seed() {
    let spec = masquerade_spec();
    golden("masquerade", &spec, masquerade_storage(&spec), Accel::Kvm);
}

#[test]
fn tcg() {
    let mut spec = masquerade_spec();
    spec.cpu.features = vec![feature("hv-relaxed", "on", FeaturePolicy::Force)];
    golden("tcg", &spec, masquerade_storage(&spec), Accel::Tcg);
}

#[test]
fn all_buses() {
    let mut spec = fixtures::spec();
    spec.cpu.sockets = 2;
    spec.devices.block_multi_queue = true;
    spec.devices.rng = true;
    spec.devices.inputs = vec![
        Input {
            name: "tablet0".to_owned(),
            bus: InputBus::Usb,
        },
        Input {
            name: "tablet1".to_owned(),
            bus: InputBus::Virtio,
        },
    ];
    spec.nics = vec![nic(0, "default", NicModel::Virtio)];
    spec.disks = vec![
        disk(0, "root", Bus::Virtio),
        disk(1, "block", Bus::Virtio),
        disk(2, "sata", Bus::Sata),
        disk(3, "scsi", Bus::Scsi),
        cdrom(4, "seed", Bus::Sata),
        cdrom(5, "empty", Bus::Scsi),
        cdrom(6, "open", Bus::Sata),
    ];
    spec.disks[0].boot_order = Some(2);
    spec.disks[0].serial = Some("D1, 0".to_owned());
    spec.disks[0].error_policy = ErrorPolicy::Enospace;
    spec.disks[2].cache = Some(Cache::WriteBack);
    spec.disks[2].error_policy = ErrorPolicy::Report;
    spec.disks[3].cache = Some(Cache::WriteThrough);
    spec.disks[3].io = Some(Io::Threads);
    spec.disks[3].serial = Some("S1".to_owned());
    spec.disks[3].error_policy = ErrorPolicy::Ignore;
    spec.disks[3].read_only = true;
    spec.disks[4].boot_order = Some(1);
    spec.disks[6].kind = DiskKind::CdRom { tray_open: true };
    let mut storage = fixtures::storage(&spec);
    storage.disks[1].top = Some(fixtures::layer("/dev/block", ImageFormat::Raw, true));
    storage.disks[5].top = None;
    golden("all-buses", &spec, storage, Accel::Kvm);
}

#[test]
fn nics() {
    let mut spec = fixtures::spec();
    spec.cpu.cores = 4;
    spec.nics = vec![
        nic(0, "default", NicModel::Virtio),
        nic(1, "old", NicModel::E1000),
        nic(2, "e", NicModel::E1000e),
        nic(3, "vf", NicModel::Igb),
        nic(4, "realtek", NicModel::Rtl8139),
        nic(5, "fixed", NicModel::Virtio),
        nic(6, "onboard", NicModel::Virtio),
        nic(7, "ne", NicModel::Ne2kPci),
        nic(8, "amd", NicModel::Pcnet),
    ];
    spec.nics[0].queues = 4;
    spec.nics[1].boot_order = Some(1);
    spec.nics[2].acpi_index = Some(7);
    spec.nics[3].link_down = true;
    spec.nics[5].pci_address = address("0000:03:00.0");
    spec.nics[6].pci_address = address("0000:00:05.0");
    spec.disks = vec![disk(0, "root", Bus::Virtio)];
    let storage = fixtures::storage(&spec);
    golden("nics", &spec, storage, Accel::Kvm);
}

#[test]
fn named_cpu_with_features_and_hyperv() {
    let mut spec = fixtures::spec();
    spec.cpu.model = CpuModel::Named("Haswell-noTSX".to_owned());
    spec.cpu.features = vec![
        feature("pcid", "on", FeaturePolicy::Require),
        feature("avx2", "on", FeaturePolicy::Optional),
        feature("amx-tile", "on", FeaturePolicy::Optional),
        feature("x2apic", "off", FeaturePolicy::Disable),
        feature("hv-relaxed", "on", FeaturePolicy::Force),
        feature("hv-spinlocks", "4096", FeaturePolicy::Force),
        feature("hv-vendor-id", "KubeVirt", FeaturePolicy::Force),
    ];
    golden("named-cpu", &spec, StoragePlan::default(), Accel::Kvm);
}

#[test]
fn paused_with_everything_said_of_the_board() {
    let mut spec = fixtures::spec();
    spec.lifecycle.start_paused = true;
    spec.lifecycle.reboot_policy = RebootPolicy::Terminate;
    spec.firmware.serial = Some("SN,1".to_owned());
    spec.firmware.chassis.manufacturer = Some("Acme, Inc.".to_owned());
    spec.firmware.chassis.sku = Some("rack".to_owned());
    spec.firmware.bios_serial = true;
    spec.firmware.smm = true;
    spec.firmware.clock.utc_offset_seconds = 3600;
    spec.firmware.clock.rtc_catchup = true;
    spec.firmware.clock.rtc_track_guest = true;
    spec.firmware.clock.pit_lost_tick_policy = Some("delay".to_owned());
    spec.firmware.clock.hpet = Some(false);
    golden("paused", &spec, StoragePlan::default(), Accel::Kvm);
}

#[test]
fn more_than_two_gibibytes() {
    let mut spec = masquerade_spec();
    spec.memory.guest = hugepages::Bytes(4 << 30);
    spec.devices.rng = false;
    golden("large", &spec, masquerade_storage(&spec), Accel::Kvm);
}

#[test]
fn transitional() {
    let mut spec = masquerade_spec();
    spec.devices.virtio_transitional = true;
    golden("transitional", &spec, masquerade_storage(&spec), Accel::Kvm);
}

#[test]
fn bare() {
    let mut spec = fixtures::spec();
    spec.devices.graphics = false;
    spec.devices.serial_console = false;
    spec.devices.balloon = false;
    spec.devices.disable_hotplug = true;
    spec.disks = (0..9)
        .map(|index| disk(index, &format!("d{index}"), Bus::Sata))
        .collect();
    let storage = fixtures::storage(&spec);
    golden("bare", &spec, storage, Accel::Kvm);
}

#[test]
fn the_wire_form_reads_back() {
    let mut spec = masquerade_spec();
    spec.nics[0].queues = 2;
    spec.nics[0].link_down = true;
    let storage = masquerade_storage(&spec);
    let plan = compose(&spec, storage, &fixtures::options(Accel::Kvm)).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let read: LaunchPlan = serde_json::from_str(&text).unwrap();
    assert_eq!(read, plan);
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["argv", "placement", "network", "storage", "notices"] {
        assert!(object.get(key).is_some(), "{key}");
    }
}

#[test]
fn every_violation_comes_at_once() {
    let mut spec = fixtures::spec();
    spec.memory.guest = hugepages::Bytes(1 << 40);
    spec.cpu.model = CpuModel::Named("a,b".to_owned());
    spec.devices.video = Some("voodoo".to_owned());
    spec.disks = vec![
        disk(0, "direct", Bus::Virtio),
        disk(1, "native", Bus::Virtio),
        disk(2, "lost", Bus::Virtio),
    ];
    spec.disks[0].cache = Some(Cache::None);
    spec.disks[1].cache = Some(Cache::WriteBack);
    spec.disks[1].io = Some(Io::Native);
    spec.nics = vec![
        nic(0, "linked", NicModel::Virtio),
        nic(1, "unlinked", NicModel::Virtio),
    ];
    let mut storage = fixtures::storage(&spec);
    storage.disks[0].direct_io = Some(false);
    storage.disks.pop();
    let mut facts = fixtures::facts();
    facts.memory_limit = Some(hugepages::Bytes(1 << 30));
    let mut network = fixtures::network(&spec);
    network.nics.pop();
    let parts = (network, storage, PassthroughPlan::default());
    let refusal =
        LaunchPlan::compose(&spec, &facts, parts, &fixtures::options(Accel::Kvm)).unwrap_err();
    insta::assert_snapshot!("violations", refusal.to_string());
}

#[test]
fn a_place_that_the_guest_lacks_is_refused() {
    let mut spec = fixtures::spec();
    spec.nics = vec![
        nic(0, "chipset", NicModel::Virtio),
        nic(1, "video", NicModel::Virtio),
        nic(2, "function", NicModel::Virtio),
        nic(3, "slot", NicModel::Virtio),
        nic(4, "domain", NicModel::Virtio),
        nic(5, "twice", NicModel::Virtio),
        nic(6, "again", NicModel::Virtio),
        nic(7, "conventional", NicModel::E1000),
    ];
    let wishes = [
        "0000:00:1f.0",
        "0000:00:01.0",
        "0000:01:00.1",
        "0000:02:01.0",
        "0001:01:00.0",
        "0000:02:00.0",
        "0000:02:00.0",
        "0000:01:00.0",
    ];
    let refuse = |kept: &[usize]| {
        let mut chosen = spec.clone();
        chosen.nics = kept.iter().map(|index| spec.nics[*index].clone()).collect();
        for (nic, index) in chosen.nics.iter_mut().zip(kept) {
            nic.pci_address = address(wishes[*index]);
        }
        compose(
            &chosen,
            StoragePlan::default(),
            &fixtures::options(Accel::Kvm),
        )
        .unwrap_err()
        .to_string()
    };
    let refusals = [refuse(&[0, 1]), refuse(&[2, 3, 4, 5, 6, 7])];
    insta::assert_snapshot!("addresses", refusals.join("\n"));
}
