//! The VM as data, in QEMU's own names: one file a device, PCI addresses as a last pass over the finished machine.

pub mod pci;
