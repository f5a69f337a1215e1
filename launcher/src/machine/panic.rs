//! The devices by which a guest's kernel tells that it panicked.

use crate::machine::device::{Connect, Device};
use crate::spec::device::PanicDevice;

/// `pvpanic` (QEMU's `docs/specs/pvpanic.rst`): on ISA an I/O port that ACPI names, so no PCI slot. Hyper-V's is no
/// device but registers of the CPU.
pub fn panic(model: PanicDevice) -> Option<Device> {
    match model {
        PanicDevice::Isa => Some(Device::new("pvpanic", "panic0", Connect::Named)),
        PanicDevice::Pvpanic => {
            let conventional = Connect::Conventional(None);
            Some(Device::new("pvpanic-pci", "panic1", conventional))
        }
        PanicDevice::Hyperv => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pci_one_takes_a_slot() {
        let connect = |model| panic(model).map(|device| device.connect);
        assert_eq!(connect(PanicDevice::Isa), Some(Connect::Named));
        assert_eq!(
            connect(PanicDevice::Pvpanic),
            Some(Connect::Conventional(None))
        );
        assert_eq!(connect(PanicDevice::Hyperv), None);
    }
}
