//! The vCPU as `-cpu host` makes it, and as the program expects it.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::{Kvm, VcpuFd};
use nix::errno::Errno;

use super::{Reason, Step, Unfit, guest};

const MSR_IA32_UCODE_REV: u32 = 0x8b;
const MSR_IA32_CORE_CAPABILITY: u32 = 0xcf;
const MSR_IA32_ARCH_CAPABILITIES: u32 = 0x10a;

/// The bits of `ARCH_CAPABILITIES` that QEMU 10.0 has names for; it drops the others.
const NAMED_ARCH_CAPABILITIES: u64 = 0x0d12_e1ff;

/// CPUID 7.0 EDX says which of the capability MSRs exist.
const CPUID_7_0_EDX_ARCH_CAPABILITIES: u32 = 1 << 29;
const CPUID_7_0_EDX_CORE_CAPABILITY: u32 = 1 << 30;

/// What every 64-bit guest gets at reset, with the values that it gets (QEMU's `kvm_put_msrs`).
const RESET: [(u32, u64); 9] = [
    (0x174, 0),                     // IA32_SYSENTER_CS
    (0x175, 0),                     // IA32_SYSENTER_ESP
    (0x176, 0),                     // IA32_SYSENTER_EIP
    (0x277, 0x0007_0406_0007_0406), // IA32_PAT
    (0xc000_0081, 0),               // STAR
    (0xc000_0082, 0),               // LSTAR
    (0xc000_0083, 0),               // CSTAR
    (0xc000_0084, 0),               // FMASK
    (0xc000_0102, 0),               // KERNEL_GS_BASE
];

/// All that this KVM offers, which is where `-cpu host` starts.
pub(super) fn set_cpuid(kvm: &Kvm, vcpu: &VcpuFd) -> Result<(), Unfit> {
    let failed = |errno| Unfit::ioctl(Step::Cpuid, errno);
    let cpuid = supported(kvm).map_err(failed)?;
    vcpu.set_cpuid2(&cpuid).map_err(failed)
}

fn supported(kvm: &Kvm) -> Result<CpuId, kvm_ioctls::Error> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
}

/// Sets what QEMU sets and aborts over when refused (`kvm_init_msrs`, `kvm_put_msrs`, `kvm_buf_set_msrs`).
///
/// QEMU sets an MSR only where `KVM_GET_MSR_INDEX_LIST` names it, to what `KVM_GET_MSRS` on the system fd
/// offers, masked by CPUID and by its own names. Any value that KVM offers it must take, on Intel and on AMD (where it emulates
/// `ARCH_CAPABILITIES`). Nested VMX and the PMU, which need more, are left alone: a guest boots without.
pub(super) fn set_msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<(), Unfit> {
    let failed = |errno| Unfit::ioctl(Step::Msrs, errno);
    let known = kvm.get_msr_index_list().map_err(failed)?;
    let entries: Vec<kvm_msr_entry> = offered(kvm)
        .map_err(failed)?
        .into_iter()
        .chain(RESET)
        .filter(|(index, _)| known.as_slice().contains(index))
        .map(|(index, data)| kvm_msr_entry {
            index,
            data,
            ..Default::default()
        })
        .collect();
    let list = Msrs::from_entries(&entries).map_err(|_| Unfit {
        step: Step::Msrs,
        reason: Reason::Probe(Errno::E2BIG),
    })?;
    let done = vcpu.set_msrs(&list).map_err(failed)?;
    match entries.get(done) {
        None => Ok(()),
        Some(refused) => Err(Unfit {
            step: Step::Msrs,
            reason: Reason::MsrRefused {
                index: refused.index,
                value: refused.data,
            },
        }),
    }
}

/// MSRs that describe the CPU, with the values that a `-cpu host` guest has.
fn offered(kvm: &Kvm) -> Result<Vec<(u32, u64)>, kvm_ioctls::Error> {
    let cpuid = supported(kvm)?;
    let features = cpuid
        .as_slice()
        .iter()
        .find(|leaf| leaf.function == 7 && leaf.index == 0)
        .map_or(0, |leaf| leaf.edx);
    // Kernels before 4.17 have no feature MSRs; QEMU then takes them all for 0.
    let listed = kvm.get_msr_feature_index_list().ok();
    let offer = |index| {
        let listed = listed.as_ref()?.as_slice().contains(&index);
        listed.then(|| feature(kvm, index)).flatten()
    };
    let masked = |index, bit, mask| {
        let value = if features & bit == 0 {
            Some(0)
        } else {
            offer(index)
        };
        (index, value.unwrap_or(0) & mask)
    };
    let mut msrs = vec![
        masked(
            MSR_IA32_ARCH_CAPABILITIES,
            CPUID_7_0_EDX_ARCH_CAPABILITIES,
            NAMED_ARCH_CAPABILITIES,
        ),
        masked(
            MSR_IA32_CORE_CAPABILITY,
            CPUID_7_0_EDX_CORE_CAPABILITY,
            u64::MAX,
        ),
    ];
    msrs.extend(offer(MSR_IA32_UCODE_REV).map(|value| (MSR_IA32_UCODE_REV, value)));
    Ok(msrs)
}

/// What the system fd says of a feature MSR; none when it does not tell (QEMU: 0).
fn feature(kvm: &Kvm, index: u32) -> Option<u64> {
    let entry = kvm_msr_entry {
        index,
        ..Default::default()
    };
    let mut list = Msrs::from_entries(&[entry]).ok()?;
    (kvm.get_msrs(&mut list).ok()? == 1)
        .then(|| list.as_slice().first().map(|entry| entry.data))
        .flatten()
}

/// 32-bit protected mode without paging, as a boot loader hands a kernel over.
pub(super) fn set_registers(vcpu: &VcpuFd) -> Result<(), Unfit> {
    let failed = |errno| Unfit::ioctl(Step::Registers, errno);
    let segment = |selector, type_| kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let mut special = vcpu.get_sregs().map_err(failed)?;
    special.cs = segment(0x08, 0xb);
    let data = segment(0x10, 0x3);
    special.ds = data;
    special.es = data;
    special.fs = data;
    special.gs = data;
    special.ss = data;
    special.cr0 = 0x11; // PE, ET
    vcpu.set_sregs(&special).map_err(failed)?;
    let registers = kvm_regs {
        rip: guest::CODE,
        rsp: guest::STACK,
        rflags: 0x2,
        ..Default::default()
    };
    vcpu.set_regs(&registers).map_err(failed)
}
