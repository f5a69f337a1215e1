//! Whether `/dev/kvm` can run a guest, told by running one.
//!
//! Opening it proves little: a KVM without hardware virtualisation below it opens, creates VMs and runs real-mode
//! code, yet boots no kernel, and `-cpu host` aborts QEMU. So the probe does what QEMU and a kernel do first: the
//! CPUID and MSRs of `-cpu host`, then long mode with paging, exceptions, system registers and FPU state.

mod cpu;
mod fitness;
mod guest;
mod machine;
mod run;
#[cfg(test)]
mod tests;

use camino::Utf8Path;
use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::{Kvm, VmFd};
use nix::errno::Errno;
use numa::HostRoot;

pub use fitness::{Fitness, Reason, Step, Unfit};
use machine::Machine;

/// Opens `/dev/kvm` below `root`, runs a guest of a few pages on it and forgets it: some milliseconds, or two
/// seconds where the guest hangs.
///
/// The process keeps an empty handler for the first real-time signal.
pub fn probe(root: &HostRoot) -> Fitness {
    match open(&root.dev("kvm")) {
        Ok(kvm) => match try_out(&kvm) {
            Ok(()) => Fitness::Fit,
            Err(unfit) => Fitness::Unfit(unfit),
        },
        Err(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ENOTDIR) => Fitness::Absent,
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => Fitness::Forbidden(errno),
        Err(errno) => Fitness::Unfit(Unfit {
            step: Step::Open,
            reason: Reason::Ioctl(errno),
        }),
    }
}

fn open(path: &Utf8Path) -> Result<Kvm, Errno> {
    let path = std::ffi::CString::new(path.as_str()).map_err(|_| Errno::ENOENT)?;
    Kvm::new_with_path(path).map_err(errno)
}

fn try_out(kvm: &Kvm) -> Result<(), Unfit> {
    let version = kvm.get_api_version();
    if u32::try_from(version) != Ok(KVM_API_VERSION) {
        return Err(Unfit {
            step: Step::Version,
            reason: if version < 0 {
                Reason::Ioctl(Errno::last())
            } else {
                Reason::ApiVersion(version)
            },
        });
    }
    let mut machine = Machine::new(create_vm(kvm)?, &guest::image())?;
    cpu::set_cpuid(kvm, machine.vcpu())?;
    cpu::set_msrs(kvm, machine.vcpu())?;
    cpu::set_registers(machine.vcpu())?;
    run::within(run::PATIENCE, machine)
}

/// As QEMU's `kvm_init` and `kvm_arch_init` make a VM with the kernel's interrupt controllers.
fn create_vm(kvm: &Kvm) -> Result<VmFd, Unfit> {
    // Three pages, and the page below them, that older Intel CPUs need for real mode: QEMU's place for them.
    const IDENTITY_MAP: u64 = 0xfeff_c000;
    let failed = |errno| Unfit::ioctl(Step::Vm, errno);
    let vm = kvm.create_vm().map_err(failed)?;
    vm.set_identity_map_address(IDENTITY_MAP).map_err(failed)?;
    vm.set_tss_address(0xfeff_d000).map_err(failed)?;
    vm.create_irq_chip().map_err(failed)?;
    Ok(vm)
}

fn errno(error: kvm_ioctls::Error) -> Errno {
    Errno::from_raw(error.errno())
}
