//! The goldens.

use std::fmt::Write;
use std::path::Path;

use hugepages::Bytes;
use launcher::host::HostFacts;
use launcher::placement::devices::DeviceFacts;
use launcher::placement::place::place_near;
use launcher::placement::{Binding, Placement};
use launcher::refusal::Violation;
use launcher::spec::Spec;

use super::{host, invariants, names, spec};

/// What a row has besides its VMI and its host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Devices,
    NoBinding,
}

#[test]
fn every_vmi_on_every_host() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/placement/vmis");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let (mut pairs, mut refused) = (0, 0);
    for name in names("hosts") {
        let (facts, devices) = host(&name);
        let mut table = heading(&facts, &devices);
        for file in names("cases/placement/vmis") {
            let spec = spec(&folder.join(&file));
            let vmi = file.trim_end_matches(".yaml");
            for beside in besides(vmi, &devices) {
                let outcome = outcome(&spec, &facts, &devices, beside);
                pairs += 1;
                refused += usize::from(outcome.is_err());
                write(&mut table, vmi, beside, outcome);
            }
        }
        settings.bind(|| insta::assert_snapshot!(name.as_str(), table));
    }
    assert!(
        pairs >= 60 && refused >= 10,
        "{pairs} pairs, {refused} refused"
    );
}

fn besides(vmi: &str, devices: &[DeviceFacts]) -> Vec<Beside> {
    let mut besides = vec![Beside::Nothing];
    if !devices.is_empty() {
        besides.push(Beside::Devices);
    }
    if vmi.starts_with("seed") && !vmi.ends_with("none") {
        besides.push(Beside::NoBinding);
    }
    besides
}

fn outcome(
    spec: &Spec,
    facts: &HostFacts,
    devices: &[DeviceFacts],
    beside: Beside,
) -> Result<Placement, Vec<Violation>> {
    let mut facts = facts.clone();
    // No pod of these has the capability.
    facts.realtime = true;
    facts.mbind = beside != Beside::NoBinding;
    let devices = if beside == Beside::Nothing {
        &[]
    } else {
        devices
    };
    let placement = place_near(spec, &facts, devices)?;
    invariants::hold(spec, &facts, &placement);
    Ok(placement)
}

fn heading(facts: &HostFacts, devices: &[DeviceFacts]) -> String {
    let mut text = format!("pod: cpus {}, mems {}\n", facts.cpus, facts.mems);
    for (id, node) in &facts.topology.nodes {
        let pools = facts.pools.iter().filter(|pool| pool.node == *id);
        let pools: Vec<String> = pools
            .map(|pool| format!("{} of {}", pool.free, pool.size))
            .collect();
        let (pods, pages) = (node.cpus.intersection(&facts.cpus), pools.join(", "));
        writeln!(
            text,
            "node {}: cpus {}, the pod's {pods}; free pages: {pages}",
            id.0, node.cpus
        )
        .expect("text");
    }
    for device in devices {
        let node = device
            .node
            .map_or("unknown".to_owned(), |node| node.0.to_string());
        writeln!(text, "{} {}: node {node}", device.name, device.address).expect("text");
    }
    text
}

fn write(
    table: &mut String,
    vmi: &str,
    beside: Beside,
    outcome: Result<Placement, Vec<Violation>>,
) {
    let beside = match beside {
        Beside::Nothing => "",
        Beside::Devices => " with devices",
        Beside::NoBinding => " with devices, without mbind",
    };
    let mut line = |text: String| writeln!(table, "{text}").expect("text");
    line(format!("\n{vmi}{beside}"));
    match outcome {
        Ok(placement) => {
            for text in placed(&placement) {
                line(format!("    {text}"));
            }
        }
        Err(violations) => {
            for violation in violations {
                line(format!("  ! {}: {}", violation.path, violation.message));
                line(format!("    -> {}", violation.hint));
            }
        }
    }
}

fn placed(placement: &Placement) -> Vec<String> {
    let mut lines = vec![threads(placement), memory(placement)];
    for node in &placement.guest_nodes {
        let distances: Vec<String> = node.distances.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "guest node {}: vcpus {}, distances {}",
            node.id,
            node.vcpus,
            distances.join(" ")
        ));
    }
    for device in &placement.devices {
        let node = |node: Option<u32>| node.map_or("-".to_owned(), |node| node.to_string());
        let (on, seen) = (node(device.host_node), node(device.guest_node));
        lines.push(format!(
            "{}: host node {on}, guest node {seen}",
            device.name
        ));
    }
    lines.extend(placement.notes.iter().map(|note| format!("* {note}")));
    lines
}

fn threads(placement: &Placement) -> String {
    let vcpus: Vec<&str> = if placement.dedicated {
        placement
            .vcpus
            .iter()
            .map(|vcpu| vcpu.cpus.as_str())
            .collect()
    } else {
        vec!["anywhere"]
    };
    let mut text = format!("vcpus {}", vcpus.join(" "));
    if let Some(cpus) = &placement.emulator {
        text += &format!("; emulator {cpus}");
    }
    for thread in &placement.iothreads {
        text += &format!("; io {} {}", thread.id, thread.cpus);
    }
    if let Some(realtime) = &placement.realtime {
        text += &format!("; fifo {} vcpus {}", realtime.priority, realtime.vcpus);
    }
    text
}

fn memory(placement: &Placement) -> String {
    let rows = placement.memory.iter().map(|row| {
        let node = row
            .host_node
            .map_or("anywhere".to_owned(), |node| format!("on node {node}"));
        let size = row
            .page_size
            .as_ref()
            .map_or(String::new(), |size| format!(" of {size}"));
        format!("{}{size} {node}", Bytes(row.bytes))
    });
    let how = match placement.binding {
        Binding::None => "",
        Binding::Bind => ", bound",
        Binding::FirstTouch => ", by first touch",
    };
    let mut text = format!("memory {}{how}", rows.collect::<Vec<_>>().join(" + "));
    for fill in &placement.fill {
        text += &format!("; filled from {}", fill.cpus);
    }
    text
}
