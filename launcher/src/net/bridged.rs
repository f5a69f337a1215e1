//! The pod's NIC moved onto the guest's bridge, and a stand-in under its name (facts 7.4).

use numa::HostRoot;

use super::error::NetError;
use super::link::{Netlink, PortState};
use super::plan::{Bridged, NicPlan};
use super::sysctl;
use super::undo::Undo;

/// Moves the NIC. The bridge must be there.
pub(super) async fn make(
    netlink: &Netlink,
    nic: &NicPlan,
    bridged: &Bridged,
    bridge: u32,
    done: &mut Vec<Undo>,
) -> Result<(), NetError> {
    let port = match netlink.find(&bridged.nic).await? {
        // An earlier call has moved it.
        Some(found) if found.controller == Some(bridge) => found.index,
        Some(found) => {
            return Err(NetError::Taken {
                link: bridged.nic.clone(),
                property: "the index of its bridge",
                found: found.controller.unwrap_or_default().to_string(),
                wanted: bridge.to_string(),
            });
        }
        None => move_nic(netlink, nic, bridged, bridge, done).await?,
    };
    netlink.learn_nothing(&bridged.nic, port).await?;
    if bridged.vf.is_some() {
        netlink
            .hear_too(&bridged.nic, port, nic.guest_mac, done)
            .await?;
    }
    let stand_in = netlink
        .ensure_stand_in(&nic.pod_link, bridged.pod_mac, nic.mtu, done)
        .await?;
    for address in &bridged.addresses {
        netlink
            .ensure_address(&nic.pod_link, stand_in, *address, done)
            .await?;
    }
    Ok(())
}

/// Every step's undo is noted before it: a step that fails half way is taken back too.
async fn move_nic(
    netlink: &Netlink,
    nic: &NicPlan,
    bridged: &Bridged,
    bridge: u32,
    done: &mut Vec<Undo>,
) -> Result<u32, NetError> {
    let found = netlink
        .find(&nic.pod_link)
        .await?
        .ok_or_else(|| NetError::NoPodNic {
            interface: nic.name.clone(),
            link: nic.pod_link.clone(),
        })?;
    if let Some(other) = found.controller {
        return Err(NetError::Taken {
            link: nic.pod_link.clone(),
            property: "the index of its bridge",
            found: other.to_string(),
            wanted: bridge.to_string(),
        });
    }
    let saved = netlink.save(found.index).await?;
    done.push(Undo::GiveBack {
        link: nic.pod_link.clone(),
        saved: saved.clone(),
    });
    // Before the addresses go: the kernel would else make a link-local one again.
    let setting = sysctl::without_ipv6(&nic.pod_link);
    done.extend(setting.apply(&HostRoot::default())?.map(Undo::Restore));
    netlink.strip(&nic.pod_link, &saved).await?;
    done.push(Undo::ReturnNic {
        index: found.index,
        from: bridged.nic.clone(),
        to: PortState {
            name: nic.pod_link.clone(),
            mac: bridged.pod_mac,
            controller: 0,
            up: found.up,
        },
    });
    let port = PortState {
        name: bridged.nic.clone(),
        mac: nic.bridge.mac,
        controller: bridge,
        up: true,
    };
    netlink
        .become_port(&nic.pod_link, found.index, &port)
        .await
        .map_err(|error| untrusted(error, nic, bridged))?;
    Ok(found.index)
}

/// A VF's driver asks the physical function for another address, and passes its refusal on.
fn untrusted(error: NetError, nic: &NicPlan, bridged: &Bridged) -> NetError {
    let refused = matches!(&error, NetError::Link { source, .. }
        if matches!(source.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EINVAL | libc::EACCES)));
    match &bridged.vf {
        Some(vf) if refused => NetError::UntrustedVf {
            link: nic.pod_link.clone(),
            vf: vf.name(),
            command: vf.command(),
        },
        _ => error,
    }
}
