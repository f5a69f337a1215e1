//! Annotations and labels that ask a launcher for something.

use super::{Refused, filled, present};

/// Those that are not done: [`super::Asked::Present`] when there at all, [`super::Asked::Filled`] when `true`.
pub const ANNOTATIONS: &[Refused] = &[
    present(
        "hooks.kubevirt.io/hookSidecars",
        "hook sidecars rewrite libvirt's XML, and there is none here",
        "remove the annotation",
    ),
    present(
        "kubevirt.io/ignitiondata",
        "Ignition is not supported by this version",
        "use cloud-init",
    ),
    filled(
        "kubevirt.io/placePCIDevicesOnRootComplex",
        "devices on the root complex are not supported by this version",
        "remove the annotation: each device gets a root port of its own",
    ),
    filled(
        "kubevirt.io/disablePCIHole64",
        "a machine without a 64-bit PCI hole is not supported by this version",
        "remove the annotation",
    ),
];
