//! The third VMI, whole: VF, memory and CPUs of one node under a KVM guest, packets both ways, and everything back after it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::node::pod::{Pod, Running};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};

use super::third_vmi::{self, GUEST, SMALL, SOON, Vf, vmi};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "sriov-third-vmi-as-written",
        shape: &DEFAULT,
        run: as_written,
    },
    Case {
        name: "sriov-vf-in-use-and-qemu-killed",
        shape: &DEFAULT,
        run: in_use_and_killed,
    },
];

fn as_written() -> Result<()> {
    let vf = Vf::ready(0)?;
    let server = third_vmi::serve(&vf)?;
    let text = vmi(&[("demo.vf-address=192.0.2.2/24", &third_vmi::orders(&vf))])?;
    let options = vf.options();
    let mut pod = third_vmi::pod("fast", "4-7", "1", 4)
        .options(options.iter().map(String::as_str))
        .run_text(&text)?;
    let _console = third_vmi::guest_reached_out(&mut pod, &vf)?;
    is_placed(&pod, 3, 4)?;
    third_vmi::reach_in(&vf)?;
    pod.succeed(GUEST)?;
    drop(server);
    third_vmi::all_pages_are_free()?;
    vf.give_back()?;
    nic::clear_wire()
}

/// A smaller guest with a NUMA node, its VF named by Multus, its limit on locked memory raised by us. A second pod that is
/// given the same VF is refused; QEMU is killed; VF and page are free.
fn in_use_and_killed() -> Result<()> {
    let vf = Vf::ready(1)?;
    let _server = third_vmi::serve(&vf)?;
    let podinfo = "/tmp/podinfo";
    std::fs::create_dir_all(podinfo)?;
    let info = json!({"interfaces": [{"network": "fast", "mac": vf.mac, "deviceInfo": {
        "type": "pci", "version": "1.1.0", "pci": {"pci-address": vf.bound.address}}}]});
    std::fs::write(format!("{podinfo}/network-info"), info.to_string())?;
    let orders = third_vmi::orders(&vf);
    let mut changes = SMALL.to_vec();
    changes.extend([
        ("demo.vf-address=192.0.2.2/24", orders.as_str()),
        (
            "      isolateEmulatorThread: true\n",
            "      isolateEmulatorThread: true\n      numa: {guestMappingPassthrough: {}}\n",
        ),
    ]);
    let text = vmi(&changes)?;
    let mount = format!("{podinfo}=/etc/podinfo");
    let pod = |name| {
        let options = [
            "--cpus",
            "4-5",
            "--mems",
            "1",
            "--hugetlb",
            "1GB=1073741824",
        ];
        let device = vf.device();
        Pod::new(name)
            .options(options)
            .options(["--mount", &mount, "--cap", "sys_resource"])
            .options(device.iter().map(String::as_str))
    };
    let mut first = pod("first").run_text(&text)?;
    let console = third_vmi::guest_reached_out(&mut first, &vf)?;
    let seen = console.demo("vf").unwrap_or_default();
    ensure!(
        seen.ends_with("node 0"),
        "the guest sees its VF as `{seen}`"
    );
    is_placed(&first, 1, 1)?;
    let mut second = pod("second")
        .options(["--address", "10.244.0.11"])
        .run_text(&text)?;
    let code = second.code(SOON)?;
    let said = second.started.seen().join("\n");
    let wanted = format!(
        "spec.domain.devices.interfaces[0]: `{}` cannot be given to the guest: group `{}` is in use by another process",
        vf.bound.address, vf.bound.group
    );
    ensure!(
        code == 3 && said.contains(&wanted),
        "exit code {code}: {said}"
    );
    let qemu = first.qemu()?;
    kill(Pid::from_raw(qemu), Signal::SIGKILL)?;
    let code = first.code(SOON)?;
    ensure!(code == 5, "exit code {code}");
    third_vmi::all_pages_are_free()?;
    vf.give_back()?;
    nic::clear_wire()
}

/// By `verify`, and by the kernel's own words.
fn is_placed(pod: &Running, vcpus: usize, pages: u64) -> Result<()> {
    let (code, table) = pod.exec(&["verify"])?;
    log(&table);
    ensure!(code == Some(0), "exit code {code:?}");
    let (_, told) = pod.exec(&["verify", "--output", "json"])?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told["ok"] == true, "{told:#}");
    let interrupts = told["interrupts"].as_array().context("interrupts")?;
    ensure!(
        interrupts.len() == 1 && interrupts[0]["count"].as_u64() > Some(0),
        "{interrupts:?}"
    );
    let qemu = pod.qemu()?;
    log(&kernel::read(format!("/proc/{qemu}/cmdline"))?.replace('\0', " "));
    let mappings = kernel::huge_mappings(qemu)?;
    ensure!(
        mappings
            .iter()
            .map(|mapping| mapping.pages.get(&1).copied().unwrap_or(0))
            .sum::<u64>()
            == pages
            && mappings
                .iter()
                .all(|mapping| mapping.page_kb == 1_048_576 && mapping.pages.keys().eq(&[1])),
        "{mappings:?}"
    );
    let threads = kernel::threads(qemu)?;
    log(&format!("{threads:?}"));
    let (vcpu, other): (Vec<_>, Vec<_>) = threads
        .iter()
        .partition(|(_, name, _)| name.starts_with("CPU ") && name.ends_with("/KVM"));
    let own: BTreeSet<u32> = vcpu
        .iter()
        .map(|(_, _, cpus)| cpus.parse())
        .collect::<Result<_, _>>()?;
    ensure!(
        own.len() == vcpus && own.iter().all(|cpu| (4..8).contains(cpu)),
        "vCPUs on {own:?}"
    );
    for (_, name, cpus) in other {
        let cpu: u32 = cpus
            .parse()
            .with_context(|| format!("`{name}` on {cpus}"))?;
        ensure!(
            (4..8).contains(&cpu) && !own.contains(&cpu),
            "`{name}` on {cpu}"
        );
    }
    Ok(())
}
