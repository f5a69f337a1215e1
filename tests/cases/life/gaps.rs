//! How long nobody answers between two supervisors: people on the control socket, the guest on port 67.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use tests::namespace::{inside, run};

const ANSWER: Duration = Duration::from_secs(30);

/// From a question that is asked of nobody to its answer.
#[derive(Default)]
pub(crate) struct Gaps {
    control: Vec<Duration>,
    dhcp: Vec<Duration>,
    takeover: Vec<Duration>,
}

/// Another port of the guest's bridge, whose far end is ours.
pub(crate) struct Client {
    socket: UdpSocket,
    mac: [u8; 6],
    transaction: u32,
}

impl Client {
    /// Plugs it in. It goes with the pod.
    pub(crate) fn plug(pod: &File, mac: [u8; 6]) -> Result<Self> {
        // This thread alone is in the test's namespace.
        let ours = nix::unistd::gettid().to_string();
        inside(pod, || {
            let pair = [
                "link", "add", "probe0", "type", "veth", "peer", "name", "probe1",
            ];
            run("ip", &[&pair[..], &["netns", &ours]].concat())?;
            run("ip", &["link", "set", "probe0", "master", "k6t-eth0", "up"])
        })?;
        run("ip", &["address", "add", "10.0.2.77/24", "dev", "probe1"])?;
        run("ip", &["link", "set", "probe1", "up"])?;
        let socket = UdpSocket::bind(("0.0.0.0", 68))?;
        setsockopt(&socket, sockopt::BindToDevice, &"probe1".into())?;
        socket.set_broadcast(true)?;
        socket.set_read_timeout(Some(ANSWER))?;
        Ok(Self {
            socket,
            mac,
            transaction: 0x7e57_0000,
        })
    }

    /// A DHCPDISCOVER with the broadcast flag (RFC 2131, 2).
    fn discover(&mut self) -> Result<()> {
        self.transaction += 1;
        let mut packet = vec![0; 300];
        packet[..4].copy_from_slice(&[1, 1, 6, 0]);
        packet[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        packet[10] = 0x80;
        packet[28..34].copy_from_slice(&self.mac);
        packet[236..244].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
        self.socket.send_to(&packet, ("255.255.255.255", 67))?;
        Ok(())
    }

    fn offered(&self) -> Result<()> {
        let mut packet = [0; 2048];
        loop {
            let length = self.socket.recv(&mut packet).context("no DHCP offer")?;
            if length > 8 && packet[4..8] == self.transaction.to_be_bytes() {
                return Ok(());
            }
        }
    }
}

impl Gaps {
    /// The supervisor has just been killed: asks both, and waits for their answers.
    pub(crate) fn measure(&mut self, control: UnixStream, client: &mut Client) -> Result<()> {
        let asked = Instant::now();
        client.discover()?;
        let (control, dhcp) = std::thread::scope(|scope| {
            let greeted = scope.spawn(move || -> Result<Duration> {
                control.set_read_timeout(Some(ANSWER))?;
                let mut greeting = String::new();
                BufReader::new(control).read_line(&mut greeting)?;
                ensure!(
                    greeting.contains("QMP"),
                    "the control socket said `{greeting}`"
                );
                Ok(asked.elapsed())
            });
            let dhcp = client.offered().map(|()| asked.elapsed());
            (greeted.join().expect("it does not panic"), dhcp)
        });
        self.control.push(control?);
        self.dhcp.push(dhcp?);
        Ok(())
    }

    /// The supervisors' own word, from their start to QEMU in hand.
    pub(crate) fn told(&mut self, lines: &[String]) {
        let told = lines.iter().filter(|line| line.contains("QEMU is in hand"));
        self.takeover.extend(told.filter_map(|line| {
            let (_, rest) = line.rsplit_once('(')?;
            let millis: f64 = rest.strip_suffix(" ms)")?.parse().ok()?;
            Some(Duration::from_secs_f64(millis / 1000.0))
        }));
    }

    /// For people.
    #[expect(clippy::print_stdout, reason = "what a long run is read for")]
    pub(crate) fn report(mut self) {
        for (what, gaps) in [
            ("control: from connect to greeting", &mut self.control),
            ("DHCP: from DISCOVER to OFFER", &mut self.dhcp),
            ("takeover: from start to QEMU in hand", &mut self.takeover),
        ] {
            gaps.sort();
            println!(
                "{what}: {} times, median {:?}, longest {:?}",
                gaps.len(),
                gaps.get(gaps.len() / 2).copied().unwrap_or_default(),
                gaps.last().copied().unwrap_or_default()
            );
        }
    }
}
