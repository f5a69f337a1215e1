//! A DHCP client of the test's own on the guest's bridge, beside the guest.

use std::fs::File;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::namespace::{inside, run};

/// Another port of the guest's bridge, whose far end is ours.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    mac: [u8; 6],
    transaction: u32,
}

impl Client {
    /// Plugs it in; it says that it is the guest, whose MAC is `mac`. It goes with the pod.
    pub fn plug(pod: &File, mac: [u8; 6]) -> Result<Self> {
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
        Ok(Self {
            socket,
            mac,
            transaction: 0x7e57_0000,
        })
    }

    /// A DHCPDISCOVER with the broadcast flag (RFC 2131, 2), of which the answer is not waited for.
    pub fn discover(&mut self) -> Result<()> {
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

    /// Waits for the answer to the last one.
    pub fn offered(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        let mut packet = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no DHCP offer in {within:?}");
            self.socket.set_read_timeout(Some(left))?;
            let length = self.socket.recv(&mut packet).context("no DHCP offer")?;
            if length > 8 && packet[4..8] == self.transaction.to_be_bytes() {
                return Ok(());
            }
        }
    }
}

/// A MAC as the guest says it.
pub fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Result<Vec<u8>, _> = text
        .split(':')
        .map(|two| u8::from_str_radix(two, 16))
        .collect();
    bytes?.try_into().ok().context("six bytes")
}
