//! What a probe of `/dev/kvm` found, in words too.

use std::fmt;
use std::time::Duration;

use kvm_bindings::KVM_API_VERSION;
use nix::errno::Errno;

use super::errno;

/// What a probe of `/dev/kvm` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// A guest ran, and did everything right.
    Fit,
    /// It is there and may be used, but runs no guest.
    Unfit(Unfit),
    /// There is no `/dev/kvm`, or nothing behind it.
    Absent,
    /// It may not be opened.
    Forbidden(Errno),
}

/// Where a KVM failed, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Unfit {
    /// How far the probe came.
    pub step: Step,
    /// What happened there.
    pub reason: Reason,
}

/// What the probe does, in this order; the last five run in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Open the device.
    Open,
    /// `KVM_GET_API_VERSION`.
    Version,
    /// `KVM_CREATE_VM`, `KVM_SET_TSS_ADDR`, `KVM_CREATE_IRQCHIP`.
    Vm,
    /// `KVM_SET_USER_MEMORY_REGION`.
    Memory,
    /// `KVM_CREATE_VCPU`.
    Vcpu,
    /// `KVM_SET_CPUID2` with all that `KVM_GET_SUPPORTED_CPUID` offers.
    Cpuid,
    /// `KVM_SET_MSRS` with what `-cpu host` sets.
    Msrs,
    /// `KVM_SET_SREGS`, `KVM_SET_REGS`.
    Registers,
    /// The guest enters long mode.
    LongMode,
    /// It reads and writes through its page tables, and changes them.
    Paging,
    /// It takes a breakpoint and a page fault.
    Exceptions,
    /// CPUID, GS base, `swapgs`, system-call and PAT MSRs.
    SystemRegisters,
    /// FPU and SSE state, and the answer.
    Fpu,
}

/// How a step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// An ioctl was refused.
    #[error("the kernel answers `{0}`")]
    Ioctl(Errno),
    /// Not the version that every KVM since Linux 2.6.22 has.
    #[error("API version {0} is not {KVM_API_VERSION}")]
    ApiVersion(i32),
    /// An MSR that QEMU sets cannot be set, so QEMU would abort.
    #[error("MSR {index:#x} cannot be set to {value:#x}")]
    MsrRefused {
        /// The MSR.
        index: u32,
        /// The value that this KVM itself offers.
        value: u64,
    },
    /// `KVM_EXIT_INTERNAL_ERROR`: KVM cannot run an instruction.
    #[error("KVM cannot go on: {}", suberror(*.0))]
    Internal(u32),
    /// `KVM_EXIT_FAIL_ENTRY`: the hardware refuses the guest's state.
    #[error("the CPU refuses to enter the guest, reason {0:#x}")]
    EntryFailed(u64),
    /// `KVM_EXIT_SHUTDOWN`: an exception that the guest could not take.
    #[error("the guest took a triple fault")]
    TripleFault,
    /// The guest computed something else than a CPU does.
    #[error("the guest gave the wrong answer, {0:#x}")]
    WrongAnswer(u32),
    /// Any other way out of the guest.
    #[error("the guest left unexpectedly, by `{0}`")]
    UnexpectedExit(String),
    /// No end within the time allowed.
    #[error("the guest did not end within {} ms", .0.as_millis())]
    Hung(Duration),
    /// The probe could not do its own part.
    #[error("the probe could not be run: {0}")]
    Probe(Errno),
}

impl Unfit {
    pub(super) fn ioctl(step: Step, error: kvm_ioctls::Error) -> Self {
        Self {
            step,
            reason: Reason::Ioctl(errno(error)),
        }
    }
}

impl Fitness {
    /// A guest can run on it.
    pub fn is_fit(&self) -> bool {
        *self == Self::Fit
    }

    /// What can be done about it; none when it is fit.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Fit => None,
            Self::Unfit(_) => Some(
                "this machine's KVM is no real one (a VM without nested virtualisation?): run on a node whose KVM boots guests, or allow emulation with `--allow-emulation`, which is slow",
            ),
            Self::Absent => Some(
                "in a pod, ask for the resource `devices.kubevirt.io/kvm`; on a machine, load `kvm-intel` or `kvm-amd` and turn virtualisation on in the firmware; or allow emulation with `--allow-emulation`, which is slow",
            ),
            Self::Forbidden(_) => Some(
                "run as a user of the group that owns `/dev/kvm`; in a pod, ask for the resource `devices.kubevirt.io/kvm`; or allow emulation with `--allow-emulation`, which is slow",
            ),
        }
    }
}

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fit => f.write_str("`/dev/kvm` runs guests"),
            Self::Unfit(unfit) => write!(f, "`/dev/kvm` runs no guest: {unfit}"),
            Self::Absent => f.write_str("there is no `/dev/kvm`"),
            Self::Forbidden(errno) => write!(f, "`/dev/kvm` cannot be opened: {}", errno.desc()),
        }
    }
}

impl Step {
    /// By the number that the guest noted ([`super::guest`]); 0 before its first instruction.
    pub(super) fn of_part(part: u64) -> Self {
        match part {
            0 | 1 => Self::LongMode,
            2 => Self::Paging,
            3 => Self::Exceptions,
            4 => Self::SystemRegisters,
            _ => Self::Fpu,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening it",
            Self::Version => "asking its version",
            Self::Vm => "making a VM",
            Self::Memory => "giving it memory",
            Self::Vcpu => "making a vCPU",
            Self::Cpuid => "setting CPUID as `-cpu host` does",
            Self::Msrs => "setting MSRs as `-cpu host` does",
            Self::Registers => "setting registers",
            Self::LongMode => "entering long mode",
            Self::Paging => "using page tables",
            Self::Exceptions => "taking exceptions",
            Self::SystemRegisters => "using system registers",
            Self::Fpu => "using FPU state",
        })
    }
}

/// `KVM_INTERNAL_ERROR_*` (linux/kvm.h).
fn suberror(code: u32) -> String {
    match code {
        1 => "it has to emulate an instruction that it does not know".to_owned(),
        2 => "exceptions came at once".to_owned(),
        3 => "an event could not be delivered".to_owned(),
        4 => "the CPU left the guest for an unknown reason".to_owned(),
        other => format!("internal error {other}"),
    }
}
