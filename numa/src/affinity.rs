//! Binds threads to CPUs and reads back what the kernel made of it.
#![expect(
    unsafe_code,
    reason = "libc's and nix's `cpu_set_t` stop at 1024 CPUs; the system calls themselves do not"
)]

use std::mem::size_of_val;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::cpuset::CpuSet;

/// A thread's number, as the kernel counts them in our PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tid(pub i32);

impl Tid {
    /// The thread that asks.
    pub fn current() -> Self {
        Self(nix::unistd::gettid().as_raw())
    }
}

/// A thread that is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AffinityError {
    /// The thread has ended, or never was.
    #[error("there is no thread {}", .0.0)]
    NoThread(Tid),
    /// It is another user's.
    #[error("thread {} may not be moved", .0.0)]
    Forbidden(Tid),
    /// None of the CPUs is online and in the thread's cpuset.
    #[error("thread {} may use none of the CPUs `{cpus}`", .tid.0)]
    NoneUsable {
        /// The thread.
        tid: Tid,
        /// What was asked.
        cpus: CpuSet,
    },
    /// The kernel left out what it could not give.
    #[error("thread {} was to run on `{wanted}`, but runs on `{got}`", .tid.0)]
    Differs {
        /// The thread.
        tid: Tid,
        /// What was asked.
        wanted: CpuSet,
        /// What the kernel says.
        got: CpuSet,
    },
    /// Any other answer.
    #[error("the affinity of thread {} cannot be had: {errno}", .tid.0)]
    Kernel {
        /// The thread.
        tid: Tid,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// Bits of one word of the kernel's mask, which is an array of `unsigned long`.
const WORD_BITS: usize = u64::BITS as usize;
/// Words of a mask for `CONFIG_NR_CPUS` of 8192, the most that Linux can be built for.
const MOST_WORDS: usize = 8192 / WORD_BITS;

/// Binds `tid` to `cpus` and reads back that it is so.
pub fn bind(tid: Tid, cpus: &CpuSet) -> Result<(), AffinityError> {
    set(tid, cpus)?;
    let got = get(tid)?;
    if got == *cpus {
        return Ok(());
    }
    Err(AffinityError::Differs {
        tid,
        wanted: cpus.clone(),
        got,
    })
}

/// Binds `tid` to those of `cpus` that it may use: `sched_setaffinity(2)`.
pub fn set(tid: Tid, cpus: &CpuSet) -> Result<(), AffinityError> {
    let words = mask(cpus);
    // SAFETY: the kernel reads as many bytes as we say, and they are the vector's own; it keeps no pointer. The
    // wrappers of libc and nix take a fixed `cpu_set_t` of 1024 bits.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            tid.0,
            size_of_val(words.as_slice()),
            words.as_ptr(),
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(Errno::EINVAL) => Err(AffinityError::NoneUsable {
            tid,
            cpus: cpus.clone(),
        }),
        Err(errno) => Err(AffinityError::of(tid, errno)),
    }
}

/// The CPUs that `tid` may run on: `sched_getaffinity(2)`.
pub fn get(tid: Tid) -> Result<CpuSet, AffinityError> {
    let mut words = [0_u64; MOST_WORDS];
    // SAFETY: the kernel writes at most as many bytes as we say, and they are the array's own; any bits are a
    // valid u64. As above for why no wrapper serves.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            tid.0,
            size_of_val(&words),
            words.as_mut_ptr(),
        )
    };
    Errno::result(result).map_err(|errno| AffinityError::of(tid, errno))?;
    Ok(set_of(&words))
}

impl AffinityError {
    fn of(tid: Tid, errno: Errno) -> Self {
        match errno {
            Errno::ESRCH => Self::NoThread(tid),
            Errno::EPERM => Self::Forbidden(tid),
            errno => Self::Kernel { tid, errno },
        }
    }
}

/// One bit a CPU, as many words as the highest needs.
fn mask(cpus: &CpuSet) -> Vec<u64> {
    let mut words = Vec::new();
    for cpu in cpus.iter().filter_map(|cpu| usize::try_from(cpu).ok()) {
        words.resize(words.len().max(cpu / WORD_BITS + 1), 0);
        words[cpu / WORD_BITS] |= 1 << (cpu % WORD_BITS);
    }
    words
}

fn set_of(words: &[u64]) -> CpuSet {
    let bits = words
        .iter()
        .flat_map(|word| (0..u64::BITS).map(move |bit| word >> bit & 1));
    (0..)
        .zip(bits)
        .filter(|(_, bit)| *bit == 1)
        .map(|(cpu, _)| cpu)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_go_beyond_1024() {
        for list in ["", "0", "63-64", "0-3,1023-1024,8191"] {
            let cpus: CpuSet = list.parse().unwrap();
            assert_eq!(set_of(&mask(&cpus)), cpus);
        }
        assert_eq!(mask(&"1024".parse().unwrap()).len(), 17);
    }

    #[test]
    fn a_thread_is_bound_and_read_back() {
        let tid = Tid::current();
        let mine = get(tid).unwrap();
        let one = CpuSet::from_iter(mine.iter().next());
        bind(tid, &one).unwrap();
        assert_eq!(get(tid).unwrap(), one);
        bind(tid, &mine).unwrap();
    }

    #[test]
    fn what_the_kernel_leaves_out_is_told() {
        let tid = Tid::current();
        let mine = get(tid).unwrap();
        let absent: CpuSet = "8191".parse().unwrap();
        assert_eq!(
            set(tid, &absent),
            Err(AffinityError::NoneUsable {
                tid,
                cpus: absent.clone()
            })
        );
        let wanted = mine.union(&absent);
        assert_eq!(
            bind(tid, &wanted),
            Err(AffinityError::Differs {
                tid,
                wanted,
                got: mine
            })
        );
        assert!(set(tid, &CpuSet::new()).is_err());
    }

    #[test]
    fn no_such_thread() {
        // Above the highest `pid_max`.
        let tid = Tid(1 << 23);
        assert_eq!(get(tid), Err(AffinityError::NoThread(tid)));
        let one = CpuSet::from_iter([0]);
        assert_eq!(set(tid, &one), Err(AffinityError::NoThread(tid)));
    }
}
