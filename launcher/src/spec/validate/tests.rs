use std::time::Duration;

use hugepages::Bytes;

use crate::refusal::Notice;
use crate::spec::Spec;
use crate::spec::cpu::{CpuModel, FeaturePolicy};
use crate::spec::device::InputBus;
use crate::spec::disk::{Bus, DiskKind, Source};
use crate::spec::nic::Binding;
use crate::vmi;

/// A VMI of `metadata.name: vm` and the given spec.
fn try_spec(spec: &str) -> Result<(Spec, Vec<Notice>), crate::refusal::Refusal> {
    let text = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: vm}}\nspec: {spec}"
    );
    Spec::from_vmi(&vmi::read(&text)?)
}

fn spec(text: &str) -> Spec {
    match try_spec(text) {
        Ok((spec, _)) => spec,
        Err(refusal) => panic!("{refusal}"),
    }
}

/// The spec around a domain of 1Gi and the given fields.
fn domain(fields: &str) -> Spec {
    spec(&format!("{{domain: {{memory: {{guest: 1Gi}}, {fields}}}}}"))
}

fn refused(text: &str) -> String {
    try_spec(text)
        .expect_err("it should be refused")
        .to_string()
}

fn flags(spec: &Spec) -> String {
    let words: Vec<_> = spec
        .cpu
        .features
        .iter()
        .map(|feature| format!("{}={}", feature.name, feature.value))
        .collect();
    words.join(",")
}

#[test]
fn the_least_vmi_has_kubevirts_defaults() {
    let (spec, notices) = try_spec("{domain: {memory: {guest: 1Gi}}}").unwrap();
    assert_eq!(spec.identity.domain_name(), "default_vm");
    assert_eq!(spec.identity.hostname, "vm");
    assert_eq!(
        (spec.cpu.sockets, spec.cpu.cores, spec.cpu.threads),
        (1, 1, 1)
    );
    assert_eq!(
        (spec.cpu.model, spec.cpu.features.len()),
        (CpuModel::HostModel, 0)
    );
    assert_eq!(spec.memory.guest, Bytes::GIB);
    assert_eq!(spec.firmware.machine_type, "q35");
    assert!(spec.firmware.acpi && !spec.firmware.smm);
    assert_eq!(spec.lifecycle.grace_period, Duration::from_secs(30));
    assert!(spec.devices.graphics && spec.devices.serial_console && spec.devices.balloon);
    assert!(!spec.devices.rng && spec.devices.inputs.is_empty());
    assert_eq!(spec.nics.len(), 1);
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].path, "spec.domain.devices.interfaces");
}

#[test]
fn uuids_stay_the_same_and_follow_the_name() {
    let (one, two) = (domain(""), domain("firmware: {}"));
    assert_eq!(one.firmware.uuid, two.firmware.uuid);
    assert_eq!(one.identity.uid, two.identity.uid);
    assert_ne!(one.identity.uid, one.firmware.uuid);
}

#[test]
fn sockets_come_from_the_limit_then_the_request() {
    for (fields, vcpus) in [
        ("", 1),
        ("resources: {requests: {cpu: 100m}}", 1),
        ("resources: {requests: {cpu: 2}, limits: {cpu: 2500m}}", 3),
        ("resources: {requests: {cpu: 3}}", 3),
        ("cpu: {cores: 2}, resources: {limits: {cpu: 8}}", 2),
    ] {
        assert_eq!(domain(fields).cpu.vcpus(), vcpus, "{fields}");
    }
}

#[test]
fn memory_comes_from_guest_then_request_then_limit() {
    for (fields, bytes) in [
        (
            "memory: {guest: 64Mi}, resources: {requests: {memory: 1Gi}}",
            64 << 20,
        ),
        (
            "resources: {requests: {memory: 128Mi}, limits: {memory: 1Gi}}",
            128 << 20,
        ),
        (
            "resources: {requests: {memory: 0}, limits: {memory: 1Gi}}",
            1 << 30,
        ),
        ("resources: {requests: {memory: 1024M}}", 977 << 20),
        ("resources: {requests: {memory: 67108864}}", 64 << 20),
    ] {
        assert_eq!(
            spec(&format!("{{domain: {{{fields}}}}}")).memory.guest,
            Bytes(bytes),
            "{fields}"
        );
    }
}

#[test]
fn a_named_model_loses_mpx_and_keeps_the_order_of_its_features() {
    let spec = domain(
        "cpu: {model: Skylake-Server, features: [{name: vmx, policy: disable}, {name: pcid}]}",
    );
    assert_eq!(flags(&spec), "vmx=off,pcid=on,mpx=off");
    assert_eq!(spec.cpu.features[1].policy, FeaturePolicy::Require);
    let own = domain("cpu: {model: Skylake-Server, features: [{name: mpx}]}");
    assert_eq!(flags(&own), "mpx=on");
}

#[test]
fn windows_features_bring_what_they_need() {
    let spec = domain(
        "features: {acpi: {}, apic: {}, hyperv: {relaxed: {}, vapic: {}, spinlocks: {spinlocks: 8191}, \
         synictimer: {direct: {}}, tlbflush: {extended: {}}, ipi: {enabled: false}, evmcs: {}, \
         vendorid: {vendorid: KVM Hv}}, kvm: {hidden: true}, smm: {}, pvspinlock: {enabled: false}}, \
         clock: {utc: {}, timer: {hpet: {present: false}, pit: {tickPolicy: delay}, rtc: {tickPolicy: catchup}, kvm: {present: false}}}",
    );
    assert_eq!(
        flags(&spec),
        "kvm=off,kvm-pv-unhalt=off,kvmclock=off,hv-relaxed=on,hv-vapic=on,hv-vpindex=on,hv-synic=on,hv-stimer=on,\
         hv-stimer-direct=on,hv-tlbflush=on,hv-tlbflush-ext=on,hv-ipi=off,hv-evmcs=on,hv-time=on,hv-spinlocks=8191,\
         hv-vendor-id=KVM Hv,vmx=on"
    );
    assert!(spec.firmware.smm);
    assert_eq!(spec.firmware.clock.hpet, Some(false));
    assert!(spec.firmware.clock.rtc_catchup);
    assert_eq!(
        spec.firmware.clock.pit_lost_tick_policy.as_deref(),
        Some("delay")
    );
}

#[test]
fn a_part_of_what_is_off_is_not_asked_for() {
    let spec = domain("features: {hyperv: {synictimer: {enabled: false, direct: {}}}}");
    assert_eq!(flags(&spec), "hv-stimer=off");
}

#[test]
fn the_tsc_hint_is_for_guests_that_need_it() {
    let with = |features: &str| {
        let text = format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: vm}}\n\
             status: {{topologyHints: {{tscFrequency: 2400000000}}}}\n\
             spec: {{domain: {{memory: {{guest: 1Gi}}, {features}}}}}"
        );
        flags(&Spec::from_vmi(&vmi::read(&text).unwrap()).unwrap().0)
    };
    assert_eq!(with(""), "");
    assert_eq!(
        with("cpu: {features: [{name: invtsc}]}"),
        "invtsc=on,tsc-frequency=2400000000"
    );
    assert_eq!(
        with("features: {hyperv: {reenlightenment: {}}}"),
        "hv-reenlightenment=on,tsc-frequency=2400000000"
    );
}

#[test]
fn disks_join_their_volumes() {
    let spec = spec(
        "{domain: {memory: {guest: 1Gi}, devices: {disks: [{name: root}, {name: data, disk: {bus: virtio}}, \
         {name: tools, cdrom: {}}]}}, volumes: [{name: data, emptyDisk: {capacity: 1Gi}}, \
         {name: root, containerDisk: {image: quay.io/x}}]}",
    );
    let [root, data, tools] = spec.disks.as_slice() else {
        panic!("{:?}", spec.disks)
    };
    assert_eq!(
        (root.bus, root.kind, root.read_only, root.volume_index),
        (Bus::Sata, DiskKind::Disk, false, 1)
    );
    assert_eq!(root.volume_path, "spec.volumes[1]");
    assert_eq!((data.bus, data.volume_index), (Bus::Virtio, 0));
    assert_eq!(
        data.source,
        Source::EmptyDisk {
            capacity: Bytes::GIB
        }
    );
    assert_eq!(
        (tools.kind, tools.read_only),
        (DiskKind::CdRom { tray_open: false }, true)
    );
    assert_eq!(tools.source, Source::Empty);
}

#[test]
fn a_read_only_claim_makes_a_read_only_disk() {
    let disks = |target: &str| {
        format!(
            "{{domain: {{memory: {{guest: 1Gi}}, devices: {{disks: [{{name: d, {target}}}]}}}}, \
             volumes: [{{name: d, persistentVolumeClaim: {{claimName: c, readOnly: true}}}}]}}"
        )
    };
    assert!(spec(&disks("disk: {bus: virtio}")).disks[0].read_only);
    assert!(refused(&disks("disk: {bus: sata}")).contains("cannot be read-only"));
}

#[test]
fn multiqueue_gives_a_queue_a_vcpu_to_virtio_alone() {
    let nics = "networks: [{name: a, pod: {}}]";
    let spec = |model: &str| {
        spec(&format!(
            "{{domain: {{memory: {{guest: 1Gi}}, cpu: {{cores: 4}}, devices: {{networkInterfaceMultiqueue: true, \
             interfaces: [{{name: a, masquerade: {{}}, model: {model}}}]}}}}, {nics}}}"
        ))
    };
    assert_eq!(spec("virtio").nics[0].queues, 4);
    assert_eq!(spec("e1000e").nics[0].queues, 1);
}

#[test]
fn a_network_of_ones_own_is_honoured() {
    let spec = spec(
        "{domain: {memory: {guest: 1Gi}, devices: {interfaces: [{name: a, masquerade: {}, ports: [{port: 80}]}]}}, \
         networks: [{name: a, pod: {vmNetworkCIDR: 192.168.7.0/30, vmIPv6NetworkCIDR: 'fd00::/126'}}]}",
    );
    let Binding::Masquerade {
        cidr, cidr6, ports, ..
    } = &spec.nics[0].binding
    else {
        panic!("{:?}", spec.nics[0].binding)
    };
    assert_eq!(
        (cidr.to_string(), cidr6.to_string()),
        ("192.168.7.0/30".into(), "fd00::/126".into())
    );
    assert_eq!(ports.len(), 1);
}

#[test]
fn an_absent_interface_is_left_out() {
    let spec = spec(
        "{domain: {memory: {guest: 1Gi}, devices: {interfaces: [{name: a, masquerade: {}, state: absent}]}}, \
         networks: [{name: a, pod: {}}]}",
    );
    assert!(spec.nics.is_empty());
}

#[test]
fn no_interface_is_attached_where_none_is_wanted() {
    assert!(
        domain("devices: {autoattachPodInterface: false}")
            .nics
            .is_empty()
    );
}

#[test]
fn a_tablet_is_attached_once() {
    let one = domain("devices: {autoattachInputDevice: true}");
    assert_eq!(
        (one.devices.inputs.len(), one.devices.inputs[0].bus),
        (1, InputBus::Usb)
    );
    let own = domain(
        "devices: {autoattachInputDevice: true, inputs: [{name: t, bus: virtio, type: tablet}]}",
    );
    assert_eq!(
        (own.devices.inputs.len(), own.devices.inputs[0].bus),
        (1, InputBus::Virtio)
    );
}

#[test]
fn vcpus_are_bounded_without_overflow() {
    for topology in [
        "sockets: 4294967295, cores: 4294967295, threads: 4294967295",
        "sockets: 513",
        "cores: 0",
    ] {
        refused(&format!(
            "{{domain: {{memory: {{guest: 1Gi}}, cpu: {{{topology}}}}}}}"
        ));
    }
    assert_eq!(domain("cpu: {sockets: 256, threads: 2}").cpu.vcpus(), 512);
}

#[test]
fn one_wrong_value_is_refused_once() {
    let refusal = refused(
        "{domain: {memory: {guest: lots}, cpu: {cores: many}, devices: {disks: [{name: 7}]}}, volumes: [{name: a, emptyDisk: {capacity: 1Gi}}]}",
    );
    assert_eq!(refusal.lines().count(), 3, "{refusal}");
}

/// Whatever stands in whichever field: an answer, never a panic, and a refusal with reasons.
#[test]
fn odd_values_in_any_field_are_answered() {
    let odd = [
        "null",
        "true",
        "-1",
        "0",
        "18446744073709551615",
        "1e300",
        "\"\"",
        "\"x\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[null]",
        "[[]]",
        "[{}]",
        "{\"x\": 1}",
        "\"9999999999Ei\"",
        "\"/\"",
        "\"0.0.0.0/0\"",
        "\"::/0\"",
    ];
    for group in vmi::fields::groups() {
        for name in vmi::fields::names_in(group.at) {
            for value in odd {
                let text = with_field(&format!("{}.{name}", group.at), value);
                let outcome = vmi::read(&text).and_then(|document| Spec::from_vmi(&document));
                if let Err(refusal) = outcome {
                    assert!(!refusal.violations.is_empty(), "{text}");
                }
            }
        }
    }
}

/// A VMI in JSON in which `field` is `value`; other fields are the least that is needed.
fn with_field(field: &str, value: &str) -> String {
    let steps: Vec<_> = field.split('.').filter(|step| !step.is_empty()).collect();
    let inner = steps.iter().rev().fold(value.to_owned(), |inner, step| {
        match step.strip_suffix("[]") {
            Some(list) => format!("{{\"{list}\": [{inner}]}}"),
            None => format!("{{\"{step}\": {inner}}}"),
        }
    });
    // The field's own root replaces the default of that name.
    let mut text = inner.strip_suffix('}').unwrap_or_default().to_owned();
    for (key, default) in [
        ("apiVersion", "\"kubevirt.io/v1\""),
        ("kind", "\"VirtualMachineInstance\""),
        ("metadata", "{\"name\": \"vm\"}"),
        ("spec", "{\"domain\": {\"memory\": {\"guest\": \"1Gi\"}}}"),
    ] {
        if steps.first() != Some(&key) {
            text.push_str(&format!(", \"{key}\": {default}"));
        }
    }
    text + "}"
}
