//! `default_seccomp PROGRAM ARGS...`: becomes the program under what the default profile of containerd and Docker leaves to
//! a container without further capabilities (on x86-64, as of 2026).
//!
//! The profile lists what it allows; here stands what it does not, of the calls that there are, which is shorter. Later
//! calls are refused as there. The process must have `no_new_privs`, or be privileged.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// The last call that the profile knows (`mseal`).
const LAST: i64 = libc::SYS_mseal;

/// What takes CAP_SYS_NICE: the calls that this is about.
const NUMA: [i64; 6] = [
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];

/// What takes another capability, or is given to no container.
const REFUSED: [i64; 55] = [
    libc::SYS__sysctl,
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_afs_syscall,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_getpmsg,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_putpmsg,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_sysfs,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_uselib,
    libc::SYS_userfaultfd,
    libc::SYS_ustat,
    libc::SYS_vhangup,
];

/// New namespaces, as `clone` is asked for them.
const NAMESPACES: u64 = 0x7e02_0000;
/// Answers of `personality` that are harmless (`PER_LINUX32`, `UNAME26`, and asking).
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Families of sockets that reach out of a container.
const FAMILIES: [i32; 2] = [libc::AF_ALG, libc::AF_VSOCK];

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("default_seccomp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<std::convert::Infallible> {
    let mut args = std::env::args_os().skip(1);
    let program = args
        .next()
        .context("usage: default_seccomp PROGRAM ARGS...")?;
    apply(
        allowed()?,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        SeccompAction::Allow,
    )?;
    // Its flags lie in memory, where no filter looks: libc is to fall back to `clone`.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(
        clone3,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
    )?;
    Err(Command::new(&program).args(args).exec())
        .with_context(|| format!("cannot become `{}`", program.display()))
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Every call that is there, less those refused; three of them only with some arguments.
fn allowed() -> Result<Rules> {
    let mut rules: Rules = (0..=LAST).map(|call| (call, Vec::new())).collect();
    for call in NUMA.iter().chain(&REFUSED) {
        rules.remove(call);
    }
    let first =
        |op, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value).map(|it| vec![it]);
    let no_namespace = first(SeccompCmpOp::MaskedEq(NAMESPACES), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(no_namespace)?]);
    let mut personalities = Vec::new();
    for value in PERSONALITIES {
        personalities.push(SeccompRule::new(first(SeccompCmpOp::Eq, value)?)?);
    }
    rules.insert(libc::SYS_personality, personalities);
    let mut others = Vec::new();
    for family in FAMILIES {
        others.extend(first(SeccompCmpOp::Ne, u64::try_from(family)?)?);
    }
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(others)?]);
    Ok(rules)
}

fn apply(rules: Rules, otherwise: SeccompAction, then: SeccompAction) -> Result<()> {
    let filter = SeccompFilter::new(rules, otherwise, then, TargetArch::x86_64)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}
