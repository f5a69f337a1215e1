//! iommufd: the files of the host's devices are opened here and handed to QEMU, which then opens nothing of vfio's.
//!
//! Opening a device's file does nothing to it yet. Binding it does (`VFIO_DEVICE_BIND_IOMMUFD`, linux/vfio.h): it resets
//! the device, and it is QEMU's to do. So what only binding tells is asked once QEMU has failed.
#![expect(
    unsafe_code,
    reason = "iommufd speaks by ioctls, for which neither nix nor vfio-bindings has safe calls"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use camino::Utf8PathBuf;
use numa::HostRoot;
use vfio_bindings::bindings::vfio::{VFIO_BASE, VFIO_TYPE, vfio_device_bind_iommufd};
use vmm_sys_util::ioctl::{_IOC_NONE, ioctl_expr, ioctl_with_mut_ref, ioctl_with_ref};

use super::vfio::{GroupError, open};
use crate::host::pci::cdev_path;

/// `IOMMUFD_TYPE` and `IOMMUFD_CMD_OPTION` of linux/iommufd.h.
const IOMMU_OPTION: libc::c_ulong = ioctl_expr(_IOC_NONE, b';' as u32, 0x87, 0);
const VFIO_DEVICE_BIND_IOMMUFD: libc::c_ulong =
    ioctl_expr(_IOC_NONE, VFIO_TYPE as u32, VFIO_BASE + 18, 0);

/// `struct iommu_option` of linux/iommufd.h.
#[repr(C)]
#[derive(Default)]
struct IommuOption {
    size: u32,
    option_id: u32,
    op: u16,
    reserved: u16,
    object_id: u32,
    value: u64,
}

/// `/dev/iommu`.
pub fn path(root: &HostRoot) -> Utf8PathBuf {
    root.dev("iommu")
}

/// Whether both files may be opened.
///
/// # Errors
///
/// [`GroupError::Absent`] or [`GroupError::Denied`].
pub fn check(root: &HostRoot, cdev: &str, group: u32) -> Result<(), GroupError> {
    open(&path(root), group)?;
    open(&cdev_path(root, cdev), group)?;
    Ok(())
}

/// Has what is pinned counted for the process that pins it. Without, the kernel holds all VMs of one user together to the
/// limit of each (`IOMMU_OPTION_RLIMIT_MODE`).
///
/// # Errors
/// What the kernel says; EPERM without CAP_SYS_RESOURCE.
pub fn count_by_process(iommufd: &File) -> io::Result<()> {
    let option = IommuOption {
        size: u32::try_from(size_of::<IommuOption>()).unwrap_or(0),
        value: 1,
        ..IommuOption::default()
    };
    // SAFETY: the kernel reads `size` bytes of `option`, which is that large, and writes nothing for an option that is set.
    match unsafe { ioctl_with_ref(iommufd, IOMMU_OPTION, &option) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Does with the device what QEMU did, and undoes it by closing: what stood in its way. `alone`: nothing else is in its
/// group.
///
/// # Errors
///
/// [`GroupError`], where the kernel refuses.
pub fn bind(root: &HostRoot, cdev: &str, group: u32, alone: bool) -> Result<(), GroupError> {
    let iommufd = open(&path(root), group)?;
    let path = cdev_path(root, cdev);
    let device = open(&path, group)?;
    let mut bind = vfio_device_bind_iommufd {
        argsz: u32::try_from(size_of::<vfio_device_bind_iommufd>()).unwrap_or(0),
        iommufd: iommufd.as_raw_fd(),
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes no more than `argsz` bytes of `bind`, which is that large.
    if unsafe { ioctl_with_mut_ref(&device, VFIO_DEVICE_BIND_IOMMUFD, &mut bind) } == 0 {
        return Ok(());
    }
    let why = io::Error::last_os_error();
    Err(match why.raw_os_error() {
        // `vfio_df_open`: a device is opened once; `vfio_device_block_group`: not while its group is open.
        Some(libc::EINVAL | libc::EBUSY) => GroupError::Busy { group },
        // `iommufd_device_bind`; also for a group of which another process has another device.
        Some(libc::EPERM) if alone => GroupError::NoInterruptRemapping,
        _ => GroupError::System {
            what: "bind",
            path,
            why,
        },
    })
}
