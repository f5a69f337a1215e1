//! The plan carried out: taps before QEMU's exec, everything else beside QEMU's start.

use std::os::fd::{AsFd, BorrowedFd};

use ipnet::{IpNet, Ipv6Net};
use numa::HostRoot;

use super::error::NetError;
use super::link::Netlink;
use super::nft;
use super::plan::{NetworkPlan, NicPlan, Wiring};
use super::sysctl::{self, Sysctl};
use super::tap::Tap;
use super::undo::{self, Undo};
pub use super::verify::verify;

/// Open taps, in the plan's order. They exist while QEMU or we hold their fds.
#[derive(Debug, Default)]
pub struct Taps {
    /// One for each interface.
    pub taps: Vec<Tap>,
}

impl Taps {
    /// The fd of one queue, from 0.
    pub fn queue(&self, tap: &str, queue: u16) -> Option<BorrowedFd<'_>> {
        let fds = &self.tap(tap)?.queues;
        fds.get(usize::from(queue)).map(AsFd::as_fd)
    }

    /// The `/dev/vhost-net` that goes with one queue.
    pub fn vhost_net(&self, tap: &str, queue: u16) -> Option<BorrowedFd<'_>> {
        let fds = &self.tap(tap)?.vhost;
        fds.get(usize::from(queue)).map(AsFd::as_fd)
    }

    fn tap(&self, name: &str) -> Option<&Tap> {
        self.taps.iter().find(|tap| tap.name == name)
    }
}

/// Opens what QEMU is handed. Synchronous and short: QEMU's exec waits for it.
///
/// # Errors
///
/// [`NetError::Device`], [`NetError::Tap`], [`NetError::LinkName`]; taps made so far go with their fds.
pub fn open_taps(plan: &NetworkPlan) -> Result<Taps, NetError> {
    let taps = plan.nics.iter().map(|nic| Tap::open(&nic.tap));
    Ok(Taps {
        taps: taps.collect::<Result<_, _>>()?,
    })
}

/// A network that is up, and how to take it down.
#[derive(Debug)]
#[must_use = "what was made stays until it is undone"]
pub struct NetworkUp {
    done: Vec<Undo>,
}

impl NetworkUp {
    /// Whether nothing had to be done: somebody, or an earlier call, had prepared all of it.
    pub fn found_ready(&self) -> bool {
        self.done.is_empty()
    }

    /// Takes back what [`set_up`] did, the newest first, and nothing that was there before.
    ///
    /// # Errors
    ///
    /// All failures; the rest is undone all the same.
    pub async fn undo(self) -> Result<(), Vec<NetError>> {
        let netlink = Netlink::open().map_err(|error| vec![error])?;
        let failures = undo::all(&netlink, self.done).await;
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }
}

/// Bridges, addresses, settings and rules. The taps must be open. Doing it twice changes nothing.
///
/// What the plan found prepared by virt-handler (facts 7.1) is looked at and used as it is, which takes no privilege.
/// Its table `nat` cannot be read without one, so that is taken on trust.
///
/// # Errors
///
/// [`NetError::Undone`] with the failure and with what could not be taken back, [`NetError::Unprepared`].
pub async fn set_up(plan: &NetworkPlan) -> Result<NetworkUp, NetError> {
    let netlink = Netlink::open()?;
    let ours = plan.nics.iter().any(NicPlan::is_ours);
    if !ours || !netlink.may_change().await? {
        let differences = super::verify::differences(&netlink, &plan.nics).await;
        return match differences.into_iter().next() {
            None => Ok(NetworkUp { done: Vec::new() }),
            Some(missing) if ours => Err(NetError::Unprepared {
                missing: Box::new(missing),
            }),
            Some(changed) => Err(changed),
        };
    }
    let (mut done, result) = change(&netlink, plan).await;
    match result {
        Ok(()) => Ok(NetworkUp { done }),
        Err(cause) => Err(NetError::Undone {
            cause: Box::new(cause),
            undo: undo::all(&netlink, std::mem::take(&mut done)).await,
        }),
    }
}

/// The rules name links that need not exist yet, so they are made beside the links.
async fn change(netlink: &Netlink, plan: &NetworkPlan) -> (Vec<Undo>, Result<(), NetError>) {
    let mut rules = Vec::new();
    let mut links = Vec::new();
    let (ruled, linked) = tokio::join!(
        nft::apply(plan, &mut rules),
        make_links(netlink, plan, &mut links),
    );
    links.append(&mut rules);
    (links, linked.and(ruled))
}

async fn make_links(
    netlink: &Netlink,
    plan: &NetworkPlan,
    done: &mut Vec<Undo>,
) -> Result<(), NetError> {
    let root = HostRoot::default();
    set(&sysctl::forwarding(plan), &root, done)?;
    for nic in plan.nics.iter().filter(|nic| nic.is_ours()) {
        make_bridge(netlink, nic, done).await?;
    }
    let found = plan.nics.iter().filter(|nic| !nic.is_ours());
    let differences = super::verify::differences(netlink, found).await;
    differences.into_iter().next().map_or(Ok(()), Err)?;
    set(&sysctl::of_bridges(plan), &root, done)
}

async fn make_bridge(
    netlink: &Netlink,
    nic: &NicPlan,
    done: &mut Vec<Undo>,
) -> Result<(), NetError> {
    let bridge = &nic.bridge;
    let index = netlink.ensure_bridge(bridge, nic.mtu, done).await?;
    for address in addresses(nic).chain(link_local(nic)) {
        netlink
            .ensure_address(&bridge.name, index, address, done)
            .await?;
    }
    if let Wiring::Bridged(bridged) = &nic.wiring {
        super::bridged::make(netlink, nic, bridged, index, done).await?;
    }
    netlink
        .ensure_on_bridge(&nic.tap.name, index, nic.mtu, done)
        .await
}

fn set(settings: &[Sysctl], root: &HostRoot, done: &mut Vec<Undo>) -> Result<(), NetError> {
    for setting in settings {
        done.extend(setting.apply(root)?.map(Undo::Restore));
    }
    Ok(())
}

/// The kernel makes the same, but then waits a second for somebody else to claim it, and until then no advertisement
/// would come from where a router's must.
fn link_local(nic: &NicPlan) -> Option<IpNet> {
    let bridge = &nic.bridge;
    bridge.address6?;
    Some(IpNet::V6(Ipv6Net::new_assert(bridge.mac.link_local(), 64)))
}

/// The bridge's addresses of both families.
pub(super) fn addresses(nic: &NicPlan) -> impl Iterator<Item = IpNet> {
    let v4 = nic.bridge.address.map(IpNet::V4);
    v4.into_iter().chain(nic.bridge.address6.map(IpNet::V6))
}
