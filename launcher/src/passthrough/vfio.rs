//! Asks vfio itself: what QEMU will do with a group is done once before it, and undone by closing.
//!
//! A group is opened, joined to a container and given an IOMMU (linux/vfio.h); the device is not: opening it resets it,
//! which takes 100 ms for a function-level reset, and QEMU will do that anyway.
#![expect(
    unsafe_code,
    reason = "vfio speaks by ioctls, for which neither nix nor vfio-bindings has safe calls"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use camino::Utf8PathBuf;
use hugepages::Bytes;
use numa::HostRoot;
use vfio_bindings::bindings::vfio::{
    VFIO_API_VERSION, VFIO_BASE, VFIO_GROUP_FLAGS_VIABLE, VFIO_TYPE, VFIO_TYPE1v2_IOMMU,
    vfio_group_status,
};
use vmm_sys_util::ioctl::{
    _IOC_NONE, ioctl, ioctl_expr, ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val,
};

const fn number(offset: u32) -> libc::c_ulong {
    ioctl_expr(_IOC_NONE, VFIO_TYPE as u32, VFIO_BASE + offset, 0)
}
const VFIO_GET_API_VERSION: libc::c_ulong = number(0);
const VFIO_CHECK_EXTENSION: libc::c_ulong = number(1);
const VFIO_SET_IOMMU: libc::c_ulong = number(2);
const VFIO_GROUP_GET_STATUS: libc::c_ulong = number(3);
const VFIO_GROUP_SET_CONTAINER: libc::c_ulong = number(4);

/// Why a group cannot be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// `/dev/vfio/vfio` or `/dev/vfio/<group>` is not there.
    #[error("`{path}` is not there")]
    Absent {
        /// Which.
        path: Utf8PathBuf,
    },
    /// Our user may not open it.
    #[error("`{path}` is not for user {uid}")]
    Denied {
        /// Which.
        path: Utf8PathBuf,
        /// Who we are.
        uid: u32,
    },
    /// Somebody has it.
    #[error("group `{group}` is in use by another process")]
    Busy {
        /// Its number.
        group: u32,
    },
    /// Another driver has one of its devices.
    #[error("group `{group}` is not viable")]
    NotViable {
        /// Its number.
        group: u32,
    },
    /// The kernel's vfio is not one that we know.
    #[error("this kernel's vfio has no type 1 IOMMU")]
    NoType1,
    /// A device could raise any interrupt of the host.
    #[error("the IOMMU does not remap interrupts")]
    NoInterruptRemapping,
    /// Another failure.
    #[error("cannot {what} `{path}`: {why}")]
    System {
        /// In words.
        what: &'static str,
        /// Of which file.
        path: Utf8PathBuf,
        /// Why.
        why: io::Error,
    },
}

impl GroupError {
    /// What can be done about it, and by whom.
    pub fn hint(&self) -> String {
        match self {
            Self::Absent { path } if path.ends_with("vfio/vfio") => {
                "the host needs `modprobe vfio-pci`, and the pod the device plugin's resource"
                    .to_owned()
            }
            Self::Absent { .. } => {
                "request the device's resource in the pod: its plugin brings the file along"
                    .to_owned()
            }
            Self::Denied { path, uid } => {
                format!("virt-handler gives it to the pod's user; by hand: `chown {uid} {path}`")
            }
            Self::Busy { .. } => {
                "the group is another VM's: end that one, or take another device".to_owned()
            }
            Self::NotViable { .. } => {
                "bind the group's other devices to vfio-pci or to no driver".to_owned()
            }
            Self::NoType1 => "the host needs the module `vfio_iommu_type1`".to_owned(),
            Self::NoInterruptRemapping => {
                "turn on interrupt remapping in the firmware and kernel (`intremap=on`); \
                 `allow_unsafe_interrupts=1` of vfio_iommu_type1 lets a guest harm the host"
                    .to_owned()
            }
            Self::System { .. } => "see the host's kernel log".to_owned(),
        }
    }
}

/// Does with the group what QEMU will do, short of opening the device, and undoes it.
///
/// # Errors
///
/// [`GroupError`]: the first thing that stands in the way.
pub fn probe_group(root: &HostRoot, group: u32) -> Result<(), GroupError> {
    let container_path = root.dev("vfio/vfio");
    let container = open(&container_path, group)?;
    let failed = |what: &'static str, path: &Utf8PathBuf| GroupError::System {
        what,
        path: path.clone(),
        why: io::Error::last_os_error(),
    };
    // SAFETY: takes and gives plain numbers.
    let version = unsafe { ioctl(&container, VFIO_GET_API_VERSION) };
    // SAFETY: takes and gives plain numbers.
    let type1 =
        unsafe { ioctl_with_val(&container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU.into()) };
    if version.cast_unsigned() != VFIO_API_VERSION || type1 != 1 {
        return Err(GroupError::NoType1);
    }
    let path = root.dev(&format!("vfio/{group}"));
    let file = open(&path, group)?;
    let mut status = vfio_group_status {
        argsz: u32::try_from(size_of::<vfio_group_status>()).unwrap_or(0),
        flags: 0,
    };
    // SAFETY: the kernel writes no more than `argsz` bytes into `status`, which is that large.
    if unsafe { ioctl_with_mut_ref(&file, VFIO_GROUP_GET_STATUS, &mut status) } != 0 {
        return Err(failed("ask the status of", &path));
    }
    if status.flags & VFIO_GROUP_FLAGS_VIABLE == 0 {
        return Err(GroupError::NotViable { group });
    }
    // SAFETY: the kernel reads one file number, and takes a reference of its own to that file.
    if unsafe { ioctl_with_ref(&file, VFIO_GROUP_SET_CONTAINER, &container.as_raw_fd()) } != 0 {
        return Err(failed("join the container with", &path));
    }
    // SAFETY: takes a plain number.
    if unsafe { ioctl_with_val(&container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU.into()) } != 0 {
        let why = io::Error::last_os_error();
        // `vfio_iommu_type1_attach_group`: EPERM where `iommu_group_has_isolated_msi` does not hold.
        return Err(match why.raw_os_error() {
            Some(libc::EPERM) => GroupError::NoInterruptRemapping,
            _ => GroupError::System {
                what: "set the IOMMU of",
                path: container_path,
                why,
            },
        });
    }
    // Closing the group takes it out of its container again.
    Ok(())
}

/// Raises a process's hard limit on locked memory, so that its children may lock `needed`.
///
/// # Errors
/// What the kernel says; EPERM without CAP_SYS_RESOURCE.
pub fn raise_memlock(pid: i32, needed: Bytes) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one `rlimit`. nix knows limits of the caller alone.
    if unsafe { libc::prlimit(pid, libc::RLIMIT_MEMLOCK, std::ptr::null(), &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_max >= needed.0 {
        return Ok(());
    }
    limit.rlim_max = needed.0;
    // SAFETY: the kernel reads one `rlimit`. nix knows limits of the caller alone.
    if unsafe { libc::prlimit(pid, libc::RLIMIT_MEMLOCK, &limit, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(super) fn open(path: &Utf8PathBuf, group: u32) -> Result<File, GroupError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|why| match why.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
                GroupError::Absent { path: path.clone() }
            }
            Some(libc::EACCES | libc::EPERM) => GroupError::Denied {
                path: path.clone(),
                uid: nix::unistd::geteuid().as_raw(),
            },
            Some(libc::EBUSY) => GroupError::Busy { group },
            _ => GroupError::System {
                what: "open",
                path: path.clone(),
                why,
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_what_brings_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let error = probe_group(&HostRoot::new(&path), 7).unwrap_err();
        assert!(
            error.to_string().ends_with("dev/vfio/vfio` is not there"),
            "{error}"
        );
        assert!(error.hint().contains("modprobe vfio-pci"));
    }

    #[test]
    fn a_file_that_is_no_vfio_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        std::fs::create_dir_all(path.join("dev/vfio")).unwrap();
        std::fs::write(path.join("dev/vfio/vfio"), "").unwrap();
        let error = probe_group(&HostRoot::new(&path), 7).unwrap_err();
        assert!(matches!(error, GroupError::NoType1), "{error}");
    }
}
