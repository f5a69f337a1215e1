//! The third VMI, whole: VF, memory and CPUs of one node under a KVM guest, packets both ways, and everything back after it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::node::pod::{Pod, Running};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};

use super::third_vmi::{self, GUEST, SOON, Vf, vmi};
use super::told;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "sriov-third-vmi-as-written",
        shape: &DEFAULT,
        run: as_written,
    },
    Case {
        name: "sriov-two-at-once-and-one-killed",
        shape: &DEFAULT,
        run: two_at_once,
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
    // Told before the guest ran, and no more since, whatever it did.
    let pinned = "memory: 4Gi pinned for DMA (";
    let told = pod.started.seen().iter().find(|line| line.contains(pinned));
    ensure!(told.is_some(), "there is no `{pinned}`");
    is_placed(&pod, 3, 4, false)?;
    third_vmi::reach_in(&vf)?;
    pod.succeed(GUEST)?;
    drop(server);
    third_vmi::free_pages(third_vmi::FREE)?;
    vf.give_back()?;
    nic::clear_wire()
}

/// Two small guests at once, each with a VF of one pool. The first has a NUMA node, learns of its VF from Multus, and has
/// its limit on locked memory raised by us. A third is refused the first one's VF. The first one's QEMU is killed: its VF
/// and page are free, and the other goes on.
fn two_at_once() -> Result<()> {
    let (vf, other) = (Vf::ready(1)?, Vf::ready(2)?);
    let (server, other_server) = (third_vmi::serve(&vf)?, third_vmi::serve(&other)?);
    let text = third_vmi::small(&vf, "      numa: {guestMappingPassthrough: {}}\n")?;
    let mount = format!("{}=/etc/podinfo", network_info(&vf)?);
    let with_network_info = |name| {
        let device = vf.device();
        Pod::new(name)
            .options([
                "--cpus",
                "4-5",
                "--mems",
                "1",
                "--hugetlb",
                "1GB=1073741824",
            ])
            .options(["--mount", &mount, "--cap", "sys_resource"])
            .options(device.iter().map(String::as_str))
    };
    let mut first = with_network_info("first").run_text(&text)?;
    let options = other.options();
    let mut second = third_vmi::pod("second", "6-7", "1", 1)
        .options(["--address", "10.244.0.11"])
        .options(options.iter().map(String::as_str))
        .run_text(&third_vmi::small(&other, "")?)?;
    let console = third_vmi::guest_reached_out(&mut first, &vf)?;
    let seen = console.demo("vf").unwrap_or_default();
    ensure!(
        seen.ends_with("node 0"),
        "the guest sees its VF as `{seen}`"
    );
    is_placed(&first, 1, 1, false)?;
    let _console = third_vmi::guest_reached_out(&mut second, &other)?;
    is_placed(&second, 1, 1, false)?;

    let mut third = with_network_info("third")
        .options(["--address", "10.244.0.12"])
        .run_text(&text)?;
    let code = third.code(SOON)?;
    let taken = told::of_fields(&third);
    ensure!(code == 3, "exit code {code}: {taken}");
    let (address, group) = (
        vf.bound.address.clone(),
        format!("group `{}`", vf.bound.group),
    );

    kill(Pid::from_raw(first.qemu()?), Signal::SIGKILL)?;
    let code = first.code(SOON)?;
    ensure!(code == 5, "exit code {code}");
    third_vmi::free_pages(third_vmi::FREE - 1)?;
    drop(server);
    vf.give_back()?;
    third_vmi::reach_in(&other)?;
    second.succeed(GUEST)?;
    drop(other_server);
    third_vmi::free_pages(third_vmi::FREE)?;
    other.give_back()?;
    nic::clear_wire()?;
    told::snapshot(
        "taken-by-another",
        &taken,
        &[(&address, "VF"), (&group, "group `GROUP`")],
    );
    Ok(())
}

/// The volume that KubeVirt's controller fills with what Multus told it.
fn network_info(vf: &Vf) -> Result<&'static str> {
    let directory = "/tmp/podinfo";
    std::fs::create_dir_all(directory)?;
    let info = json!({"interfaces": [{"network": "fast", "mac": vf.mac, "deviceInfo": {
        "type": "pci", "version": "1.1.0", "pci": {"pci-address": vf.bound.address}}}]});
    std::fs::write(format!("{directory}/network-info"), info.to_string())?;
    Ok(directory)
}

/// By `verify`, and by the kernel's own words; the guest's driver has interrupts unless it polls.
pub(crate) fn is_placed(pod: &Running, vcpus: usize, pages: u64, polls: bool) -> Result<()> {
    let (code, table) = pod.exec(&["verify"])?;
    log(&table);
    ensure!(code == Some(0), "exit code {code:?}");
    let (_, told) = pod.exec(&["verify", "--output", "json"])?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told["ok"] == true, "{told:#}");
    let interrupts = told["interrupts"].as_array().context("interrupts")?;
    ensure!(
        interrupts.len() == 1 && (interrupts[0]["count"] == 0) == polls,
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
    // vfio counts what it pins for DMA: all of the guest's memory, once.
    let locked = kernel::status(&qemu.to_string(), "VmLck")?;
    let locked: u64 = locked.trim_end_matches(" kB").trim().parse()?;
    ensure!(
        (pages << 20..(pages << 20) + (64 << 10)).contains(&locked),
        "{locked} kB are pinned"
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
