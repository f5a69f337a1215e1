//! Taps through `/dev/net/tun`, one fd a queue, and `/dev/vhost-net`.
//!
//! The taps are not persistent: they go with the last fd. QEMU sets the vnet header's length and the
//! offloads itself on the fds it is handed (`net_tap_fd_init`), so nothing more is set here.
#![expect(
    unsafe_code,
    reason = "TUNSETIFF is an ioctl, and neither nix nor rtnetlink makes taps: the kernel refuses them over netlink"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use numa::HostRoot;
use vmm_sys_util::ioctl::{_IOC_WRITE, ioctl_expr, ioctl_with_ref};

use super::error::NetError;
use super::plan::TapPlan;

/// `_IOW('T', 202, int)` (linux/if_tun.h).
const TUNSETIFF: libc::c_ulong = ioctl_expr(_IOC_WRITE, 0x54, 202, 4);

/// An open tap.
#[derive(Debug)]
pub struct Tap {
    /// The link's name.
    pub name: String,
    /// One fd a queue.
    pub queues: Vec<OwnedFd>,
    /// As many of `/dev/vhost-net`, or none.
    pub vhost: Vec<OwnedFd>,
}

impl Tap {
    /// Makes the tap, or attaches to a prepared one, and opens what goes with it.
    ///
    /// # Errors
    ///
    /// [`NetError::Device`], [`NetError::Tap`], [`NetError::LinkName`]. Queues opened so far are closed.
    pub fn open(plan: &TapPlan) -> Result<Self, NetError> {
        let root = HostRoot::default();
        let queues = open_queues(plan, &root.dev("net/tun"))?;
        let vhost = if plan.vhost {
            let path = root.dev("vhost-net");
            (0..plan.queues)
                .map(|_| open_device(&path).map(OwnedFd::from))
                .collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(Self {
            name: plan.name.clone(),
            queues,
            vhost,
        })
    }
}

fn open_queues(plan: &TapPlan, device: &Utf8Path) -> Result<Vec<OwnedFd>, NetError> {
    let name = kernel_name(&plan.name)?;
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if plan.queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut queues = Vec::with_capacity(plan.queues.into());
    for queue in 0..plan.queues {
        let file = open_device(device)?;
        let mut attached = attach(&file, name, flags);
        // virt-handler makes a multi-queue tap also for one queue, and the kernel wants the same flag (tun_set_iff).
        if plan.queues == 1 && is_invalid(&attached) {
            attached = attach(&file, name, flags | libc::IFF_MULTI_QUEUE);
        }
        attached.map_err(|source| NetError::Tap {
            tap: plan.name.clone(),
            queue,
            source,
        })?;
        queues.push(file.into());
    }
    Ok(queues)
}

fn is_invalid(result: &io::Result<()>) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(libc::EINVAL))
}

fn open_device(path: &Utf8Path) -> Result<File, NetError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(|source| NetError::Device {
            path: Utf8PathBuf::from(path),
            source,
        })
}

/// `IFNAMSIZ` bytes, the last one NUL.
type KernelName = [libc::c_char; libc::IFNAMSIZ];

fn kernel_name(name: &str) -> Result<KernelName, NetError> {
    let mut bytes: KernelName = [0; libc::IFNAMSIZ];
    let fits = !name.is_empty() && name.len() < bytes.len() && !name.contains('\0');
    // A `%d` would be filled in by the kernel: the link would have another name than planned.
    if !fits || name.contains('%') {
        return Err(NetError::LinkName {
            name: name.to_owned(),
        });
    }
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(bytes)
}

fn attach(file: &File, name: KernelName, flags: libc::c_int) -> io::Result<()> {
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            // All of them fit the lower 15 bits (linux/if_tun.h).
            ifru_flags: libc::c_short::try_from(flags).unwrap_or_default(),
        },
    };
    // SAFETY: `file` is open, and `request` is an initialised `ifreq` that outlives the call; the kernel reads and
    // writes at most its size. No safe wrapper of TUNSETIFF exists in the crates we have.
    let result = unsafe { ioctl_with_ref(file, TUNSETIFF, &request) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_cannot_have_are_refused() {
        for name in ["", "0123456789abcdef", "tap%d", "a\0b"] {
            assert!(kernel_name(name).is_err(), "{name:?}");
        }
        assert_eq!(kernel_name("tap0").unwrap()[..5], [116, 97, 112, 48, 0]);
    }

    #[test]
    fn the_flags_fit_their_field() {
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        assert_eq!(libc::c_short::try_from(flags), Ok(0x5102));
    }
}
