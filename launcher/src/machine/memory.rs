//! Guest RAM.

use hugepages::Bytes;

use crate::machine::device::{KeyValues, Props};

/// The name that `-machine memory-backend=` refers to.
pub const BACKEND: &str = "pc.ram";

/// What backs it.
pub fn backend(guest: Bytes) -> Props {
    Props::new()
        .with("qom-type", "memory-backend-ram")
        .with("id", BACKEND)
        .with("size", guest.0)
}

/// `-m`.
pub fn size(guest: Bytes) -> KeyValues {
    KeyValues::new().with("size", format!("{}k", guest.0 / Bytes::KIB.0))
}
