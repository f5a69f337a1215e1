//! A VF by iommufd: QEMU is handed its files, opens nothing of vfio's itself, and pins memory once. A second VM is refused
//! the VF.

use anyhow::{Result, ensure};
use tests::node::pod::{Pod, Running};
use tests::node::shape::IOMMUFD;
use tests::node::{Case, kernel, log, nic};

use super::third_vmi::{self, GUEST, SOON, Vf};
use super::told;

pub(crate) const CASES: &[Case] = &[Case {
    name: "iommufd-hands-files-over",
    shape: &IOMMUFD,
    run: hands_files_over,
}];

fn hands_files_over() -> Result<()> {
    let vf = Vf::ready(0)?;
    let cdev = nic::cdev(&vf.bound.address)?;
    let server = third_vmi::serve(&vf)?;
    let text = third_vmi::small(&vf, "")?;
    let mut pod = start("files", "10.244.0.10", &vf, &cdev, &[]).run_text(&text)?;
    let console = third_vmi::guest_reached_out(&mut pod, &vf)?;
    let pinned = "memory: 1Gi pinned for DMA (";
    ensure!(
        pod.started.seen().iter().any(|line| line.contains(pinned)),
        "there is no `{pinned}`"
    );

    let qemu = pod.qemu()?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{qemu}/fd"))? {
        let target = std::fs::read_link(entry?.path())?;
        files.extend(target.to_str().map(str::to_owned));
    }
    files.retain(|file| file.contains("vfio") || file.contains("iommu"));
    files.sort();
    log(&format!("{files:?}"));
    let device = format!("/dev/vfio/devices/{cdev}");
    for file in ["/dev/iommu", device.as_str()] {
        let count = files.iter().filter(|one| *one == file).count();
        ensure!(count == 1, "{count} of `{file}` among {files:?}");
    }
    // Other devices of the kernel's, such as KVM's for vfio, are no files by name.
    let opened = files.iter().filter(|file| file.starts_with("/dev/"));
    ensure!(opened.count() == 2, "{files:?}");
    // Not within QEMU's limit on locked memory, which counts for all VMs of its user, but pinned all the same, once.
    let pinned: u64 = kernel::status(&qemu.to_string(), "VmPin")?
        .trim_end_matches(" kB")
        .trim()
        .parse()?;
    ensure!(
        (1 << 20..(1 << 20) + (64 << 10)).contains(&pinned),
        "{pinned} kB are pinned"
    );

    let raised = ["--cap", "sys_resource"];
    let mut second = start("second", "10.244.0.11", &vf, &cdev, &raised).run_text(&text)?;
    let taken = refused(&mut second)?;
    let group = format!("group `{}`", vf.bound.group);
    // Its own file is not for us.
    let node = format!("vfio/devices/{cdev}");
    let denied = Pod::new("denied")
        .options(limits())
        .options(["--root-device", &node]);
    let denied = denied.options(["--device", "iommu", "--env", &vf.variable()]);
    let denied = refused(&mut denied.run_text(&text)?)?;

    third_vmi::reach_in(&vf)?;
    pod.succeed(GUEST)?;
    drop((server, console));
    third_vmi::free_pages(third_vmi::FREE)?;
    let address = vf.bound.address.clone();
    vf.give_back()?;
    nic::clear_wire()?;
    told::snapshot(
        "iommufd",
        &format!("taken:\n{taken}denied:\n{denied}"),
        &[(&address, "VF"), (&group, "group `GROUP`"), (&cdev, "VFIO")],
    );
    Ok(())
}

fn refused(pod: &mut Running) -> Result<String> {
    let code = pod.code(SOON)?;
    let said = told::of_fields(pod);
    ensure!(code == 3, "exit code {code}: {said}");
    Ok(said)
}

fn limits() -> [&'static str; 8] {
    let (pages, memlock) = ("1GB=1073741824", "1140850688");
    [
        "--cpus",
        "4-5",
        "--mems",
        "1",
        "--hugetlb",
        pages,
        "--memlock",
        memlock,
    ]
}

/// No group and no container: only what iommufd takes.
fn start(name: &str, address: &str, vf: &Vf, cdev: &str, more: &[&str]) -> Pod {
    let device = format!("vfio/devices/{cdev}");
    Pod::new(name)
        .options(limits())
        .options([
            "--address",
            address,
            "--device",
            "iommu",
            "--device",
            &device,
        ])
        .options(["--env", &vf.variable()])
        .options(more.iter().copied())
}
