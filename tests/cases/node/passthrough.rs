//! The rig's own chain, without the product: a VF on `vfio-pci`, a KVM guest whose memory is a 1Gi page of the VF's node,
//! and the wire behind a VLAN that only the PF knows of.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::node::kernel::HugeMapping;
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log, nic};
use tests::process::Started;
use tests::{guest, need};

pub(crate) const CASES: &[Case] = &[Case {
    name: "vf-and-1gi-page-of-one-node",
    shape: &DEFAULT,
    run: vf_and_page,
}];

const MAC: &str = "02:00:00:00:00:05";
const GUEST: Duration = Duration::from_secs(120);

fn vf_and_page() -> Result<()> {
    nic::set_vf("pf0", 0, MAC, 100)?;
    nic::wire_address(100, "192.0.2.1/24")?;
    let vf = nic::bind(&nic::vf("pf0", 0)?, "vfio-pci")?;
    let boot = guest::generic_boot_dir();
    let mut qemu = Command::new(need::tool("qemu-system-x86_64"));
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-machine", "q35,memory-backend=ram", "-m", "1G"])
        .args(["-accel", "kvm", "-cpu", "host"])
        .args(["-object", "memory-backend-memfd,id=ram,size=1G,hugetlb=on,hugetlbsize=1G,prealloc=on,host-nodes=1,policy=bind"])
        .args(["-device", "pcie-root-port,id=root-port"])
        .args(["-device", &format!("vfio-pci,host={},bus=root-port", vf.address)])
        .args(["-kernel", boot.join("vmlinux").as_str()])
        .args(["-initrd", boot.join("initramfs.cpio").as_str()])
        .args(["-append", "console=ttyS0 quiet demo.mode=serve demo.vf-address=192.0.2.2/24"])
        .args(["-serial", "stdio"])
        .stdin(Stdio::null());
    let mut qemu = Started::start_shown(&mut qemu, log)?;
    qemu.wait_for("demo: ready", GUEST)?;
    ensure!(qemu.demo("vf-carrier") == Some("1"), "the VF has no link");
    let seen = qemu.demo("vf").unwrap_or_default();
    ensure!(seen.contains(MAC), "the guest sees `{seen}`");
    nic::ping_from_wire("192.0.2.2")?;
    let pid = i32::try_from(qemu.child().id())?;
    let expected = HugeMapping {
        policy: "bind:1".to_owned(),
        page_kb: 1_048_576,
        pages: [(1, 1)].into(),
    };
    let mappings = kernel::huge_mappings(pid)?;
    ensure!(mappings == [expected], "{mappings:?}");
    ensure!(kernel::free_pages(1, "1048576")? == 4);
    drop(qemu);
    drop(vf);
    nic::set_vf("pf0", 0, "00:00:00:00:00:00", 0)?;
    nic::clear_wire()
}
