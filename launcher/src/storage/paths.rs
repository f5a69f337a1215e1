//! Where KubeVirt has each kind of image in the pod (facts 2.8).
//!
//! Volume names are DNS labels (checked by `spec`), so joining them leaves no directory.

use camino::Utf8PathBuf;
use numa::HostRoot;

use crate::pod::PodPaths;
use crate::spec::Identity;

/// A container disk, as virt-handler bind-mounts it.
pub(super) fn container_disk(paths: &PodPaths, volume_index: usize) -> Utf8PathBuf {
    paths
        .container_disks
        .join(format!("disk_{volume_index}.img"))
}

/// The throw-away overlay over a container disk.
pub(super) fn overlay(paths: &PodPaths, volume: &str) -> Utf8PathBuf {
    let directory = paths.ephemeral.join("disk-data").join(volume);
    directory.join("disk.qcow2")
}

/// A claim with a file system.
pub(super) fn claim_file(paths: &PodPaths, volume: &str) -> Utf8PathBuf {
    host_disk(paths, volume, "disk.img")
}

/// A claim in block mode.
pub(super) fn claim_device(volume: &str) -> Utf8PathBuf {
    HostRoot::default().dev(volume)
}

/// A host disk: its directory is mounted under the volume's name.
pub(super) fn host_disk(paths: &PodPaths, volume: &str, file: &str) -> Utf8PathBuf {
    paths.private.join("vmi-disks").join(volume).join(file)
}

/// An empty disk.
pub(super) fn empty_disk(paths: &PodPaths, volume: &str) -> Utf8PathBuf {
    let directory = paths.libvirt.join("empty-disks");
    directory.join(format!("{volume}.qcow2"))
}

/// The VM's one cloud-init seed.
pub(super) fn no_cloud_iso(paths: &PodPaths, identity: &Identity) -> Utf8PathBuf {
    let seeds = paths.ephemeral.join("cloud-init-data");
    let directory = seeds.join(&identity.namespace).join(&identity.name);
    directory.join("noCloud.iso")
}
