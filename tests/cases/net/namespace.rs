//! Network namespaces of one test. A socket belongs to the namespace in which it was made, whoever uses it later.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, which goes with the test's process.
pub(crate) struct Namespace {
    pub(crate) file: File,
}

impl Namespace {
    /// A new one, with `lo` up.
    pub(crate) fn new() -> Self {
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("a network namespace is made: this test needs root");
            File::open("/proc/thread-self/ns/net").expect("our namespace opens")
        });
        let namespace = Self {
            file: file.join().unwrap(),
        };
        namespace.sh("ip link set lo up");
        namespace
    }

    /// Runs `work` on a thread that is in this namespace.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).expect("the namespace is entered");
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Runs an async function in this namespace.
    pub(crate) fn block_on<T: Send, F: Future<Output = T>>(
        &self,
        work: impl FnOnce() -> F + Send,
    ) -> T {
        self.run(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(work())
        })
    }

    /// Runs a shell command, which must succeed, and returns what it printed.
    pub(crate) fn sh(&self, command: &str) -> String {
        let output = self.run(|| {
            Command::new("sh")
                .args(["-c", command])
                .output()
                .expect("`sh` runs")
        });
        assert!(
            output.status.success(),
            "`{command}` failed (are iproute2 and nftables installed?): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Namespace::sh`], read as JSON.
    pub(crate) fn json(&self, command: &str) -> serde_json::Value {
        serde_json::from_str(&self.sh(command)).unwrap()
    }

    /// Everything that a set-up may touch, as text: links, addresses, routes, rules, settings.
    ///
    /// Without what the kernel does in its own time (duplicate address detection, a bridge's carrier) or keeps of a link that was up once.
    pub(crate) fn state(&self) -> String {
        self.sh(
            "ip addr | sed '/valid_lft/d; s/ tentative//; s/qdisc [a-z_]*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]*//'; ip route; \
             ip -6 route | grep -v fe80; nft -a list ruleset; \
             sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding; \
             cat /proc/sys/net/bridge/* /proc/sys/net/ipv4/conf/*/route_localnet; \
             cat /proc/sys/net/ipv4/conf/*/arp_ignore /proc/sys/net/ipv6/conf/*/disable_ipv6",
        )
    }
}

/// A pair of links, one end in each namespace.
pub(crate) fn veth(from: &Namespace, name: &str, to: &Namespace, peer: &str) {
    from.sh(&format!(
        "ip link add {name} type veth peer name {peer} netns /proc/{}/fd/{}; ip link set {name} up",
        std::process::id(),
        to.file.as_raw_fd()
    ));
}
