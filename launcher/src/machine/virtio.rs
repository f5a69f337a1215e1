//! Which generation of virtio devices the machine has.

use crate::machine::device::{Connect, Wish};

/// `useVirtioTransitional`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Virtio {
    /// virtio 1.0 only, on PCI Express.
    NonTransitional,
    /// With the legacy interface, which needs I/O ports, and so a conventional PCI slot.
    Transitional,
}

impl Virtio {
    /// The generation that a VMI asks for.
    pub fn of(transitional: bool) -> Self {
        if transitional {
            Self::Transitional
        } else {
            Self::NonTransitional
        }
    }

    /// QEMU's name of this generation of `base`, such as `virtio-blk-pci`.
    pub fn driver(self, base: &str) -> String {
        match self {
            Self::NonTransitional => format!("{base}-non-transitional"),
            Self::Transitional => format!("{base}-transitional"),
        }
    }

    /// Where such a device is plugged in.
    pub fn connect(self, wish: Option<Wish>) -> Connect {
        match self {
            Self::NonTransitional => Connect::Express(wish),
            Self::Transitional => Connect::Conventional(wish),
        }
    }
}
