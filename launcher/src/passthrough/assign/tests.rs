use super::*;

fn sriov(name: &str) -> HostDevice {
    HostDevice {
        name: name.to_owned(),
        path: format!("spec.domain.devices.interfaces[{name}]"),
        kind: Kind::Sriov {
            network: format!("{name}-network"),
        },
        boot_order: None,
        pci_address: None,
        told: None,
    }
}

fn gpu(name: &str, resource: &str) -> HostDevice {
    HostDevice {
        name: name.to_owned(),
        path: format!("spec.domain.devices.gpus[{name}]"),
        kind: Kind::Gpu {
            resource: resource.to_owned(),
        },
        boot_order: None,
        pci_address: None,
        told: None,
    }
}

fn host_device(name: &str, resource: &str) -> HostDevice {
    HostDevice {
        kind: Kind::HostDevice {
            resource: resource.to_owned(),
        },
        path: format!("spec.domain.devices.hostDevices[{name}]"),
        ..gpu(name, resource)
    }
}

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn recorded(pairs: &[(&str, &str)]) -> Vec<NetworkDevice> {
    let devices = pairs.iter().map(|(network, address)| NetworkDevice {
        network: (*network).to_owned(),
        mac: None,
        address: Some(address.parse().unwrap()),
    });
    devices.collect()
}

/// `name=device` of each, or the violations.
fn told(wanted: &[HostDevice], sources: Sources<'_>) -> Vec<String> {
    match assign(wanted, sources) {
        Ok(assigned) => assigned
            .iter()
            .map(|one| match &one.device {
                Host::Pci(address) => format!("{}={address} by {}", one.name, one.source),
                Host::Mdev(uuid) => format!("{}={uuid} by {}", one.name, one.source),
            })
            .collect(),
        Err(violations) => violations.iter().map(ToString::to_string).collect(),
    }
}

const NOTHING: &[(&str, &str)] = &[];

#[test]
fn two_interfaces_of_one_pool_never_swap() {
    // The plugin lists them in its own order; Multus knows better.
    let environment = environment(&[("PCIDEVICE_X_NET", "0000:82:02.1,0000:82:02.2")]);
    let info = recorded(&[("a", "0000:82:02.2"), ("b", "0000:82:02.1")]);
    let sources = Sources {
        network_info: Some(&info),
        environment: &environment,
    };
    assert_eq!(
        told(&[sriov("a"), sriov("b")], sources),
        [
            "a=0000:82:02.2 by /etc/podinfo/network-info",
            "b=0000:82:02.1 by /etc/podinfo/network-info"
        ]
    );
    // Without it nobody knows which is which.
    let sources = Sources {
        network_info: None,
        ..sources
    };
    insta::assert_snapshot!(told(&[sriov("a"), sriov("b")], sources).join("\n"));
}

#[test]
fn a_variable_that_leaves_no_choice_is_enough() {
    let one = environment(&[
        ("PCIDEVICE_X_NET", "0000:82:02.1"),
        ("PCIDEVICE_X_NET_INFO", "{}"),
    ]);
    let by_name = environment(&[
        ("PCIDEVICE_X_NET", "0000:82:02.1"),
        ("PCIDEVICE_Y_NET", "0000:82:02.2"),
        ("KUBEVIRT_RESOURCE_NAME_b", "y/net"),
        ("KUBEVIRT_RESOURCE_NAME_a", "x/net"),
    ]);
    let sources = |environment| Sources {
        network_info: None,
        environment,
    };
    assert_eq!(
        told(&[sriov("a")], sources(&one)),
        ["a=0000:82:02.1 by PCIDEVICE_X_NET"]
    );
    assert_eq!(
        told(&[sriov("a"), sriov("b")], sources(&by_name)),
        [
            "a=0000:82:02.1 by PCIDEVICE_X_NET",
            "b=0000:82:02.2 by PCIDEVICE_Y_NET"
        ]
    );
}

#[test]
fn missing_surplus_and_malformed_are_told_with_what_was_found() {
    let cases: &[&[(&str, &str)]] = &[
        NOTHING,
        &[("PCIDEVICE_X_NET", "0000:82:02.1,0000:82:02.2")],
        &[("PCIDEVICE_X_NET", "82:2.1")],
        &[("PCIDEVICE_X_NET", "")],
        &[
            ("PCIDEVICE_X_NET", "0000:82:02.1"),
            ("PCIDEVICE_Y_NET", "0000:82:02.2"),
        ],
        &[("KUBEVIRT_RESOURCE_NAME_a", "x/net")],
    ];
    let mut all = Vec::new();
    for case in cases {
        let environment = environment(case);
        let sources = Sources {
            network_info: Some(&[]),
            environment: &environment,
        };
        all.extend(told(&[sriov("a")], sources));
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_annotation_speaks_where_nothing_else_does_and_never_against_it() {
    let none = environment(NOTHING);
    let one = environment(&[("PCIDEVICE_X_NET", "0000:82:02.1")]);
    let info = recorded(&[("a", "0000:82:02.1")]);
    let mut all = Vec::new();
    for (network_info, environment, asked) in [
        (None, &none, "0000:82:02.3"),
        (None, &one, "0000:82:02.3"),
        (None, &one, "0000:82:02.1"),
        (Some(info.as_slice()), &none, "0000:82:02.3"),
    ] {
        let sources = Sources {
            network_info,
            environment,
        };
        let wanted = HostDevice {
            told: asked.parse().ok(),
            ..sriov("a")
        };
        all.extend(told(&[wanted], sources));
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn gpus_and_host_devices_take_the_plugins_list_in_kubevirts_order() {
    let environment = environment(&[
        ("PCI_RESOURCE_NVIDIA_COM_A100", "0000:65:00.0,0000:66:00.0,"),
        (
            "MDEV_PCI_RESOURCE_NVIDIA_COM_T4",
            "4b20d080-1b54-4048-85b3-a6a62d165c01",
        ),
    ]);
    let sources = Sources {
        network_info: None,
        environment: &environment,
    };
    let wanted = [
        host_device("first", "nvidia.com/A100"),
        gpu("second", "nvidia.com/A100"),
        gpu("vgpu", "nvidia.com/T4"),
    ];
    assert_eq!(
        told(&wanted, sources),
        [
            "first=0000:66:00.0 by PCI_RESOURCE_NVIDIA_COM_A100",
            "second=0000:65:00.0 by PCI_RESOURCE_NVIDIA_COM_A100",
            "vgpu=4b20d080-1b54-4048-85b3-a6a62d165c01 by MDEV_PCI_RESOURCE_NVIDIA_COM_T4"
        ]
    );
    let few = [gpu("one", "nvidia.com/A100"), gpu("none", "amd.com/gpu")];
    insta::assert_snapshot!(told(&few, sources).join("\n"));
}

#[test]
fn one_device_serves_one_entry() {
    let environment = environment(&[("PCI_RESOURCE_X_NIC", "0000:82:02.1")]);
    let info = recorded(&[("a", "0000:82:02.1")]);
    let sources = Sources {
        network_info: Some(&info),
        environment: &environment,
    };
    let told = told(&[sriov("a"), host_device("b", "x/nic")], sources);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("which `spec.domain.devices.interfaces[a]` has already"),
        "{}",
        told[0]
    );
}
