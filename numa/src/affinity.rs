//! Binds threads to CPUs and reads back what the kernel made of it.
#![expect(
    unsafe_code,
    reason = "libc's and nix's `cpu_set_t` stop at 1024 CPUs; the system calls themselves do not"
)]

use std::mem::size_of_val;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::allowed::LIST;
use crate::cpuset::CpuSet;
use crate::file;
use crate::root::HostRoot;

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
    /// Some of the CPUs are offline, or do not exist.
    #[error("thread {} was to run on `{wanted}`, of which `{offline}` are not online{}", .tid.0, also_outside(.outside))]
    Offline {
        /// The thread.
        tid: Tid,
        /// What was asked.
        wanted: CpuSet,
        /// Those not online.
        offline: CpuSet,
        /// Those that are online, and not in the thread's cpuset.
        outside: CpuSet,
    },
    /// Some of the CPUs are online, and not in the thread's cpuset.
    #[error("thread {} was to run on `{wanted}`, of which `{outside}` are not in its cpuset", .tid.0)]
    NotInCpuset {
        /// The thread.
        tid: Tid,
        /// What was asked.
        wanted: CpuSet,
        /// Those outside.
        outside: CpuSet,
    },
    /// None of the CPUs is online and in the thread's cpuset.
    #[error("thread {} may use none of the CPUs `{cpus}`", .tid.0)]
    NoneUsable {
        /// The thread.
        tid: Tid,
        /// What was asked.
        cpus: CpuSet,
    },
    /// The kernel left something out, or somebody moved the thread since.
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

fn also_outside(outside: &CpuSet) -> String {
    if outside.is_empty() {
        String::new()
    } else {
        format!(", and `{outside}` are not in its cpuset")
    }
}

/// Binds `tid` to `cpus` and reads back that it is so. Where the kernel leaves some of them out, the thread runs on
/// the others, and the error tells those that were left out by what they lack.
pub fn bind(tid: Tid, cpus: &CpuSet) -> Result<(), AffinityError> {
    let got = match set(tid, cpus) {
        Ok(()) => get(tid)?,
        Err(AffinityError::NoneUsable { .. }) => CpuSet::new(),
        Err(error) => return Err(error),
    };
    if got == *cpus && !got.is_empty() {
        return Ok(());
    }
    // What is online only explains the failure: where it cannot be read, the failure stands unexplained.
    let online = HostRoot::default().sys("devices/system/cpu/online");
    let online = file::value(&online, LIST).ok().flatten();
    Err(unlike(tid, cpus, got, online.as_ref()))
}

/// Why a thread that was to run on `wanted` got something else: the kernel gives what is online and in the thread's
/// cpuset (`__sched_setaffinity`).
fn unlike(tid: Tid, wanted: &CpuSet, got: CpuSet, online: Option<&CpuSet>) -> AffinityError {
    let wanted = wanted.clone();
    let left_out = wanted.difference(&got);
    match online {
        Some(online) if !left_out.is_empty() => {
            let offline = left_out.difference(online);
            let outside = left_out.intersection(online);
            if offline.is_empty() {
                AffinityError::NotInCpuset {
                    tid,
                    wanted,
                    outside,
                }
            } else {
                AffinityError::Offline {
                    tid,
                    wanted,
                    offline,
                    outside,
                }
            }
        }
        _ if got.is_empty() => AffinityError::NoneUsable { tid, cpus: wanted },
        _ => AffinityError::Differs { tid, wanted, got },
    }
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
        let error = AffinityError::Offline {
            tid,
            wanted: wanted.clone(),
            offline: absent.clone(),
            outside: CpuSet::new(),
        };
        assert_eq!(bind(tid, &wanted), Err(error));
        assert!(matches!(
            bind(tid, &absent),
            Err(AffinityError::Offline { offline, .. }) if offline == absent
        ));
        assert_eq!(get(tid).unwrap(), mine);
        assert!(matches!(
            bind(tid, &CpuSet::new()),
            Err(AffinityError::NoneUsable { .. })
        ));
    }

    #[test]
    fn what_was_left_out_is_told_by_what_it_lacks() {
        let set = |text: &str| text.parse::<CpuSet>().unwrap();
        let told = |wanted, got, online: Option<&str>| {
            let online = online.map(set);
            unlike(Tid(7), &set(wanted), set(got), online.as_ref()).to_string()
        };
        assert_eq!(
            told("1-4", "1", Some("0-3")),
            "thread 7 was to run on `1-4`, of which `4` are not online, and `2-3` are not in its cpuset"
        );
        assert_eq!(
            told("1-2", "", Some("0-3")),
            "thread 7 was to run on `1-2`, of which `1-2` are not in its cpuset"
        );
        assert_eq!(
            told("1-2", "1", None),
            "thread 7 was to run on `1-2`, but runs on `1`"
        );
        // Somebody gave it more since.
        assert_eq!(
            told("1", "1-2", Some("0-3")),
            "thread 7 was to run on `1`, but runs on `1-2`"
        );
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
