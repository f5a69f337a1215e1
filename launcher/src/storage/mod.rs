//! Disk images: what is there, what has to be made, and the making.

pub mod facts;
pub mod iso;
pub mod kernel_boot;
pub mod lock;
pub mod plan;
pub mod prepare;
pub mod seed;

mod dir;
mod error;
mod headers;
mod paths;
mod qcow2;

#[cfg(test)]
mod fixture;

pub use error::{PrepareError, StorageError};
pub use qcow2::LARGEST as LARGEST_QCOW2;
