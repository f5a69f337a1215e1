//! The VM's life after start: `step` decides, `driver` does, `logs` keeps what the guest says within bounds.

pub mod channel;
pub mod cpuset;
pub mod driver;
pub mod logs;
pub mod outcome;
pub mod step;
