//! The VM's life after start: `step` decides, `driver` does, `logs` keeps what the guest says within bounds.
//!
//! A supervisor may die and be followed by another one, which knows no `Spec`: it has the plan and the journal
//! (`state_dir`, `journal`), the files that PID 1 kept (`kept`), and QEMU's own answers (`takeover`).

pub mod agent;
pub mod agent_poll;
pub mod alarms;
pub mod channel;
pub mod commands;
pub mod cpuset;
pub mod desk;
pub mod driver;
pub mod host_devices;
pub mod in_place;
pub mod journal;
pub mod kept;
pub mod late_threads;
pub mod logs;
pub mod memory_death;
pub mod metrics;
pub mod outcome;
pub mod qemu;
pub mod services;
pub mod state_dir;
pub mod step;
pub mod takeover;
pub mod upgrade;
pub mod wishes;
