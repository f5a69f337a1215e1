//! What keeps the third VMI from a node, in our words: QEMU's own name neither the device nor the remedy.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::node::pod::Pod;
use tests::node::shape::DEFAULT;
use tests::node::{Case, log, nic};

use super::shapes::UNFIT;
use super::third_vmi::{self, SMALL, SOON, Vf, vmi};
use super::told;

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

/// A plan's texts below `key`, one a line.
pub(crate) fn texts(told: &Value, key: &str) -> String {
    let list = told[key].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|one| {
            let part = |key: &str| one[key].as_str().unwrap_or_default();
            match one.as_str() {
                Some(note) => format!("{note}\n"),
                None => format!("{}: {}; {}\n", part("path"), part("message"), part("hint")),
            }
        })
        .collect()
}

fn cpus_on_the_other_node() -> Result<()> {
    let vf = Vf::ready(0)?;
    let options = vf.options();
    let pod = || third_vmi::pod("far", "0-3", "0-1", 4).options(options.iter().map(String::as_str));
    let text = vmi(&[])?;
    let (code, told) = pod().plan_text(&text)?;
    log(&format!("{:#}", told["placement"]));
    ensure!(code == 0, "exit code {code}: {told:#}");
    let memory = told["placement"]["memory"].as_array().context("memory")?;
    ensure!(
        memory.iter().all(|part| part["hostNode"] == 1),
        "memory stays with the VF: {memory:?}"
    );
    let notes = texts(&told["placement"], "notes");
    let strict = refused_by_plan(pod().arguments(["--placement-policy", "strict"]), &text)?;
    let address = vf.bound.address.clone();
    vf.give_back()?;
    nic::clear_wire()?;
    told::snapshot(
        "cpus-on-the-other-node",
        &format!("prefer:\n{notes}strict:\n{strict}"),
        &[(&address, "VF")],
    );
    Ok(())
}

/// The plan's violations for a pod, one a line.
pub(crate) fn refused_by_plan(pod: Pod, text: &str) -> Result<String> {
    let (code, told) = pod.plan_text(text)?;
    log(&format!("{told:#}"));
    ensure!(code == 3, "exit code {code}: {told:#}");
    Ok(texts(&told, "violations"))
}

/// The same of a run, which asks vfio too.
fn refused_by_run(pod: Pod, text: &str) -> Result<String> {
    let mut pod = pod.run_text(text)?;
    let code = pod.code(SOON)?;
    ensure!(code == 3, "exit code {code}");
    Ok(told::of_fields(&pod))
}

fn refused() -> Result<()> {
    let text = vmi(&[])?;
    let vf = Vf::ready(0)?;
    let address = vf.bound.address.clone();
    let plugin = |value: &str| format!("PCIDEVICE_EXAMPLE_COM_FAST={value}");
    let options = vf.options();
    let options = || options.iter().map(String::as_str);
    let mut said = String::new();
    let mut tell = |what: &str, text: String| said.push_str(&format!("{what}:\n{text}"));

    // The driver of the host's has it; nothing else is wrong with the pod.
    let other = nic::bind(&nic::vf("pf0", 1)?, "igbvf")?;
    let other_address = other.address.clone();
    let pod = third_vmi::pod("driver", "4-7", "1", 4);
    let why = refused_by_plan(pod.options(["--env", &plugin(&other_address)]), &text)?;
    tell("on the wrong driver", why);
    drop(other);

    let pod = third_vmi::pod("none", "4-7", "1", 4);
    let why = refused_by_plan(pod.options(["--env", &plugin("0000:7f:1f.7")]), &text)?;
    tell("no such VF", why);

    let pod = third_vmi::pod("locked", "4-7", "1", 4).options(["--memlock", "8388608"]);
    let why = refused_by_plan(pod.options(options()), &text)?;
    tell("too little memory may be locked", why);

    let six = text.replace("memory: 4Gi", "memory: 6Gi");
    let pod = third_vmi::pod("short", "4-7", "1", 6);
    let why = refused_by_plan(pod.options(options()), &six)?;
    tell("node 1 a page short", why);
    let pod = third_vmi::pod("limit", "4-7", "1", 4).options(["--hugetlb", "1GB=3221225472"]);
    let why = refused_by_plan(pod.options(options()), &text)?;
    tell("the pod a page short", why);

    // Each of two interfaces could get either VF of their pool.
    let two = vmi(&[
        (
            "        - name: fast\n          sriov: {}\n",
            "        - name: fast\n          sriov: {}\n        - name: other\n          sriov: {}\n",
        ),
        (
            "        networkName: fast-network-10",
            "        networkName: fast-network-10\n    - name: other\n      multus:\n        networkName: fast-network-11",
        ),
    ])?;
    let both = plugin(&format!("{address},{other_address}"));
    let pod = third_vmi::pod("pool", "4-7", "1", 4);
    let why = refused_by_plan(pod.options(["--env", &both]), &two)?;
    tell("two VFs of one pool", why);

    // The plugin's variable without its device node: only a run asks vfio.
    let mut changes = SMALL.to_vec();
    changes.push(("name: sriov", "name: bare"));
    let pod = third_vmi::pod("bare", "4-5", "1", 1);
    let why = refused_by_run(pod.options(["--env", &plugin(&address)]), &vmi(&changes)?)?;
    tell("no device node", why);
    let group = vf.bound.group.clone();
    // Before virt-handler has given it to the pod's user.
    let node = format!("vfio/{group}");
    let pod = third_vmi::pod("denied", "4-5", "1", 1).options(["--device", "vfio/vfio"]);
    let pod = pod.options(["--root-device", &node, "--env", &plugin(&address)]);
    let why = refused_by_run(pod, &vmi(&changes)?)?;
    tell("device node of root's", why);
    vf.give_back()?;
    nic::clear_wire()?;
    told::snapshot(
        "refused-by-sysfs-and-limits",
        &said,
        &[
            (&address, "VF-0"),
            (&other_address, "VF-1"),
            (&format!("vfio/{group}"), "vfio/GROUP"),
        ],
    );
    Ok(())
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
        Pod::new(name).options([
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
    let by_group = refused_by_plan(pod("shared", &shared), &text)?;
    let vf = nic::bind(&nic::vf("pf1", 0)?, "vfio-pci")?;
    let by_remapping = refused_by_run(pod("remapping", &vf), &text)?;
    told::snapshot(
        "refused-by-the-iommu",
        &format!("group not viable:\n{by_group}no interrupt remapping:\n{by_remapping}"),
        &[
            (&shared.address, "VF-0"),
            (&vf.address, "VF-1"),
            (&nic::pf("pf0")?, "PF"),
            (&format!("group {}", shared.group), "group GROUP"),
        ],
    );
    Ok(())
}
