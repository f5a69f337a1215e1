//! A bridge with our server on it, and behind a veth the namespaces that a client runs in.
//!
//! The client's side has its own network, mount and PID namespace: it cannot reach the machine's leases and
//! resolv.conf, and everything in it dies with its first process, which ends when the test does.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use launcher::net::dhcp::Server;
use launcher::net::mac::MacAddr;
use launcher::net::plan::DhcpPlan;
use launcher::spec::nic::DhcpOptions;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;
use tempfile::TempDir;

use crate::served::{Lines, Serving, run, run_a_while};

/// What the client is given: every option that KubeVirt's servers send.
pub(crate) fn plan(link: &str) -> DhcpPlan {
    let address = |text: &str| text.parse().expect("an address");
    DhcpPlan {
        link: link.to_owned(),
        client: MacAddr([2, 0, 0, 0, 0, 9]),
        address: "10.0.2.2/24".parse().expect("a network"),
        server: address("10.0.2.1"),
        router: Some(address("10.0.2.1")),
        nameservers: vec![address("10.96.0.10"), address("10.96.0.11")],
        hostname: "demo-guest".to_owned(),
        search: [
            "default.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
        ]
        .map(str::to_owned)
        .to_vec(),
        mtu: 1450,
        routes: vec![
            ("0.0.0.0/0".parse().expect("a network"), address("10.0.2.1")),
            (
                "10.99.0.0/16".parse().expect("a network"),
                address("10.0.2.7"),
            ),
        ],
        options: DhcpOptions {
            boot_file_name: Some("pxelinux.0".to_owned()),
            tftp_server_name: Some("192.0.2.7".to_owned()),
            ntp_servers: vec![address("192.0.2.8")],
            private_options: vec![(224, "site".to_owned())],
        },
    }
}

/// The pod's side in this thread's network namespace, and the guest's.
pub(crate) struct Rig {
    /// Scripts, configuration and leases, seen from both sides under the same path.
    pub(crate) dir: TempDir,
    guest: Child,
    guest_pid: String,
    /// One entry a call of the client's script: its environment.
    calls: Lines<Vec<String>>,
}

impl Rig {
    /// Moves this thread into a new network namespace and builds the link in it.
    pub(crate) fn new() -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "this test makes namespaces: it needs root"
        );
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace")?;
        let dir = tempfile::tempdir()?;
        let calls = record_calls(dir.path())?;
        let (guest, guest_pid) = guest()?;
        let rig = Self {
            dir,
            guest,
            guest_pid,
            calls,
        };
        rig.bridge("k6t-eth0", "eth0")?;
        Ok(rig)
    }

    /// A bridge as a pod has it, and a NIC of the guest on it. The guest's MAC is the plan's client.
    pub(crate) fn bridge(&self, bridge: &str, nic: &str) -> Result<()> {
        let tap = format!("tap-{nic}");
        ip(&format!(
            "link add {bridge} address 02:00:00:00:00:00 mtu 1450 type bridge"
        ))?;
        for address in [
            "10.0.2.1/24",
            "fd10:0:2::1/120 nodad",
            "fe80::ff:fe00:0/64 nodad",
        ] {
            ip(&format!("addr add dev {bridge} {address}"))?;
        }
        ip(&format!(
            "link add {tap} mtu 1450 type veth peer name {nic} address 02:00:00:00:00:09 netns {}",
            self.guest_pid
        ))?;
        ip(&format!("link set {tap} master {bridge} up"))?;
        ip(&format!("link set {bridge} up"))?;
        self.in_guest(&["ip", "link", "set", nic, "up"]).run()
    }

    /// Serves `plan` until what is returned second is dropped; the port is free again then.
    pub(crate) fn serve_a_while(&self, plan: DhcpPlan) -> Result<(Lines<Value>, Serving)> {
        Ok(run_a_while(Server::bind(&plan)?.serve()))
    }

    /// Serves `plan` from an fd that was bound here, and hands back what the server reports.
    pub(crate) fn serve(&self, plan: DhcpPlan) -> Result<Lines<Value>> {
        let fd = Server::bind(&plan)?.into_fd();
        let server = Server::from_fd(fd, plan)?;
        Ok(run(server.serve()))
    }

    /// A command on the guest's side.
    pub(crate) fn in_guest(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.guest_pid,
                "--net",
                "--mount",
                "--pid",
                "--",
            ])
            .args(argv);
        command
    }

    /// A file in the shared directory.
    pub(crate) fn file(&self, name: &str, content: &str) -> Result<String> {
        let path = self.path(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// A path in the shared directory.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir.path().display())
    }

    /// The next call of a client's script for one of `reasons`: what the client knows then.
    pub(crate) fn call(&self, reasons: &[&str]) -> Result<Call> {
        let mut seen = Vec::new();
        loop {
            let Ok(lines) = self.calls.recv_timeout(PATIENCE) else {
                bail!("no call for {reasons:?} from the client, only {seen:?}");
            };
            let call = Call(lines);
            if reasons.contains(&call.get("reason")) {
                return Ok(call);
            }
            seen.push(call.get("reason").to_owned());
        }
    }

    /// Runs `work` on a thread in the guest's network namespace.
    pub(crate) fn as_guest<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.guest_pid))?;
        let guest = std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        guest.join().expect("the guest's thread")
    }

    /// Sends datagrams to the server from the guest's namespace, as fast as it goes. The guest has its lease by then.
    pub(crate) fn flood(&self, datagram: Vec<u8>, count: usize) -> Result<()> {
        self.as_guest(move || {
            let socket = UdpSocket::bind("10.0.2.2:0")?;
            for _ in 0..count {
                socket.send_to(&datagram, "10.0.2.1:67")?;
            }
            Ok(())
        })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Its standard input closes, its first process ends, and with it all others of its namespace.
        drop(self.guest.stdin.take());
        let _ = self.guest.wait();
    }
}

/// Long enough for a loaded machine and three tries of a client; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One call of a client's script.
pub(crate) struct Call(Vec<String>);

impl Call {
    /// A variable of its environment, empty when it is not set.
    pub(crate) fn get(&self, name: &str) -> &str {
        let values = self.0.iter().filter_map(|line| line.split_once('='));
        values
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .next()
            .unwrap_or_default()
    }

    /// Asserts variables, all at once.
    pub(crate) fn expect(&self, expected: &[(&str, &str)]) {
        let found: Vec<_> = expected
            .iter()
            .map(|(name, _)| (*name, self.get(name)))
            .collect();
        assert_eq!(found, expected, "the client was told {:#?}", self.0);
    }
}

/// Runs to the end, and fails with what was said.
pub(crate) trait Run {
    fn run(&mut self) -> Result<()>;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        let output = self.output().with_context(|| format!("{self:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{self:?}: {}: {said}",
            output.status
        );
        Ok(())
    }
}

pub(crate) fn ip(arguments: &str) -> Result<()> {
    Command::new("ip").args(arguments.split(' ')).run()
}

/// A script for every client: it sets the address, so that renewals are unicast, and tells the test its environment.
/// Clients call it one at a time.
fn record_calls(dir: &Path) -> Result<Lines<Vec<String>>> {
    let pipe = dir.join("calls");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU)?;
    let script = dir.join("script");
    fs::write(
        &script,
        format!(
            r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
address=${{ip:-$new_ip_address}}
test -z "$address" || ip addr replace "$address/24" dev "$interface"
test -z "$new_ip6_address" || ip addr replace "$new_ip6_address/$new_ip6_prefixlen" dev "$interface"
{{ echo "reason=${{reason:-$1}}"; env | grep -v '^reason='; echo .; }} > '{}'
"#,
            pipe.display()
        ),
    )?;
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    // Opened for writing too, so that neither side waits for the other and the end of one writer is not the end.
    let pipe = fs::File::options().read(true).write(true).open(pipe)?;
    let (sender, calls) = mpsc::channel();
    std::thread::spawn(move || {
        let mut call = Vec::new();
        for line in BufReader::new(pipe).lines().map_while(io::Result::ok) {
            if line != "." {
                call.push(line);
            } else if sender.send(std::mem::take(&mut call)).is_err() {
                break;
            }
        }
    });
    Ok(calls)
}

/// The guest's namespaces, and the pid of their first process. What clients write by themselves is covered by tmpfs.
///
/// Nobody else is on the link, so its IPv6 addresses are usable at once; systemd-networkd waits for no udev where /sys is
/// read-only.
fn guest() -> Result<(Child, String)> {
    let setup = "
        mount -t sysfs -o ro sysfs /sys
        for dir in /run /var/lib/dhcp /var/lib/dhcpcd; do
            test ! -d $dir || mount -t tmpfs tmpfs $dir
        done
        mount -t tmpfs tmpfs /mnt
        echo '# the guest has its own' > /mnt/resolv.conf
        mount --bind /mnt/resolv.conf /etc/resolv.conf
        ip link set lo up
        echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
        echo ready
        read line
    ";
    let mut unshare = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["sh", "-euc", setup])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("unshare, of util-linux")?;
    let mut ready = [0; 6];
    let stdout = unshare.stdout.as_mut().context("its output")?;
    stdout
        .read_exact(&mut ready)
        .context("the guest's namespaces")?;
    let pid = unshare.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok((unshare, children.trim().to_owned()))
}
