//! What is made before QEMU starts, and which files it will open.

use camino::Utf8PathBuf;
use hugepages::Bytes;
use serde::{Deserialize, Serialize};

use crate::host::ImageFormat;

/// All of the VM's storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoragePlan {
    /// In the order in which they are made; each can be undone.
    pub make: Vec<Make>,
    /// One for each disk of the VMI, in its order.
    pub disks: Vec<DiskImage>,
}

/// One file to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "make", rename_all = "kebab-case")]
pub enum Make {
    /// A fresh qcow2 over a read-only image; replaces what an earlier start left.
    Overlay {
        /// The qcow2 to make.
        path: Utf8PathBuf,
        /// The image below it.
        backing: Utf8PathBuf,
        /// How the image below it is read.
        backing_format: ImageFormat,
    },
    /// An empty qcow2 of a given size, kept when it exists.
    EmptyQcow2 {
        /// The qcow2 to make.
        path: Utf8PathBuf,
        /// What the guest sees.
        size: Bytes,
    },
    /// A sparse raw file, kept when it exists.
    SparseRaw {
        /// The file to make.
        path: Utf8PathBuf,
        /// Its length.
        size: Bytes,
    },
    /// A cloud-init NoCloud ISO.
    NoCloudIso {
        /// The ISO to make.
        path: Utf8PathBuf,
        /// `meta-data`.
        meta_data: String,
        /// `user-data`, base64.
        user_data: String,
        /// `network-config`, base64.
        network_data: Option<String>,
    },
}

/// The image chain behind one disk: what QEMU's block layer opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskImage {
    /// The VMI's disk name.
    pub name: String,
    /// None for an empty CD-ROM drive.
    pub top: Option<Layer>,
    /// Below a top that is an overlay.
    pub backing: Option<Layer>,
    /// `O_DIRECT` is known to open every layer; none when that could not be tried.
    pub direct_io: Option<bool>,
    /// Fully allocated file, or a block device: fit for `io: native`.
    pub preallocated: bool,
}

/// One file or block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Where it is, in the pod.
    pub path: Utf8PathBuf,
    /// `raw` or `qcow2`.
    pub format: ImageFormat,
    /// A block device (`host_device`), not a file.
    pub block: bool,
}
