//! What keeps the third VMI from a node, in our words: QEMU's own name neither the device nor the remedy.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::node::shape::DEFAULT;
use tests::node::{Case, log, nic};

use super::shapes::UNFIT;
use super::third_vmi::{self, SMALL, SOON, Vf, vmi};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "sriov-cpus-on-the-other-node",
        shape: &DEFAULT,
        run: cpus_on_the_other_node,
    },
    Case {
        name: "sriov-refused-by-sysfs-and-limits",
        shape: &DEFAULT,
        run: refused,
    },
    Case {
        name: "sriov-refused-by-the-iommu",
        shape: &UNFIT,
        run: refused_by_the_iommu,
    },
];

const PATH: &str = "spec.domain.devices.interfaces[0]";

fn texts<'a>(told: &'a Value, list: &str) -> Vec<&'a str> {
    let list = told[list].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|one| one["message"].as_str().or(one.as_str()))
        .collect()
}

fn cpus_on_the_other_node() -> Result<()> {
    let vf = Vf::ready(0)?;
    let options = vf.options();
    let pod = || third_vmi::pod("far", "0-3", "0-1", 4).options(options.iter().map(String::as_str));
    let text = vmi(&[])?;
    let (code, told) = pod().plan_text(&text)?;
    log(&format!("{:#}", told["placement"]));
    log(&format!("{:#}", told["notices"]));
    ensure!(code == 0, "exit code {code}: {told:#}");
    let memory = told["placement"]["memory"].as_array().context("memory")?;
    ensure!(
        memory.iter().all(|part| part["hostNode"] == 1),
        "memory stays with the VF: {memory:?}"
    );
    let notes = texts(&told["placement"], "notes").join("\n");
    ensure!(notes.contains("remote"), "{notes}");
    let (code, told) = pod()
        .arguments(["--placement-policy", "strict"])
        .plan_text(&text)?;
    log(&format!("{told:#}"));
    ensure!(code == 3, "exit code {code}: {told:#}");
    let why = texts(&told, "violations").join("\n");
    ensure!(why.contains("where the devices are"), "{why}");
    vf.give_back()?;
    nic::clear_wire()
}

/// The plan's violations for a pod, one by one.
fn violations(pod: tests::node::pod::Pod, text: &str) -> Result<Vec<String>> {
    let (code, told) = pod.plan_text(text)?;
    log(&format!("{told:#}"));
    ensure!(code == 3, "exit code {code}: {told:#}");
    let list = told["violations"].as_array().context("violations")?;
    let line = |one: &Value| {
        let part = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}; {}", part("path"), part("message"), part("hint"))
    };
    Ok(list.iter().map(line).collect())
}

fn refused() -> Result<()> {
    let text = vmi(&[])?;
    let vf = Vf::ready(0)?;
    let address = vf.bound.address.clone();
    let env = format!("PCIDEVICE_EXAMPLE_COM_FAST={address}");
    let options = vf.options();
    let options = || options.iter().map(String::as_str);

    // The driver of the host's has it; nothing else is wrong with the pod.
    let igbvf = nic::bind(&nic::vf("pf0", 1)?, "igbvf")?;
    let other = format!("PCIDEVICE_EXAMPLE_COM_FAST={}", igbvf.address);
    let why = violations(
        third_vmi::pod("driver", "4-7", "1", 4).options(["--env", &other]),
        &text,
    )?;
    let device = format!("/sys/bus/pci/devices/{}", igbvf.address);
    let expected = format!(
        "{PATH}: `{0}` (8086:10ca) is bound to driver `igbvf`, not to vfio-pci; on the host: `echo vfio-pci > \
         {device}/driver_override; echo {0} > {device}/driver/unbind; echo {0} > /sys/bus/pci/drivers_probe`",
        igbvf.address
    );
    ensure!(why == [expected.as_str()], "{why:#?}");
    drop(igbvf);

    let why = violations(
        third_vmi::pod("none", "4-7", "1", 4)
            .options(["--env", "PCIDEVICE_EXAMPLE_COM_FAST=0000:7f:1f.7"]),
        &text,
    )?;
    let expected = format!(
        "{PATH}: there is no PCI device `0000:7f:1f.7` (PCIDEVICE_EXAMPLE_COM_FAST says there is); the VF was removed or \
         renumbered: look at `sriov_numvfs` of its physical function"
    );
    ensure!(why == [expected.as_str()], "{why:#?}");

    let pod = third_vmi::pod("locked", "4-7", "1", 4).options(["--memlock", "8388608"]);
    let why = violations(pod.options(options()), &text)?;
    let expected =
        format!("{PATH}: QEMU must lock `4160Mi` of memory for DMA and may lock `8Mi`; ");
    ensure!(why.len() == 1 && why[0].starts_with(&expected), "{why:#?}");

    // One page more than node 1 has, and one more than the pod may have.
    let six = text.replace("memory: 4Gi", "memory: 6Gi");
    let why = violations(
        third_vmi::pod("short", "4-7", "1", 6).options(options()),
        &six,
    )?;
    ensure!(why.len() == 1 && why[0].contains("5"), "{why:#?}");
    let pod = third_vmi::pod("limit", "4-7", "1", 4).options(["--hugetlb", "1GB=3221225472"]);
    let why = violations(pod.options(options()), &text)?;
    ensure!(why.len() == 1 && why[0].contains("hugetlb"), "{why:#?}");

    // The plugin's variable without its device node: only a run asks vfio.
    let mut changes = SMALL.to_vec();
    changes.push(("name: sriov", "name: bare"));
    let mut pod = third_vmi::pod("bare", "4-5", "1", 1)
        .options(["--env", &env])
        .run_text(&vmi(&changes)?)?;
    let code = pod.code(SOON)?;
    let said = pod.started.seen().join("\n");
    ensure!(
        code == 3 && said.contains("is not there"),
        "exit code {code}: {said}"
    );
    vf.give_back()?;
    nic::clear_wire()
}

/// Neither pages nor CPUs of its own: that node has none.
fn refused_by_the_iommu() -> Result<()> {
    let text = vmi(&[
        (
            "      dedicatedCpuPlacement: true\n      isolateEmulatorThread: true\n",
            "",
        ),
        (
            "      hugepages:\n        pageSize: 1Gi\n",
            "      guest: 256Mi\n",
        ),
        (
            "        cpu: 3\n        memory: 4Gi\n",
            "        memory: 1Gi\n",
        ),
    ])?;
    let pod = |name: &str, vf: &nic::Bound| {
        let (device, env) = (
            format!("vfio/{}", vf.group),
            format!("PCIDEVICE_EXAMPLE_COM_FAST={}", vf.address),
        );
        tests::node::pod::Pod::new(name).options([
            "--memlock",
            "1073741824",
            "--device",
            "vfio/vfio",
            "--device",
            &device,
            "--env",
            &env,
        ])
    };
    let shared = nic::bind(&nic::vf("pf0", 0)?, "vfio-pci")?;
    let why = violations(pod("shared", &shared), &text)?;
    let pf = nic::pf("pf0")?;
    let expected = format!(
        "{PATH}: `{}` shares IOMMU group {} with `{pf}`, which driver `igb` has; bind `{pf}` to vfio-pci too, or use a \
         slot with ACS",
        shared.address, shared.group
    );
    ensure!(why == [expected.as_str()], "{why:#?}");

    let vf = nic::bind(&nic::vf("pf1", 0)?, "vfio-pci")?;
    let mut pod = pod("remapping", &vf).run_text(&text)?;
    let code = pod.code(SOON)?;
    let said = pod.started.seen().join("\n");
    let expected = format!(
        "{PATH}: `{}` cannot be given to the guest: the IOMMU does not remap interrupts; turn on interrupt remapping",
        vf.address
    );
    ensure!(
        code == 3 && said.contains(&expected),
        "exit code {code}: {said}"
    );
    Ok(())
}
