//! The VMI of `examples/sriov.yaml` and its VFs, as an SR-IOV operator, CNI and device plugin leave them.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::node::kernel;
use tests::node::nic::{self, Bound};
use tests::node::pod::{Pod, Running};
use tests::process::Started;
use tests::project;

/// A guest of 4 GiB boots in 30 s when nothing else runs.
pub(crate) const GUEST: Duration = Duration::from_secs(150);
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Node 1's pages of 1Gi.
pub(crate) const FREE: u64 = 5;
const GIB: u64 = 1 << 30;
/// The VLAN of the first VF; the next has the next.
const VLAN: u16 = 100;
const PORT: u16 = 8080;

/// One VF with its MAC and VLAN, and somebody on the other end of its VLAN.
pub(crate) struct Vf {
    pub(crate) bound: Bound,
    pub(crate) mac: String,
    /// Its physical function and its number there.
    of: (&'static str, u32),
    /// Among all of the node.
    number: u32,
}

impl Vf {
    /// One of node 1's.
    pub(crate) fn ready(number: u32) -> Result<Self> {
        Self::of(("pf0", number), number)
    }

    /// Node 0's only one.
    pub(crate) fn on_node_0() -> Result<Self> {
        Self::of(("pf1", 0), 4)
    }

    fn of(of: (&'static str, u32), number: u32) -> Result<Self> {
        let vf = Self {
            bound: nic::bind(&nic::vf(of.0, of.1)?, "vfio-pci")?,
            mac: format!("02:00:00:00:00:{:02x}", 16 + number),
            of,
            number,
        };
        nic::set_vf(of.0, of.1, &vf.mac, vf.vlan())?;
        nic::wire_address(vf.vlan(), &format!("{}/24", vf.outside()))?;
        Ok(vf)
    }

    pub(crate) fn vlan(&self) -> u16 {
        VLAN + u16::try_from(self.number).unwrap_or_default()
    }

    /// Of its server at the far end, which answers in every VLAN.
    fn port(&self) -> u16 {
        self.vlan() + 9000
    }

    /// The far end's address.
    pub(crate) fn outside(&self) -> String {
        format!("192.0.{}.1", 2 + self.number)
    }

    /// The guest's.
    pub(crate) fn inside(&self) -> String {
        format!("192.0.{}.2", 2 + self.number)
    }

    /// What a device plugin does to a pod.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = self.device();
        options.extend(["--env".to_owned(), self.variable()]);
        options
    }

    pub(crate) fn variable(&self) -> String {
        format!("PCIDEVICE_EXAMPLE_COM_FAST={}", self.bound.address)
    }

    pub(crate) fn device(&self) -> Vec<String> {
        vec![
            "--device".to_owned(),
            format!("vfio/{}", self.bound.group),
            "--device".to_owned(),
            "vfio/vfio".to_owned(),
        ]
    }

    /// Takes back what [`Self::ready`] did, in the order of a CNI that is torn down.
    pub(crate) fn give_back(self) -> Result<()> {
        let Self { bound, of, .. } = self;
        nic::set_vf(of.0, of.1, "00:00:00:00:00:00", 0)?;
        let address = bound.address.clone();
        drop(bound);
        // Reusable: the host's own driver makes a netdev of it.
        let again = nic::bind(&address, "igbvf")?;
        let net = camino::Utf8PathBuf::from(format!("/sys/bus/pci/devices/{address}/net"));
        ensure!(net.read_dir_utf8()?.count() == 1, "{address} has no netdev");
        drop(again);
        Ok(())
    }
}

/// The example, with other words of its own for some.
pub(crate) fn vmi(changes: &[(&str, &str)]) -> Result<String> {
    let mut text = kernel::read(project().join("examples/sriov.yaml"))?;
    for (from, to) in changes {
        ensure!(text.contains(from), "the example has no `{from}`");
        text = text.replace(from, to);
    }
    Ok(text)
}

/// One vCPU and one page instead of three and four: what a second look needs.
pub(crate) const SMALL: [(&str, &str); 3] = [
    ("sockets: 3", "sockets: 1"),
    ("cpu: 3", "cpu: 1"),
    ("memory: 4Gi", "memory: 1Gi"),
];

/// One vCPU and one page, and a line of YAML more for its CPU.
pub(crate) fn small(vf: &Vf, more: &str) -> Result<String> {
    let orders = orders(vf);
    let isolated = "      isolateEmulatorThread: true\n";
    let with_more = format!("{isolated}{more}");
    let mut changes = SMALL.to_vec();
    changes.push(("demo.vf-address=192.0.2.2/24", &orders));
    changes.push((isolated, &with_more));
    vmi(&changes)
}

/// The pod's limits for a guest of so many GiB; memory that it may lock is what the launcher says that it needs.
pub(crate) fn pod(name: &str, cpus: &str, mems: &str, gib: u64) -> Pod {
    let pages = format!("1GB={}", gib * GIB);
    let memlock = (gib * GIB + (64 << 20)).to_string();
    Pod::new(name).options([
        "--cpus",
        cpus,
        "--mems",
        mems,
        "--hugetlb",
        &pages,
        "--memlock",
        &memlock,
    ])
}

/// Orders to the guest: reach the far end, say so, power off when it was reached from there.
pub(crate) fn orders(vf: &Vf) -> String {
    format!(
        "demo.vf-address={}/24 demo.server={}:{} demo.poweroff-after-check=true",
        vf.inside(),
        vf.outside(),
        vf.port()
    )
}

/// The far end's server.
pub(crate) fn serve(vf: &Vf) -> Result<Started> {
    nic::serve_on_wire(vf.port(), &format!("from-vlan-{}", vf.vlan()))
}

/// Waits until the guest has reached the far end by its VF; its console.
pub(crate) fn guest_reached_out(pod: &mut Running, vf: &Vf) -> Result<Started> {
    pod.started.wait_for("guest: running", GUEST)?;
    let mut console = pod.console()?;
    console.wait_for("demo: outside=", GUEST)?;
    ensure!(
        console.demo("vf-carrier") == Some("1"),
        "the VF has no link"
    );
    let seen = console.demo("vf").unwrap_or_default();
    ensure!(seen.contains(&vf.mac), "the guest sees `{seen}`");
    let outside = console.demo("outside").unwrap_or_default();
    ensure!(
        outside == format!("from-vlan-{}", vf.vlan()),
        "outside is `{outside}`"
    );
    console.wait_for("demo: ready", GUEST)?;
    Ok(console)
}

/// Pings the guest by VLAN and MAC, then connects to it, after which it powers off.
pub(crate) fn reach_in(vf: &Vf) -> Result<()> {
    nic::ping_from_wire(&vf.inside())?;
    let neighbor = nic::seen_on_wire(vf.vlan(), &vf.inside())?;
    ensure!(
        neighbor.contains(&vf.mac),
        "`{neighbor}` instead of {}",
        vf.mac
    );
    let answer = nic::reach_from_wire(&vf.inside(), PORT, "in")?;
    ensure!(
        answer.contains(&format!(" in from-vlan-{}", vf.vlan())),
        "{answer}"
    );
    Ok(())
}

/// What is freed is freed before the pod's end is told.
pub(crate) fn free_pages(wanted: u64) -> Result<()> {
    let free = kernel::free_pages(1, "1048576")?;
    ensure!(
        free == wanted,
        "{free} free pages on node 1 instead of {wanted}"
    );
    Ok(())
}
