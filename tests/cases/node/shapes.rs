//! A node on which passthrough cannot work, for the two reasons that hardware gives; SMT and a node of memory alone on the
//! side.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::need;
use tests::node::shape::{Cell, Iommu, Kernel, Nic, Shape};
use tests::node::{Case, kernel, log, nic};
use tests::process::Started;

/// `pf0` shares a group with its VFs and its port; `pf1` does not, but nothing remaps interrupts.
pub(crate) const UNFIT: Shape = Shape {
    name: "unfit",
    cells: &[
        Cell {
            cpus: 4,
            memory: 4,
            huge_1g: 0,
            huge_2m: 16,
        },
        Cell {
            cpus: 0,
            memory: 1,
            huge_1g: 0,
            huge_2m: 16,
        },
    ],
    threads: 2,
    nics: &[
        Nic {
            cell: 0,
            vfs: 1,
            acs: false,
        },
        Nic {
            cell: 0,
            vfs: 1,
            acs: true,
        },
    ],
    iommu: Iommu::Intel {
        interrupt_remapping: false,
    },
    iommufd: false,
    kernel: Kernel::Current,
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "smt-and-memory-alone",
        shape: &UNFIT,
        run: smt_and_memory_alone,
    },
    Case {
        name: "group-not-viable",
        shape: &UNFIT,
        run: group_not_viable,
    },
    Case {
        name: "no-interrupt-remapping",
        shape: &UNFIT,
        run: no_interrupt_remapping,
    },
];

fn smt_and_memory_alone() -> Result<()> {
    ensure!(kernel::cells()? == [0, 1]);
    ensure!(kernel::read("/sys/devices/system/node/node1/cpulist")?.is_empty());
    let siblings = kernel::read("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list")?;
    ensure!(siblings == "2-3", "siblings {siblings}");
    Ok(())
}

fn group_not_viable() -> Result<()> {
    let vf = nic::bind(&nic::vf("pf0", 0)?, "vfio-pci")?;
    ensure!(
        nic::group(&nic::pf("pf0")?)? == vf.group,
        "the VF has a group of its own"
    );
    refused(&vf.address, &format!("group {} is not viable", vf.group))
}

fn no_interrupt_remapping() -> Result<()> {
    let vf = nic::bind(&nic::vf("pf1", 0)?, "vfio-pci")?;
    ensure!(nic::group(&nic::pf("pf1")?)? != vf.group);
    refused(&vf.address, "ailed to set iommu for container")
}

/// What QEMU says of such a device by itself.
fn refused(address: &str, why: &str) -> Result<()> {
    let mut qemu = Command::new(need::tool("qemu-system-x86_64"));
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-machine", "q35", "-accel", "kvm"])
        .args(["-device", &format!("vfio-pci,host={address}")])
        .stdin(Stdio::null());
    let mut qemu = Started::start_shown(&mut qemu, log)?;
    qemu.wait_for(why, Duration::from_secs(60))?;
    ensure!(!qemu.finish(Duration::from_secs(60))?.success());
    Ok(())
}
