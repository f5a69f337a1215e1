//! The guests that are started.

use anyhow::{Result, anyhow};
use camino::Utf8PathBuf;
use launcher::cli::args::VmArgs;
use launcher::cli::plan::{Wanted, prepare};
use launcher::plan::LaunchPlan;
use serde_json::{Value, json};

/// A guest to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// For the table.
    pub(crate) name: &'static str,
    pub(crate) vcpus: u32,
    pub(crate) disks: u32,
    pub(crate) nics: u32,
}

const fn shape(name: &'static str, vcpus: u32, disks: u32, nics: u32) -> Shape {
    Shape {
        name,
        vcpus,
        disks,
        nics,
    }
}

/// The usual guest, then one thing more of it each.
pub(crate) const SHAPES: &[Shape] = &[
    shape("1 vCPU, 1 disk, 1 NIC", 1, 1, 1),
    shape("8 vCPUs", 8, 1, 1),
    shape("64 vCPUs", 64, 1, 1),
    shape("16 disks", 1, 16, 1),
    shape("8 NICs", 1, 1, 8),
];

/// The VMI: no grace, so that a stop is QEMU's own.
pub(crate) fn vmi(shape: &Shape) -> Result<Value> {
    let text = std::fs::read_to_string(tests::project().join("examples/masquerade.json"))?;
    let mut vmi: Value = serde_json::from_str(&text)?;
    let spec = &mut vmi["spec"];
    spec["terminationGracePeriodSeconds"] = json!(0);
    spec["domain"]["cpu"] = json!({"sockets": 1, "cores": shape.vcpus});
    let each = |count, make: fn(u32) -> Value| (0..count).map(make).collect::<Vec<_>>();
    let devices = &mut spec["domain"]["devices"];
    devices["disks"] = each(
        shape.disks,
        |disk| json!({"name": format!("d{disk}"), "disk": {"bus": "virtio"}}),
    )
    .into();
    devices["interfaces"] = each(shape.nics, |nic| match nic {
        0 => json!({"name": "n0", "masquerade": {}}),
        _ => json!({"name": format!("n{nic}"), "bridge": {}}),
    })
    .into();
    spec["networks"] = each(shape.nics, |nic| match nic {
        0 => json!({"name": "n0", "pod": {}}),
        _ => json!({"name": format!("n{nic}"), "multus": {"networkName": format!("n{nic}")}}),
    })
    .into();
    spec["volumes"] = each(
        shape.disks,
        |disk| json!({"name": format!("d{disk}"), "emptyDisk": {"capacity": "64Mi"}}),
    )
    .into();
    Ok(vmi)
}

/// The usual guest with nothing to boot: its firmware finds that out within a second and is idle from then on.
pub(crate) fn idle_vmi() -> Result<Value> {
    let mut vmi = vmi(&SHAPES[0])?;
    let domain = &mut vmi["spec"]["domain"];
    domain["firmware"] = json!({});
    domain["memory"]["guest"] = json!("128Mi");
    Ok(vmi)
}

/// Where the guest is.
pub(crate) fn guest() -> Utf8PathBuf {
    tests::guest::kernel_boot_dir()
}

/// The plan that a pod like ours would carry out.
pub(crate) async fn planned(vmi: &Value) -> Result<LaunchPlan> {
    let args = VmArgs {
        vmi: None,
        kernel_boot_dir: Some(guest()),
        disks: Vec::new(),
        allow_emulation: true,
        placement_policy: None,
        metrics_address: None,
        qemu: "qemu-system-x86_64".into(),
    };
    prepare(&vmi.to_string(), &args, Wanted::Run)
        .await
        .map_err(|refused| anyhow!("no plan: {refused:?}"))
}

/// A file with a VMI in it, and the directory that goes with it.
pub(crate) fn file(vmi: &Value) -> Result<(tempfile::TempDir, Utf8PathBuf)> {
    let directory = tempfile::tempdir()?;
    let file = Utf8PathBuf::try_from(directory.path().join("vmi.json"))?;
    std::fs::write(&file, vmi.to_string())?;
    Ok((directory, file))
}
