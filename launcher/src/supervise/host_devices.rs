//! Devices of the host may leave under a running guest: `sriov_numvfs` set to 0, a device removed, or unbound from vfio.
//!
//! The kernel's vfio asks QEMU for the device and waits until it is closed (`vfio_unregister_group_dev`); QEMU asks the
//! guest to let it go, as for any unplug, every 10 s. So three things are told, each by an event:
//!
//! ```text
//!  uevent, and the driver's link is gone ─► the host wants it back    DEVICE_UNPLUG_GUEST_ERROR ─► the guest says no
//!                                                                     DEVICE_DELETED ────────────► it is gone
//! ```
//!
//! The guest runs on in every case. What happened before the watch stood is looked up.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use numa::HostRoot;
use qmp::{Delivery, Known, Session};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

use super::step::{Input, Leaving};
use crate::passthrough::Host;
use crate::passthrough::plan::{Passed, PassthroughPlan};
use crate::readable::Readable;

/// Events of the kernel itself; group 2 is udev's (`lib/kobject_uevent.c`).
const KERNEL: u32 = 1;
/// The kernel's `UEVENT_BUFFER_SIZE` is 2 KiB, its header aside.
const LONGEST: usize = 8192;
/// A query that only reads.
const ANSWER: Duration = Duration::from_secs(10);

/// Tells what happens to `devices` for as long as `session` lives.
pub async fn watch(devices: Vec<Passed>, session: Session, told: Sender<Input>) {
    let mut events = session.events();
    let uevents = uevents().inspect_err(|error| {
        tracing::warn!(event = "devices-unwatched", error = %error, "that the host wants a device back will be known only when it is gone");
    });
    let uevents = uevents.ok();
    let root = HostRoot::default();
    let mut look = Look::Both;
    loop {
        let mut news = Vec::new();
        if look != Look::Nowhere {
            news.extend(wanted_back(&root, &devices));
        }
        if look == Look::Both {
            news.extend(gone(&session, &devices).await);
        }
        for (id, leaving) in news {
            let id = id.to_owned();
            if told.send(Input::Device { id, leaving }).await.is_err() {
                return;
            }
        }
        look = tokio::select! {
            happened = happened(uevents.as_ref(), &devices) => match happened {
                true => Look::Host,
                false => Look::Nowhere,
            },
            delivery = events.next() => match delivery {
                None => return,
                Some(Delivery::Missed(_)) => Look::Both,
                Some(Delivery::Event(event)) => {
                    if let Some((id, leaving)) = event.known.as_ref().and_then(unplugged)
                        && devices.iter().any(|device| device.id == id)
                        && told.send(Input::Device { id, leaving }).await.is_err()
                    {
                        return;
                    }
                    Look::Nowhere
                }
            },
        };
    }
}

/// Where news may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Nowhere,
    /// In sysfs.
    Host,
    /// In QEMU too.
    Both,
}

fn unplugged(event: &Known) -> Option<(String, Leaving)> {
    match event {
        Known::DeviceDeleted { device, .. } => Some((device.clone()?, Leaving::Gone)),
        Known::DeviceUnplugGuestError { device, .. } => Some((device.clone()?, Leaving::NotLetGo)),
        _ => None,
    }
}

/// Devices whose driver has begun to give them up: its link goes before it waits for whoever has the device open, and
/// before the event (`__device_release_driver`); what else vfio has in sysfs goes only after it.
fn wanted_back<'a>(root: &HostRoot, devices: &'a [Passed]) -> Vec<(&'a str, Leaving)> {
    let driver = |device: &Passed| match device.device {
        Host::Pci(address) => root.sys(&format!("bus/pci/devices/{address}/driver")),
        Host::Mdev(uuid) => root.sys(&format!("bus/mdev/devices/{uuid}/driver")),
    };
    devices
        .iter()
        .filter(|device| !driver(device).is_symlink())
        .map(|device| (device.id.as_str(), Leaving::WantedBack))
        .collect()
}

/// Devices that QEMU has no more.
async fn gone<'a>(session: &Session, devices: &'a [Passed]) -> Vec<(&'a str, Leaving)> {
    let path = json!({"path": "/machine/peripheral"});
    // A session that fails has ended, which others tell.
    let Ok(Value::Array(list)) = session.execute_raw("qom-list", path, ANSWER).await else {
        return Vec::new();
    };
    let is_there = |device: &&Passed| list.iter().any(|one| one["name"] == device.id.as_str());
    devices
        .iter()
        .filter(|device| !is_there(device))
        .map(|device| (device.id.as_str(), Leaving::Gone))
        .collect()
}

/// The kernel's own events. They reach network namespaces of the host's user namespace, and take no privilege.
fn uevents() -> io::Result<Readable> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
    Readable::new(socket)
}

/// Waits for an event; whether one of `devices` is meant. For ever pending without a socket. Cancel-safe.
async fn happened(uevents: Option<&Readable>, devices: &[Passed]) -> bool {
    let Some(uevents) = uevents else {
        return std::future::pending().await;
    };
    let mut buffer = [0; LONGEST];
    loop {
        let Ok(mut ready) = uevents.ready().await else {
            return std::future::pending().await;
        };
        match recvfrom::<NetlinkAddr>(ready.get_inner().as_raw_fd(), &mut buffer) {
            // Whoever else may send there says nothing to us.
            Ok((length, Some(from))) if from.pid() == 0 => {
                return names_one(&buffer[..length.min(LONGEST)], devices);
            }
            Ok(_) => {}
            Err(Errno::EAGAIN) => ready.clear_ready(),
            // More came than there was room for (ENOBUFS): any of them may have been meant.
            Err(_) => return true,
        }
    }
}

/// A message begins with `ACTION@DEVPATH` and a NUL byte; the path of a VF's own device node lies below the VF's.
fn names_one(message: &[u8], devices: &[Passed]) -> bool {
    let head = message.split(|byte| *byte == 0).next().unwrap_or_default();
    let Ok(head) = str::from_utf8(head) else {
        return false;
    };
    let Some((action, path)) = head.split_once('@') else {
        return false;
    };
    matches!(action, "remove" | "unbind")
        && devices.iter().any(|device| {
            let name = device.device.to_string();
            path.split('/').any(|part| part == name)
        })
}

/// Says what became of each device that is elsewhere than before.
pub fn tell(
    plan: &PassthroughPlan,
    before: &BTreeMap<String, Leaving>,
    now: &BTreeMap<String, Leaving>,
) {
    for one in &plan.devices {
        let Some(leaving) = now
            .get(&one.id)
            .filter(|now| before.get(&one.id) != Some(now))
        else {
            continue;
        };
        let Passed { path, device, .. } = one;
        match leaving {
            Leaving::WantedBack => tracing::warn!(
                event = "device-wanted-back",
                path,
                device = %device,
                "{path}: the host takes `{device}` back; the guest is asked to let it go, and the host waits until it has"
            ),
            Leaving::NotLetGo => tracing::warn!(
                event = "device-not-let-go",
                path,
                device = %device,
                "{path}: the guest does not let `{device}` go, and is asked again; remove it in the guest, or end the VM"
            ),
            Leaving::Gone => tracing::warn!(
                event = "device-gone",
                path,
                device = %device,
                "{path}: the guest has `{device}` no more and runs on without; \
                 bind it to vfio-pci again, or make it again, and start the VM anew to give it back"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Vec<Passed> {
        vec![Passed {
            name: "fast".to_owned(),
            path: "spec.domain.devices.interfaces[0]".to_owned(),
            id: "ua-sriov-fast".to_owned(),
            device: Host::Pci("0000:82:02.1".parse().unwrap()),
            group: Some(17),
            cdev: None,
            host_node: Some(1),
            source: "network-info".to_owned(),
        }]
    }

    #[test]
    fn events_of_our_devices_are_known_by_their_paths() {
        let table: &[(&[u8], bool)] = &[
            (
                b"remove@/devices/pci0000:80/0000:82:02.1/vfio-dev/vfio0\0ACTION=remove\0",
                true,
            ),
            (b"unbind@/devices/pci0000:80/0000:82:02.1\0", true),
            (b"add@/devices/pci0000:80/0000:82:02.1\0", false),
            (b"remove@/devices/pci0000:80/0000:82:02.11\0", false),
            (
                b"remove@/devices/pci0000:80/0000:82:02.2/vfio-dev/vfio1\0",
                false,
            ),
            (b"remove", false),
            (b"\xff@\xff", false),
            (b"", false),
        ];
        for (message, ours) in table {
            assert_eq!(
                names_one(message, &devices()),
                *ours,
                "{:?}",
                message.escape_ascii()
            );
        }
    }

    #[tokio::test]
    async fn the_kernels_events_are_heard() {
        let mut devices = devices();
        devices[0].device = Host::Pci("0000:00:00.0".parse().unwrap());
        let heard = uevents().unwrap();
        // An event that root asks for, and that nobody here acts on (Documentation/ABI/testing/sysfs-uevent).
        std::fs::write("/sys/bus/pci/devices/0000:00:00.0/uevent", "remove").unwrap();
        while !happened(Some(&heard), &devices).await {}
    }

    #[test]
    fn a_driver_that_lets_go_is_seen_by_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let root = HostRoot::new(&path);
        let device = root.sys("bus/pci/devices/0000:82:02.1");
        std::fs::create_dir_all(&device).unwrap();
        std::os::unix::fs::symlink("../../drivers/vfio-pci", device.join("driver")).unwrap();
        let devices = devices();
        assert_eq!(wanted_back(&root, &devices), []);
        std::fs::remove_file(device.join("driver")).unwrap();
        assert_eq!(
            wanted_back(&root, &devices),
            [("ua-sriov-fast", Leaving::WantedBack)]
        );
    }
}
