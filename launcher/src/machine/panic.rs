//! The device by which a guest's kernel tells that it panicked.

use crate::machine::device::{Connect, Device};

/// `pvpanic` on ISA: an I/O port that ACPI names (QEMU's `docs/specs/pvpanic.rst`), so no PCI slot.
pub fn isa_panic() -> Device {
    Device::new("pvpanic", "panic0", Connect::Named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_slot() {
        assert_eq!(isa_panic().connect, Connect::Named);
    }
}
