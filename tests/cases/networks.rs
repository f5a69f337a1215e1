//! Whole VMs on several networks: the seed's second VMI, bridged pod networks, and what virt-handler has prepared.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tests::process::Started;
use tests::{binary, guest, namespace, need, project};

/// A guest takes some ten seconds under emulation; this only ends a hang.
const PATIENCE: Duration = Duration::from_secs(180);

fn ip(arguments: &str) -> Result<()> {
    namespace::run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// A bridge of the machine with jumbo frames, and a namespace `name` on it with an address in 192.0.2.0/24.
fn bridge(name: &str) -> Result<()> {
    ip(&format!("link add {name} type bridge"))?;
    // Said again: a bridge takes the smallest of its ports' until somebody says so.
    ip(&format!("link set {name} mtu 9000 up"))
}

/// Somebody else on a bridge: a process in a network namespace of its own.
struct Neighbour(std::process::Child);

impl Neighbour {
    fn on(bridge: &str, address: &str) -> Result<Self> {
        let child = Command::new("unshare")
            .args(["--net", "--kill-child", "sh", "-c", "echo ready; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("`unshare` of util-linux")?;
        let mut neighbour = Self(child);
        let mut ready = [0; 6];
        let stdout = neighbour.0.stdout.as_mut().context("its output")?;
        std::io::Read::read_exact(stdout, &mut ready)?;
        let (pid, port) = (neighbour.0.id(), format!("n{}", neighbour.0.id()));
        ip(&format!(
            "link add {port} mtu 9000 type veth peer name eth0 mtu 9000 netns {pid}"
        ))?;
        ip(&format!("link set {port} master {bridge} up"))?;
        neighbour.sh(&format!(
            "ip addr add {address} dev eth0; ip link set eth0 up"
        ))?;
        Ok(neighbour)
    }

    fn port(&self) -> String {
        format!("n{}", self.0.id())
    }

    fn sh(&self, script: &str) -> Result<String> {
        let target = self.0.id().to_string();
        let output = Command::new("nsenter")
            .args(["--net", "--target", &target, "sh", "-c", script])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "`{script}`: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// `virt-launcher run` of a VMI, with these options more.
fn run(vmi: &Utf8Path, more: &[&str]) -> Result<Started> {
    Started::start(
        Command::new(binary::virt_launcher())
            .args(["run", "--vmi", vmi.as_str(), "--allow-emulation"])
            .args(["--kernel-boot-dir", guest::kernel_boot_dir().as_str()])
            .args(more)
            .stdin(Stdio::null()),
    )
}

fn ends_well(vm: &mut Started) -> Result<()> {
    vm.signal(Signal::SIGTERM)?;
    let status = vm.finish(PATIENCE)?;
    ensure!(status.success(), "{status}: {:#?}", vm.seen());
    Ok(())
}

/// The example, with its text changed.
fn example(directory: &TempDir, change: &[(&str, &str)]) -> Result<Utf8PathBuf> {
    let mut text = std::fs::read_to_string(project().join("examples/bridge.yaml"))?;
    for (from, to) in change {
        ensure!(text.contains(from), "the example has no `{from}`");
        text = text.replace(from, to);
    }
    let path = Utf8Path::from_path(directory.path())
        .context("a path in UTF-8")?
        .join("vmi.yaml");
    std::fs::write(&path, text)?;
    Ok(path)
}

fn directory() -> Result<TempDir> {
    need::root();
    // Not in /run: QEMU opens disks with O_DIRECT.
    Ok(tempfile::tempdir_in(std::env::temp_dir())?)
}

#[test]
fn the_seeds_second_vmi_is_reached_on_its_wire() -> Result<()> {
    need::root();
    namespace::enter_fresh_network()?;
    bridge("br1")?;
    let neighbour = Neighbour::on("br1", "192.0.2.1/24")?;
    let vmi = project().join("examples/bridge.yaml");
    let mut vm = run(&vmi, &["--network", "blue=br1"])?;
    vm.wait_for("demo: ready", PATIENCE)?;
    // Behind NAT, and on the wire with the bridge's MTU.
    assert_eq!(vm.demo("address"), Some("10.0.2.2/24"));
    assert_eq!(vm.demo("eth1-address"), Some("192.0.2.2/24"));
    assert_eq!(vm.demo("eth1-link-mtu"), Some("9000"));
    // As large as it goes, in one frame each way.
    let said =
        neighbour.sh("busybox ping -c 3 -s 8972 192.0.2.2 && cat /proc/net/snmp && ip neigh")?;
    assert!(said.contains("3 packets received"), "{said}");
    let ip_numbers = said.lines().filter(|line| line.starts_with("Ip:")).nth(1);
    let numbers: Vec<&str> = ip_numbers.context("/proc/net/snmp")?.split(' ').collect();
    // ReasmReqds, FragCreates: proc_net(5).
    assert_eq!((numbers[14], numbers[19]), ("0", "0"), "{said}");
    // Nobody stands between: it is the guest's own hardware address.
    let mac = vm.demo("eth1-mac").context("the guest's second NIC")?;
    assert!(said.contains(mac), "{mac}: {said}");
    ends_well(&mut vm)
}

#[test]
fn a_vlan_is_kept_apart_or_its_lack_is_told() -> Result<()> {
    need::root();
    namespace::enter_fresh_network()?;
    bridge("br1")?;
    let filters = ip("link set br1 type bridge vlan_filtering 1").is_ok();
    let vmi = project().join("examples/bridge.yaml");
    let mut vm = run(&vmi, &["--network", "blue=br1,vlan=100"])?;
    if !filters {
        // This machine's kernel cannot: the message says what it would take.
        vm.wait_for("bridge `br1` does not keep VLANs apart", PATIENCE)?;
        assert_eq!(vm.finish(PATIENCE)?.code(), Some(4));
        return Ok(());
    }
    let same = Neighbour::on("br1", "192.0.2.1/24")?;
    let other = Neighbour::on("br1", "192.0.2.3/24")?;
    for (neighbour, vlan) in [(&same, "100"), (&other, "200")] {
        let port = neighbour.port();
        let bridge =
            |arguments: &str| namespace::run("bridge", &arguments.split(' ').collect::<Vec<_>>());
        bridge(&format!("vlan add dev {port} vid {vlan} pvid untagged"))?;
        bridge(&format!("vlan del dev {port} vid 1"))?;
    }
    vm.wait_for("demo: ready", PATIENCE)?;
    same.sh("busybox ping -c 1 -w 20 192.0.2.2")?;
    assert!(other.sh("busybox ping -c 1 -w 2 192.0.2.2").is_err());
    ends_well(&mut vm)
}

#[test]
fn a_guest_bridged_to_the_pods_network_has_the_pods_address() -> Result<()> {
    let directory = directory()?;
    namespace::enter_fresh_network()?;
    let vmi = example(&directory, &[("masquerade: {}", "bridge: {}")])?;
    let mut vm = run(&vmi, &[])?;
    vm.wait_for("network: blue leads nowhere", PATIENCE)?;
    vm.wait_for("demo: ready", PATIENCE)?;
    assert_eq!(vm.demo("address"), Some("100.64.0.2/30"));
    assert_eq!(vm.demo("gateway"), Some("100.64.0.1"));
    assert_eq!(vm.demo("routes"), Some("0.0.0.0/0 100.64.0.1"));
    assert_eq!(vm.demo("dhcp-server"), Some("169.254.75.10"));
    // The guest keeps the pod NIC's address on the wire too.
    assert_eq!(vm.demo("mac"), Some("02:00:64:40:00:02"));
    namespace::run("busybox", &["ping", "-c", "1", "-w", "20", "100.64.0.2"])?;
    ends_well(&mut vm)
}

/// A VM with one NIC of this model. Without a kernel its firmware starts the NIC's boot ROM, which asks for an address.
fn with_model(directory: &TempDir, model: &str, kernel: bool) -> Result<Utf8PathBuf> {
    let path = Utf8Path::from_path(directory.path())
        .context("a path in UTF-8")?
        .join(format!("{model}.yaml"));
    let (firmware, order) = match kernel {
        true => (
            "firmware: {kernelBoot: {kernelArgs: console=ttyS0 quiet no_timer_check demo.mode=serve, container: {image: demo, \
             kernelPath: /vmlinux, initrdPath: /initramfs.cpio}}}",
            "",
        ),
        false => ("firmware: {}", ", bootOrder: 1"),
    };
    let text = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: model}}\nspec:\n  \
         terminationGracePeriodSeconds: 0\n  domain:\n    {firmware}\n    memory: {{guest: 256Mi}}\n    devices:\n      \
         interfaces: [{{name: default, masquerade: {{}}, model: {model}{order}}}]\n  networks: [{{name: default, pod: {{}}}}]\n"
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

#[test]
fn every_nic_model_gets_an_address() -> Result<()> {
    let directory = directory()?;
    namespace::enter_fresh_network()?;
    for (model, driver) in [
        ("virtio", "virtio_net"),
        ("e1000", "e1000"),
        ("e1000e", "e1000e"),
        ("igb", "igb"),
        ("rtl8139", "8139cp"),
        ("ne2k_pci", "ne2k-pci"),
        ("pcnet", "pcnet32"),
    ] {
        let vmi = with_model(&directory, model, true)?;
        // Its kernel has the drivers of all of them.
        let boot = guest::generic_boot_dir();
        let mut vm = Started::start(
            Command::new(binary::virt_launcher())
                .args(["run", "--vmi", vmi.as_str(), "--allow-emulation"])
                .args(["--kernel-boot-dir", boot.as_str()])
                .stdin(Stdio::null()),
        )?;
        vm.wait_for("demo: address=10.0.2.2/24", PATIENCE)
            .context(model)?;
        assert_eq!(vm.demo("driver"), Some(driver));
        vm.signal(Signal::SIGTERM)?;
        vm.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_nic_to_boot_from_asks_for_an_address() -> Result<()> {
    let directory = directory()?;
    namespace::enter_fresh_network()?;
    for model in ["virtio", "e1000"] {
        let mut vm = run(&with_model(&directory, model, false)?, &["--no-console"])?;
        vm.wait_for("has 10.0.2.2 on k6t-eth0", PATIENCE)
            .context(model)?;
        vm.signal(Signal::SIGTERM)?;
        vm.finish(PATIENCE)?;
    }
    Ok(())
}

#[test]
fn ten_networks_are_on_one_vm() -> Result<()> {
    let directory = directory()?;
    namespace::enter_fresh_network()?;
    bridge("br1")?;
    let (mut interfaces, mut networks) = (String::new(), String::new());
    let (mut orders, mut options) = (String::new(), Vec::new());
    for number in 1..10 {
        interfaces.push_str(&format!("        - {{name: net{number}, bridge: {{}}}}\n"));
        networks.push_str(&format!(
            "    - {{name: net{number}, multus: {{networkName: net{number}}}}}\n"
        ));
        orders.push_str(&format!("eth{number}: 10.{number}.0.2/24\n            "));
        options.extend(["--network".to_owned(), format!("net{number}=br1")]);
    }
    let vmi = example(
        &directory,
        &[
            ("        - name: blue\n          bridge: {}\n", &interfaces),
            (
                "    - name: blue\n      multus:\n        networkName: blue-network\n",
                &networks,
            ),
            ("eth1: 192.0.2.2/24\n", &orders),
        ],
    )?;
    let neighbour = Neighbour::on("br1", "10.1.0.1/24")?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut vm = run(&vmi, &options)?;
    vm.wait_for("demo: ready", PATIENCE)?;
    assert_eq!(vm.demo("address"), Some("10.0.2.2/24"));
    for number in 1..10 {
        neighbour.sh(&format!(
            "ip addr replace 10.{number}.0.1/24 dev eth0; busybox ping -c 1 -w 20 10.{number}.0.2"
        ))?;
    }
    ends_well(&mut vm)
}

#[test]
fn an_unknown_network_is_a_wrong_command_line() -> Result<()> {
    need::root();
    namespace::enter_fresh_network()?;
    let vmi = project().join("examples/bridge.yaml");
    for (option, wanted) in [
        ("red=br1", "it has blue"),
        ("blue=", "the bridge is missing"),
        ("blue=br1,vlan=0", "no VLAN"),
    ] {
        let mut vm = run(&vmi, &["--network", option])?;
        vm.wait_for(wanted, PATIENCE)?;
        assert_eq!(vm.finish(PATIENCE)?.code(), Some(2), "{option}");
    }
    for (bridge, wanted) in [
        ("br1", "there is no link `br1`"),
        ("lo", "`lo` is no bridge"),
    ] {
        let mut vm = run(&vmi, &["--network", &format!("blue={bridge}")])?;
        vm.wait_for(wanted, PATIENCE)?;
        assert_eq!(vm.finish(PATIENCE)?.code(), Some(4), "{bridge}");
    }
    Ok(())
}

/// The launcher as PID 1 of a pod, as user 107 with CAP_NET_BIND_SERVICE and nothing else.
fn in_pod(directory: &TempDir, prepare: &str) -> Result<Started> {
    let vmi = example(
        directory,
        &[
            ("mode: serve", "mode: demo"),
            ("eth1: 192.0.2.2/24", "poweroff-after-check: true"),
        ],
    )?;
    let scripts = project().join("tests/cases/networks");
    let path = Utf8Path::from_path(directory.path()).context("a path in UTF-8")?;
    // User 107 reads the VMI, and reaches its own directories.
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let prepare = prepare.replace("virt-handler", scripts.join("virt-handler").as_str());
    Started::start(
        Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
            .args([scripts.join("pod").as_str(), path.as_str(), &prepare])
            .args([
                binary::virt_launcher().as_str(),
                "run",
                "--vmi",
                vmi.as_str(),
            ])
            .args(["--kernel-boot-dir", guest::kernel_boot_dir().as_str()])
            .arg("--allow-emulation")
            .stdin(Stdio::null()),
    )
}

/// What the guest said, from its console's log in the pod.
fn console(directory: &TempDir) -> Result<String> {
    let private = directory.path().join("run/kubevirt-private");
    for entry in std::fs::read_dir(&private)? {
        let log = entry?.path().join("virt-serial0-log");
        if let Ok(bytes) = std::fs::read(&log) {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    anyhow::bail!("no console log below {}", private.display())
}

#[test]
fn what_virt_handler_prepared_is_used_without_privilege() -> Result<()> {
    let directory = directory()?;
    let prepare = "virt-handler /run/kubevirt-private masquerade:eth0:tap0:2 bridge:pod16477688c0e:tap16477688c0e:2";
    let mut vm = in_pod(&directory, prepare)?;
    let line = vm.wait_for("network: default", PATIENCE)?;
    assert_eq!(line.matches("found prepared").count(), 2, "{line}");
    let status = vm.finish(PATIENCE)?;
    let said = console(&directory)?;
    ensure!(status.success(), "{status}: {:#?}\n{said}", vm.seen());
    // Nor is anybody to see its rules.
    let trusted = vm
        .seen()
        .iter()
        .any(|line| line.contains("NAT rules are taken on trust"));
    assert!(trusted, "{:#?}", vm.seen());
    for wanted in [
        "demo: address=10.0.2.2/24",
        "demo: mtu=1450",
        "demo: eth1-address=10.9.0.5/24",
        "demo: eth1-routes=10.10.0.0/16 10.9.0.9",
        "demo: eth1-dhcp-server=169.254.75.11",
        "demo: eth1-link-mtu=9000",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    Ok(())
}

#[test]
fn without_privilege_and_preparation_it_says_what_it_takes() -> Result<()> {
    let directory = directory()?;
    let mut vm = in_pod(&directory, "true")?;
    vm.wait_for("needs CAP_NET_ADMIN", PATIENCE)?;
    assert_eq!(vm.finish(PATIENCE)?.code(), Some(4));
    Ok(())
}
