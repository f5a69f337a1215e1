//! A VM of one vCPU and a few pages, memory and VM held together: the one place that hands the kernel a pointer.
#![expect(
    unsafe_code,
    reason = "KVM_SET_USER_MEMORY_REGION takes the address of memory that must outlive the VM; no crate wraps that safely"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{VcpuFd, VmFd};

use super::{Reason, Step, Unfit, guest};

const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;

/// Memory that the guest changes behind our back, hence atomics.
#[repr(align(4096))]
struct Page([AtomicU64; WORDS]);

/// Guest memory at one guest-physical address.
struct Region {
    address: u64,
    pages: Box<[Page]>,
}

/// The probe's VM. Fields fall in this order: what can touch the memory goes before it does.
pub(super) struct Machine {
    vcpu: VcpuFd,
    _vm: VmFd,
    memory: Vec<Region>,
}

impl Machine {
    /// Gives `vm` memory with `image` in it (addresses are multiples of 8), and one vCPU.
    pub(super) fn new(vm: VmFd, image: &[(u64, Vec<u8>)]) -> Result<Self, Unfit> {
        let memory: Vec<Region> = guest::MEMORY.map(Region::new).into();
        for (address, bytes) in image {
            write(&memory, *address, bytes);
        }
        for (slot, region) in (0..).zip(&memory) {
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.address,
                memory_size: (region.pages.len() * PAGE) as u64,
                userspace_addr: region.pages.as_ptr().addr() as u64,
            };
            // SAFETY: the region is whole, aligned pages of a boxed slice that never moves; `Machine` drops the
            // vCPU and the VM before it, and gives neither away; the pages are atomics, so that a guest's write is
            // no data race. The ioctl keeps a bare address, which no reference can express.
            unsafe { vm.set_user_memory_region(region) }
                .map_err(|errno| Unfit::ioctl(Step::Memory, errno))?;
        }
        let vcpu = vm
            .create_vcpu(0)
            .map_err(|errno| Unfit::ioctl(Step::Vcpu, errno))?;
        Ok(Self {
            vcpu,
            _vm: vm,
            memory,
        })
    }

    /// Its only vCPU.
    pub(super) fn vcpu(&mut self) -> &mut VcpuFd {
        &mut self.vcpu
    }

    /// The part of the program that the guest noted last.
    pub(super) fn part(&self) -> u64 {
        word(&self.memory, guest::STEP).map_or(0, |word| word.load(Ordering::Relaxed) & 0xffff_ffff)
    }

    /// Why KVM gave up, after an exit of `KVM_EXIT_INTERNAL_ERROR`.
    pub(super) fn suberror(&mut self) -> u32 {
        let exit = &self.vcpu.get_kvm_run().__bindgen_anon_1;
        // SAFETY: the kernel filled this member for this exit; it is plain integers in the shared page, so that
        // any bytes are a value. The crate hands the exit over without its suberror.
        unsafe { exit.internal.suberror }
    }

    /// The vCPU left the guest for `reason` while it ran the part that it noted.
    pub(super) fn stopped(&self, reason: Reason) -> Unfit {
        Unfit {
            step: Step::of_part(self.part()),
            reason,
        }
    }
}

impl Region {
    fn new((address, length): (u64, usize)) -> Self {
        let page = |_| Page([const { AtomicU64::new(0) }; WORDS]);
        Self {
            address,
            pages: (0..length / PAGE).map(page).collect(),
        }
    }
}

/// The eight bytes at `address`, which is a multiple of 8; none outside memory.
fn word(memory: &[Region], address: u64) -> Option<&AtomicU64> {
    memory.iter().find_map(|region| {
        let at = usize::try_from(address.checked_sub(region.address)? / 8).ok()?;
        region.pages.get(at / WORDS)?.0.get(at % WORDS)
    })
}

/// Puts `bytes` at `address`, a multiple of 8.
fn write(memory: &[Region], address: u64, bytes: &[u8]) {
    for (at, chunk) in (address..).step_by(8).zip(bytes.chunks(8)) {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        if let Some(word) = word(memory, at) {
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
    }
}
