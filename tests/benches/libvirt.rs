//! libvirt, run by hand as KubeVirt's pod runs it: virtlogd and the daemon as user 107, with directories and a
//! configuration of their own, asked over one connection that stays.
//!
//! Debian builds the monolithic daemon alone; with the QEMU driver as its only one it stands for virtqemud. `virsh` reads
//! commands from a pipe, so that no process is started for any of them.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use camino::Utf8PathBuf;
use launcher::plan::LaunchPlan;
use tests::namespace;

use crate::sample::ms;
use crate::shape::guest;

/// As in KubeVirt's image.
const USER: u32 = 107;
const HOME: &str = "/run/libvirt-bench";
const NAME: &str = "bench";
/// Its capability cache takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// KubeVirt's own `qemu.conf` where it matters here.
const QEMU_CONF: &str =
    "stdio_handler = \"logd\"\nnamespaces = []\ncgroup_controllers = []\nremember_owner = 0\n";

/// Lays the unpacked packages over `/usr`, for everything in this mount namespace alike; names the user, hands it the devices
/// that a pod has, and makes its tap.
pub(crate) fn furnish() -> Result<()> {
    let root = tests::project().join("target/bench/libvirt/root");
    ensure!(
        root.join("usr/sbin/libvirtd").is_file(),
        "no libvirt in `{root}`; `tests/setup/install bench` fetches it"
    );
    let script = format!(
        "\
mount -t overlay none -o lowerdir={root}/usr:/usr /usr
mkdir -p {HOME}
for name in passwd group; do cp /etc/$name {HOME}/$name; done
echo 'qemu:x:{USER}:{USER}::{HOME}:/bin/sh' >>{HOME}/passwd
echo 'qemu:x:{USER}:' >>{HOME}/group
for name in passwd group; do mount --bind {HOME}/$name /etc/$name; done
mknod -m 666 {HOME}/tun c 10 200
mount --bind {HOME}/tun /dev/net/tun
if [ -e /dev/kvm ]; then mknod -m 666 {HOME}/kvm c 10 232; mount --bind {HOME}/kvm /dev/kvm; fi
ip tuntap add tap-libvirt mode tap vnet_hdr user {USER} group {USER}"
    );
    namespace::run("sh", &["-euc", &script])
}

/// Running daemons and a connection to them.
pub(crate) struct Libvirt {
    daemons: [Child; 2],
    virsh: Child,
    said: Lines<BufReader<ChildStdout>>,
    domain: Utf8PathBuf,
    /// From the daemons' exec to a connection.
    pub(crate) ms: f64,
}

/// What its cache of QEMU's capabilities has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// Nothing, as in every new pod.
    Cold,
    /// What an earlier daemon found.
    Kept,
}

impl Libvirt {
    /// Starts daemons for a guest like `plan`'s.
    pub(crate) fn start(plan: &LaunchPlan, cache: Cache) -> Result<Self> {
        let home = Utf8PathBuf::from(HOME);
        if cache == Cache::Cold {
            gone(fs::remove_dir_all(home.join("cache")))?;
        }
        // Sockets of earlier daemons would be taken for the new ones'.
        gone(fs::remove_dir_all(home.join("run")))?;
        for name in ["run", "cache", "state", "data", "config", "config/libvirt"] {
            fs::create_dir_all(home.join(name))?;
            chown(home.join(name), Some(USER), Some(USER))?;
        }
        chown(&home, Some(USER), Some(USER))?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
        fs::write(home.join("config/libvirt/qemu.conf"), QEMU_CONF)?;
        fs::write(
            home.join("config/libvirt/libvirtd.conf"),
            "log_outputs = \"3:stderr\"\n",
        )?;
        let disk = home.join("d0.qcow2");
        namespace::run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", disk.as_str(), "64M"],
        )?;
        chown(&disk, Some(USER), Some(USER))?;
        let domain = home.join("domain.xml");
        fs::write(&domain, xml(plan))?;
        // Its errors are to be read where its answers are.
        let mut virsh = as_user("sh")
            .args(["-c", "exec virsh 2>&1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(virsh.stdout.take().context("a pipe")?).lines();
        let started = Instant::now();
        let daemons = [as_user("virtlogd").spawn()?, as_user("libvirtd").spawn()?];
        let mut libvirt = Self {
            daemons,
            virsh,
            said,
            domain,
            ms: 0.0,
        };
        let socket = home.join("run/libvirt/libvirt-sock");
        while !socket.exists() {
            ensure!(started.elapsed() < PATIENCE, "libvirtd makes no `{socket}`");
            std::thread::sleep(Duration::from_millis(1));
        }
        // `connect` says nothing when it is done; what follows it needs the connection.
        writeln!(libvirt.stdin()?, "connect qemu:///session")?;
        libvirt.ask("version", "Running hypervisor")?;
        libvirt.ms = ms(started);
        Ok(libvirt)
    }

    /// From asking for it to a running domain.
    pub(crate) fn create(&mut self) -> Result<f64> {
        let started = Instant::now();
        self.ask(&format!("create {}", self.domain), "created from")?;
        Ok(ms(started))
    }

    /// From asking for it to a domain that is gone.
    pub(crate) fn destroy(&mut self) -> Result<f64> {
        let started = Instant::now();
        self.ask(&format!("destroy {NAME}"), "destroyed")?;
        Ok(ms(started))
    }

    /// Everything that is not QEMU.
    pub(crate) fn pids(&self) -> Result<[i32; 2]> {
        let [logd, daemon] = &self.daemons;
        Ok([logd.id().try_into()?, daemon.id().try_into()?])
    }

    fn stdin(&mut self) -> Result<&mut ChildStdin> {
        self.virsh.stdin.as_mut().context("a pipe")
    }

    /// A command that says `word` when it is done.
    fn ask(&mut self, command: &str, word: &str) -> Result<()> {
        writeln!(self.stdin()?, "{command}")?;
        for line in self.said.by_ref() {
            let line = line?;
            if line.contains(word) {
                return Ok(());
            }
            ensure!(
                !line.contains("error:"),
                "virsh says of `{command}`: {line}"
            );
        }
        bail!("virsh ended at `{command}`; what it and the daemons said is in `{HOME}/*.log`")
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        for child in self.daemons.iter_mut().chain([&mut self.virsh]) {
            // Not an error when it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn gone(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn as_user(program: &str) -> Command {
    let mut command = Command::new(program);
    command.uid(USER).gid(USER).env("HOME", HOME);
    for (name, directory) in [
        ("XDG_RUNTIME_DIR", "run"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_DATA_HOME", "data"),
    ] {
        command.env(name, format!("{HOME}/{directory}"));
    }
    let log = format!("{HOME}/{program}.log");
    if let Ok(log) = fs::File::options().append(true).create(true).open(log) {
        command.stderr(log);
    }
    command
}

/// The plan's guest, as KubeVirt writes it for libvirt.
fn xml(plan: &LaunchPlan) -> String {
    let ports = plan
        .argv
        .iter()
        .filter(|word| word.contains("\"pcie-root-port\""))
        .count();
    let ports = "    <controller type='pci' model='pcie-root-port'/>\n".repeat(ports);
    let guest = guest();
    format!(
        "\
<domain type='qemu'>
  <name>{NAME}</name>
  <memory unit='KiB'>262144</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{guest}/vmlinux</kernel>
    <initrd>{guest}/initramfs.cpio</initrd>
    <cmdline>console=ttyS0 quiet no_timer_check</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='{cpu}'/>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='writethrough' discard='unmap' error_policy='stop'/>
      <source file='{HOME}/d0.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
{ports}    <controller type='scsi' model='virtio-non-transitional'/>
    <controller type='virtio-serial' model='virtio-non-transitional'/>
    <controller type='usb' model='none'/>
    <interface type='ethernet'>
      <mac address='0a:58:0a:f4:02:0b'/>
      <target dev='tap-libvirt' managed='no'/>
      <model type='virtio-non-transitional'/>
      <rom enabled='no'/>
    </interface>
    <serial type='unix'>
      <source mode='bind' path='{HOME}/serial0'/>
      <log file='{HOME}/serial0-log' append='on'/>
      <target port='0'/>
    </serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' socket='{HOME}/vnc'/>
    <video><model type='vga' vram='16384' heads='1'/></video>
    <memballoon model='virtio-non-transitional' freePageReporting='on'><stats period='10'/></memballoon>
    <rng model='virtio-non-transitional'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
",
        cpu = "host-model"
    )
}
