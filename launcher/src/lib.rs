//! From a VirtualMachineInstance to a running guest, and what happens after.
//!
//! Rooms stand in the order data meets them: `vmi` mirrors what was written, `spec` is what is valid,
//! `host` is what this machine and pod have, `plan` is everything that will be done, and `apply`,
//! `supervise` and `monitor` do it. Everything up to `plan` is pure but for reading facts.

pub mod argv;
pub mod causes;
pub mod control;
pub mod ctl;
pub mod host;
pub mod inspect;
pub mod kvm;
pub mod local;
pub mod machine;
pub mod monitor;
pub mod net;
pub mod passthrough;
pub mod placement;
pub mod plan;
pub mod pod;
pub mod privileges;
pub mod qemu;
pub mod quantity;
pub mod readable;
pub mod refusal;
pub mod spec;
pub mod status;
pub mod storage;
pub mod supervise;
pub mod verify;
pub mod vmi;

pub mod apply;
pub mod atomic_file;
pub mod cli;
pub mod cold_code;
pub mod confine;
