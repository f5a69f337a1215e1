//! The loop: waits for the kernel's word, looks, tells what is different from before.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};
use tokio::sync::watch::Sender;
use tokio::time::{Duration, Instant, sleep};
use tracing::{info, warn};

use super::message::tables;
use super::{Health, Monitors, Rules};
use crate::net::error::NetError;
use crate::net::link::Netlink;
use crate::net::nft::TABLE;
use crate::net::plan::{NetworkPlan, NicPlan};
use crate::net::service::budget::TokenBucket;
use crate::net::verify;
use crate::readable::Readable;

/// A transaction's notifications come in datagrams of up to a page or two (`NLMSG_GOODSIZE`).
const LONGEST: usize = 32 << 10;
/// virt-handler's, which a prepared interface uses (facts 7.3).
const PREPARED: &str = "nat";

/// Watches as long as it is polled; `told` has what is known. It ends when there is nothing to watch, or no way to.
///
/// # Errors
///
/// The socket's end.
pub async fn watch(
    plan: &NetworkPlan,
    monitors: Monitors,
    told: &Sender<Health>,
) -> io::Result<()> {
    let names = tables_of(plan);
    let mut health = monitors.health(plan);
    let mut rules = monitors.rules.map(Readable::new).transpose()?;
    let links = monitors.links.map(Readable::new).transpose()?;
    let started = Instant::now();
    // Where links come and go all the time, one look a second is enough.
    let mut budget = TokenBucket::new(8, Duration::from_secs(1));
    loop {
        if links.is_some() {
            let now = differences(plan).await;
            compare(&health.links, &now);
            health.links = now;
        }
        told.send_if_modified(|known| {
            let news = *known != health;
            known.clone_from(&health);
            news
        });
        tokio::select! {
            drained = changed(links.as_ref()) => drained?,
            touched = touched(rules.as_ref(), &names) => {
                health.rules = Some(touched?);
                rules = None;
            }
        }
        while let Err(wait) = budget.take(started.elapsed()) {
            sleep(wait).await;
        }
    }
}

/// The tables whose rules the guest's packets need.
pub(super) fn tables_of(plan: &NetworkPlan) -> Vec<&'static str> {
    let translated = || plan.nics.iter().filter(|nic| nic.masquerade().is_some());
    let ours = translated().any(NicPlan::is_ours).then_some(TABLE);
    let found = translated().any(|nic| !nic.is_ours()).then_some(PREPARED);
    ours.into_iter().chain(found).collect()
}

async fn differences(plan: &NetworkPlan) -> Vec<String> {
    let failures = match Netlink::open() {
        Ok(netlink) => verify::differences(&netlink, &plan.nics).await,
        Err(error) => vec![error],
    };
    failures.iter().map(|error| tell(plan, error)).collect()
}

/// A tap cannot be had back: QEMU aborts at its first ioctl on one that is gone (`TUNSETVNETHDRSZ`), which it does when the
/// guest's driver starts anew.
fn tell(plan: &NetworkPlan, error: &NetError) -> String {
    let is_tap = |link: &String| plan.nics.iter().any(|nic| nic.tap.name == *link);
    let hint = match error {
        NetError::Missing { link } if is_tap(link) => {
            " (QEMU will abort when the guest resets this NIC, as a reboot does: stop the VM in good time)"
        }
        _ => "",
    };
    crate::causes::chain(error) + hint
}

fn compare(before: &[String], now: &[String]) {
    for what in now.iter().filter(|what| !before.contains(what)) {
        warn!(
            event = "network.changed",
            "network: {what}: somebody changed it under the running guest"
        );
    }
    if !before.is_empty() && now.is_empty() {
        info!(
            event = "network.as-planned",
            "network: links and addresses are as planned again"
        );
    }
}

/// Until links or addresses changed; what was said is thrown away.
async fn changed(socket: Option<&Readable>) -> io::Result<()> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let mut buffer = [0; 1];
    drop(socket.ready().await?);
    loop {
        match take(socket, &mut buffer, MsgFlags::MSG_TRUNC) {
            // More came than the socket holds: a look at all of it makes up for that.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            result => result.map(drop)?,
        }
    }
}

/// Until one of the tables was touched. What tells so stays in the socket: a supervisor that follows finds it there.
async fn touched(socket: Option<&Readable>, names: &[&str]) -> io::Result<Rules> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let mut buffer = vec![0; LONGEST];
    loop {
        drop(socket.ready().await?);
        let peeked = take(socket, &mut buffer, MsgFlags::MSG_PEEK);
        match peeked {
            Ok(length) => {
                let touched = tables(&buffer[..length]);
                if let Some(name) = touched.iter().find(|name| names.contains(name)) {
                    warn!(
                        event = "network.rules-changed",
                        table = name,
                        "network: somebody changed the NAT rules of table `{name}` under the running guest; `nft list table` shows them to who has CAP_NET_ADMIN"
                    );
                    return Ok(Rules::Changed);
                }
                take(socket, &mut buffer, MsgFlags::empty())?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                warn!(
                    event = "network.rules-unverified",
                    "network: more NAT rules changed than could be followed, perhaps the guest's too"
                );
                return Ok(Rules::Unverified);
            }
            Err(error) => return Err(error),
        }
    }
}

fn take(socket: &Readable, buffer: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
    socket.try_read(|fd| {
        Ok(recv(
            fd.as_raw_fd(),
            buffer,
            flags | MsgFlags::MSG_DONTWAIT,
        )?)
    })
}
