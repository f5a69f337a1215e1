//! The random number device.

use crate::machine::device::{Device, Props};
use crate::machine::virtio::Virtio;

/// Where the bytes come from.
pub fn backend() -> Props {
    Props::new()
        .with("qom-type", "rng-random")
        .with("id", "objrng0")
        .with("filename", "/dev/urandom")
}

/// The device.
pub fn rng(virtio: Virtio) -> Device {
    Device::new(
        virtio.driver("virtio-rng-pci"),
        "rng0",
        virtio.connect(None),
    )
    .with("rng", "objrng0")
}
