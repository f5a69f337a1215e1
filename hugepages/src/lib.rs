//! Memory sizes and huge page pools of a Linux host.

mod bytes;

pub use bytes::{Bytes, PageSize};
