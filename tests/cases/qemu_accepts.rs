//! Every golden plan is put before the real QEMU: it must take each argument, put each device where the
//! plan says, and run the commands that precede `cont`.
//!
//! What a plan names and this machine lacks is stood in for: images and sockets below a directory of
//! the test's, taps in a network namespace of its own, TCG for KVM, and no vhost.

#![expect(
    unsafe_code,
    reason = "fds are given their numbers between fork and exec, and taps are made by ioctl"
)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use launcher::host::ImageFormat;
use launcher::plan::{LaunchPlan, Open};
use launcher::storage::plan::Layer;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

const GOLDENS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../launcher/src/plan/compose/snapshots"
);
/// Sources of inherited fds sit above every number that a plan gives.
const ABOVE_PLANNED: RawFd = 500;
/// What huge pages are divided by.
const FEWER: u64 = 16;
const IFF_TAP: i16 = 0x0002;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;
const IFF_MULTI_QUEUE: i16 = 0x0100;
/// `_IOW('T', 202, int)` of linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;

#[test]
fn minimal() -> Result<()> {
    accepts("minimal")
}

#[test]
fn masquerade() -> Result<()> {
    accepts("masquerade")
}

#[test]
fn tcg() -> Result<()> {
    accepts("tcg")
}

#[test]
fn all_buses() -> Result<()> {
    accepts("all-buses")
}

#[test]
fn nics() -> Result<()> {
    accepts("nics")
}

#[test]
fn named_cpu() -> Result<()> {
    accepts("named-cpu")
}

#[test]
fn paused() -> Result<()> {
    accepts("paused")
}

#[test]
fn large() -> Result<()> {
    accepts("large")
}

#[test]
fn transitional() -> Result<()> {
    accepts("transitional")
}

#[test]
fn bare() -> Result<()> {
    accepts("bare")
}

#[test]
fn cells() -> Result<()> {
    accepts("cells")
}

#[test]
fn iothreads() -> Result<()> {
    accepts("iothreads")
}

/// As far as it goes without a device of the host: each argument is taken, and what is inherited turns out to be none.
#[test]
fn iommufd() -> Result<()> {
    let Err(error) = accepts("iommufd") else {
        bail!("`/dev/null` was taken for a device");
    };
    let said = format!("{error:#}");
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        last.contains("error bind device fd=") && last.contains("Inappropriate ioctl for device"),
        "{said}"
    );
    Ok(())
}

#[test]
fn no_golden_is_left_out() -> Result<()> {
    let source = include_str!("qemu_accepts.rs");
    for entry in fs::read_dir(GOLDENS)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let Some((_, case)) = name
            .strip_suffix(".json.snap")
            .and_then(|name| name.rsplit_once("__"))
        else {
            continue;
        };
        ensure!(
            source.contains(&format!("accepts(\"{case}\")")),
            "golden `{case}` is put before no QEMU"
        );
    }
    Ok(())
}

fn accepts(case: &str) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("qa").tempdir()?;
    let plan = relocated(&golden(case)?, directory.path())?;
    make_files(&plan)?;
    let mut qemu = Qemu::start(&plan)?;
    let devices = planned_devices(&plan)?;
    ensure!(devices.len() > 5, "only {} devices planned", devices.len());
    check_places(&mut qemu, &devices)?;
    check_root_bus(&mut qemu, &devices)?;
    for step in &plan.before_cont {
        qemu.execute(&step.execute, step.arguments.clone())?;
    }
    qemu.quit()
}

/// The plan in a golden's JSON, after the header that insta writes.
fn golden(case: &str) -> Result<LaunchPlan> {
    let path = format!("{GOLDENS}/launcher__plan__compose__tests__{case}.json.snap");
    let text = fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    let (_, body) = text
        .split_once("\n---\n")
        .context("a snapshot has a header")?;
    serde_json::from_str(body).context("a golden is a plan")
}

/// The same plan with every path below `directory`, TCG, and no vhost.
fn relocated(plan: &LaunchPlan, directory: &Path) -> Result<LaunchPlan> {
    let below = directory.to_str().context("a temporary path is UTF-8")?;
    let text = serde_json::to_string(plan)?
        .replace(&plan.uid.to_string(), "u")
        .replace("/var/run", below)
        .replace("/dev/block", &format!("{below}/block"));
    let mut moved: LaunchPlan =
        serde_json::from_str(&text.replace(r#""uid":"u""#, &format!(r#""uid":"{}""#, plan.uid)))?;
    moved
        .fds
        .retain(|fd| !matches!(fd.open, Open::VhostNet { .. }));
    let mut option = String::new();
    let huge = text.contains("hugetlbsize");
    for word in &mut moved.argv {
        let value = std::mem::replace(&mut option, word.clone());
        match value.as_str() {
            "-accel" => *word = "tcg,thread=multi".to_owned(),
            "-cpu" => *word = emulated(word),
            "-netdev" => *word = without_vhost(word)?,
            "-m" if huge => *word = fewer(word)?,
            "-object" => *word = on_any_machine(word)?,
            "-blockdev" => *word = word.replace("host_device", "file"),
            _ => {}
        }
    }
    Ok(moved)
}

fn emulated(cpu: &str) -> String {
    cpu.replace("host,migratable=on", "max")
        .replace(",kvm-hint-dedicated=on", "")
        .trim_end_matches(",enforce")
        .to_owned()
}

/// The same in ordinary pages, few enough to be filled soon, on this machine's first CPU and node.
fn on_any_machine(object: &str) -> Result<String> {
    let mut value: Value = serde_json::from_str(object)?;
    let object = value.as_object_mut().context("an object is an object")?;
    if object.remove("hugetlbsize").is_some() {
        let size = object["size"].as_u64().context("a backend has a size")?;
        object["size"] = json!(size / FEWER);
    }
    for (key, here) in [
        ("hugetlb", json!(false)),
        ("cpu-affinity", json!([0])),
        ("host-nodes", json!([0])),
    ] {
        if let Some(there) = object.get_mut(key) {
            *there = here;
        }
    }
    Ok(value.to_string())
}

fn fewer(size: &str) -> Result<String> {
    let kib = size.trim_start_matches("size=").trim_end_matches('k');
    Ok(format!("size={}k", kib.parse::<u64>()? / FEWER))
}

fn without_vhost(netdev: &str) -> Result<String> {
    let mut value: Value = serde_json::from_str(netdev)?;
    let object = value.as_object_mut().context("a netdev is an object")?;
    object.retain(|key, _| !key.starts_with("vhost"));
    Ok(value.to_string())
}

/// Images, kernels, and directories of sockets.
fn make_files(plan: &LaunchPlan) -> Result<()> {
    fs::create_dir_all(plan.paths.private.join("u"))?;
    for disk in &plan.storage.disks {
        for layer in disk.backing.iter().chain(&disk.top) {
            make_image(layer)?;
        }
    }
    for pair in plan.argv.windows(2) {
        if let [option, path] = pair
            && option == "-kernel"
        {
            let path = Path::new(path);
            fs::create_dir_all(path.parent().context("a kernel is in a directory")?)?;
            fs::write(path, tiny_kernel())?;
            fs::write(path.with_file_name("initramfs.img"), b"initramfs")?;
        }
    }
    Ok(())
}

/// The header that QEMU's Linux loader wants to see; nothing is ever run.
fn tiny_kernel() -> Vec<u8> {
    let mut image = vec![0; 16 << 10];
    image[0x1f1] = 4;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020c_u16.to_le_bytes());
    image[0x211] = 1;
    image[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    image
}

fn make_image(layer: &Layer) -> Result<()> {
    let directory = layer.path.parent().context("an image is in a directory")?;
    fs::create_dir_all(directory)?;
    let format = match layer.format {
        ImageFormat::Raw => "raw",
        ImageFormat::Qcow2 => "qcow2",
    };
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", format, layer.path.as_str(), "1M"])
        .status()
        .context("run `qemu-img`, which this test needs")?;
    ensure!(made.success(), "`qemu-img create` failed: {made}");
    Ok(())
}

/// Opens what the plan hands over, each paired with its number.
fn open_fds(plan: &LaunchPlan) -> Result<Vec<(OwnedFd, RawFd)>> {
    let needs_taps = plan
        .fds
        .iter()
        .any(|fd| matches!(fd.open, Open::Tap { .. }));
    if needs_taps {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace, which needs root")?;
    }
    plan.fds
        .iter()
        .map(|fd| {
            let opened: OwnedFd = match &fd.open {
                Open::Listener { path } => UnixListener::bind(path)
                    .with_context(|| format!("bind `{path}`"))?
                    .into(),
                Open::Log { path } => OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path)?
                    .into(),
                Open::Tap { tap, .. } => open_tap(tap, queues(plan, tap) > 1)?,
                Open::VhostNet { .. } => bail!("vhost was taken out"),
                Open::Iommufd | Open::VfioDevice { .. } => File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/null")?
                    .into(),
            };
            Ok((lifted(&opened)?, fd.number))
        })
        .collect()
}

fn queues(plan: &LaunchPlan, name: &str) -> u16 {
    let nic = plan.network.nics.iter().find(|nic| nic.tap.name == name);
    nic.map_or(1, |nic| nic.tap.queues)
}

/// A duplicate above every planned number, so that giving numbers overwrites no source.
fn lifted(fd: &OwnedFd) -> Result<OwnedFd> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE_PLANNED))?;
    // SAFETY: F_DUPFD_CLOEXEC made this descriptor just now, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn open_tap(name: &str, multi_queue: bool) -> Result<OwnedFd> {
    let tun = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("open `/dev/net/tun`, which this test needs")?;
    let mut flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if multi_queue {
        flags |= IFF_MULTI_QUEUE;
    }
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which is these 40 bytes on x86-64.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    ensure!(
        result == 0,
        "TUNSETIFF `{name}`: {}",
        std::io::Error::last_os_error()
    );
    Ok(tun.into())
}

/// A running QEMU and its monitor.
struct Qemu {
    child: Child,
    monitor: BufReader<UnixStream>,
    log: String,
}

impl Qemu {
    fn start(plan: &LaunchPlan) -> Result<Self> {
        let fds = open_fds(plan)?;
        let numbers: Vec<(RawFd, RawFd)> = fds
            .iter()
            .map(|(source, number)| (source.as_raw_fd(), *number))
            .collect();
        let mut command = Command::new(&plan.argv[0]);
        command
            .args(&plan.argv[1..])
            .envs(&plan.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let give_numbers = move || {
            for (source, number) in &numbers {
                // SAFETY: dup2 takes two integers and is async-signal-safe.
                if unsafe { libc::dup2(*source, *number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure calls dup2 only, and allocates nothing.
        unsafe { command.pre_exec(give_numbers) };
        let child = command
            .spawn()
            .with_context(|| format!("run `{}`, which this test needs", plan.argv[0]))?;
        drop(fds);
        let stream = UnixStream::connect(plan.paths.private.join("u/qmp.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut qemu = Self {
            child,
            monitor: BufReader::new(stream),
            log: plan.paths.private.join("u/qemu.log").into_string(),
        };
        qemu.read().context("read the greeting")?;
        qemu.execute("qmp_capabilities", json!({}))?;
        Ok(qemu)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.monitor.read_line(&mut line);
        if !matches!(read, Ok(count) if count > 0) {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            bail!("QEMU ended its session ({read:?}), having said:\n{said}");
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.monitor.get_mut(), "{request}")?;
        loop {
            let answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("`{request}` failed: {error}");
            }
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
        }
    }

    fn quit(mut self) -> Result<()> {
        self.execute("quit", json!({}))?;
        let status = self.child.wait()?;
        let said = fs::read_to_string(&self.log)?;
        ensure!(status.success(), "QEMU ended with {status}:\n{said}");
        ensure!(
            !said.lines().any(unexpected),
            "QEMU warns of what it was given:\n{said}"
        );
        Ok(())
    }
}

/// A warning of anything but a named model's features, which emulation lacks.
fn unexpected(line: &str) -> bool {
    line.contains("warning") && !line.contains("TCG doesn't support requested feature")
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Only one that a failed check left behind is still there.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Each planned device by its id.
fn planned_devices(plan: &LaunchPlan) -> Result<BTreeMap<String, Value>> {
    plan.argv
        .windows(2)
        .filter(|pair| pair[0] == "-device")
        .map(|pair| {
            let device: Value = serde_json::from_str(&pair[1])?;
            let id = device["id"].as_str().context("a device has an id")?;
            Ok((id.to_owned(), device))
        })
        .collect()
}

/// Slot and function of `0x2.0x1`.
fn slot_and_function(addr: &str) -> Result<(u64, u64)> {
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    Ok(match addr.split_once('.') {
        Some((slot, function)) => (hex(slot)?, hex(function)?),
        None => (hex(addr)?, 0),
    })
}

/// Bus and address of each PCI device, as QEMU's object tree has them. `query-pci` does not do: it knows
/// buses by the numbers that firmware gives, and no firmware has run.
fn check_places(qemu: &mut Qemu, devices: &BTreeMap<String, Value>) -> Result<()> {
    for (id, device) in devices {
        let path = format!("/machine/peripheral/{id}");
        let get = |property: &str| json!({"path": path, "property": property});
        let bus = qemu.execute("qom-get", get("parent_bus"))?;
        let bus = bus.as_str().context("a bus is a path")?.to_owned();
        if let Some(planned) = device["bus"].as_str() {
            ensure!(
                bus.rsplit('/').next() == Some(planned),
                "`{id}` is on `{bus}`, not on `{planned}`"
            );
        }
        let Some(addr) = device["addr"].as_str() else {
            continue;
        };
        let (slot, function) = slot_and_function(addr)?;
        let devfn = qemu.execute("qom-get", get("addr"))?;
        ensure!(
            devfn.as_u64() == Some(slot << 3 | function),
            "`{id}` has address {devfn}, not `{addr}`"
        );
    }
    Ok(())
}

/// What is on the root complex, as a guest's firmware would find it.
fn check_root_bus(qemu: &mut Qemu, devices: &BTreeMap<String, Value>) -> Result<()> {
    let answer = qemu.execute("query-pci", json!({}))?;
    let found = answer[0]["devices"]
        .as_array()
        .context("bus 0 has devices")?;
    let mut on_root = 0;
    for (id, device) in devices
        .iter()
        .filter(|(_, device)| device["bus"] == "pcie.0")
    {
        on_root += 1;
        let (slot, function) = slot_and_function(device["addr"].as_str().unwrap_or_default())?;
        ensure!(
            found.iter().any(|there| there["qdev_id"] == id.as_str()
                && there["slot"] == slot
                && there["function"] == function),
            "`query-pci` does not find `{id}` at {slot:#x}.{function}"
        );
    }
    // Besides them: host bridge, ISA bridge, AHCI and SMBus.
    ensure!(
        found.len() == on_root + 4,
        "{} devices on the root complex, {on_root} planned",
        found.len()
    );
    Ok(())
}
