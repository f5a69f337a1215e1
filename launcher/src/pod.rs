//! KubeVirt's paths inside the pod (facts 2.8): part of the contract with virt-handler.

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The directories that virt-controller's flags name, and what lies in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPaths {
    /// `--kubevirt-share-dir`.
    pub share: Utf8PathBuf,
    /// Sockets and images of this VM alone.
    pub private: Utf8PathBuf,
    /// `--ephemeral-disk-dir`.
    pub ephemeral: Utf8PathBuf,
    /// `--container-disk-dir`.
    pub container_disks: Utf8PathBuf,
    /// Empty disks live below it.
    pub libvirt: Utf8PathBuf,
}

impl Default for PodPaths {
    fn default() -> Self {
        Self {
            share: "/var/run/kubevirt".into(),
            private: "/var/run/kubevirt-private".into(),
            ephemeral: "/var/run/kubevirt-ephemeral-disks".into(),
            container_disks: "/var/run/kubevirt/container-disks".into(),
            libvirt: "/var/run/libvirt".into(),
        }
    }
}

impl PodPaths {
    /// All of them.
    pub fn all(&self) -> [&Utf8Path; 5] {
        [
            &self.share,
            &self.private,
            &self.ephemeral,
            &self.container_disks,
            &self.libvirt,
        ]
    }

    /// Console, VNC: what virt-handler opens through the pod's root.
    pub fn vm(&self, uid: Uuid) -> Utf8PathBuf {
        self.private.join(uid.to_string())
    }

    /// The guest's serial console, a listening unix socket.
    pub fn serial(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("virt-serial0")
    }

    /// Everything the serial console said.
    pub fn serial_log(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("virt-serial0-log")
    }

    /// VNC, a listening unix socket.
    pub fn vnc(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("virt-vnc")
    }

    /// QEMU's monitor, which we bind and hand over.
    pub fn qmp(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("qmp.sock")
    }

    /// The guest agent's channel, which we bind and hand over.
    pub fn agent(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("agent.sock")
    }

    /// What QEMU printed.
    pub fn qemu_log(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("qemu.log")
    }

    /// What the run was to do.
    pub fn plan(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("plan.json")
    }

    /// Where its threads and pages were found last.
    pub fn placement(&self, uid: Uuid) -> Utf8PathBuf {
        self.vm(uid).join("placement.json")
    }

    /// The supervisor's inspection socket: QMP for any number of clients.
    pub fn control(&self) -> Utf8PathBuf {
        self.private.join("control.sock")
    }

    /// Prometheus metrics over HTTP.
    pub fn metrics(&self) -> Utf8PathBuf {
        self.private.join("metrics.sock")
    }

    /// What virt-handler knew of a link of the pod when it took it for a bridge (facts 7.4).
    pub fn vif_cache(&self, link: &str) -> Utf8PathBuf {
        self.private.join(format!("vif-cache-{link}.json"))
    }

    /// `kernelBoot` files.
    pub fn kernel_boot(&self) -> Utf8PathBuf {
        self.container_disks.join("kernel-boot")
    }
}
