//! Runs the program to its answer, and no longer than [`PATIENCE`].
//!
//! Only a signal gets a thread out of `KVM_RUN`. So the vCPU has a thread of its own; when time is up the caller
//! signals it until it is gone: one signal that comes just before the ioctl is lost, the next one is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use kvm_ioctls::VcpuExit;
use nix::errno::Errno;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler, unblock_signal};

use super::machine::Machine;
use super::{Reason, Step, Unfit, errno, guest};

/// A healthy KVM needs well below a millisecond; one nested in an emulated machine, tens of them.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How soon the next signal follows a lost one.
const AGAIN: Duration = Duration::from_millis(2);

extern "C" fn interrupt(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// The guest's verdict, after `patience` at the latest.
pub(super) fn within(patience: Duration, mut machine: Machine) -> Result<(), Unfit> {
    let unable = |errno: vmm_sys_util::errno::Error| Unfit {
        step: Step::LongMode,
        reason: Reason::Probe(Errno::from_raw(errno.errno())),
    };
    register_signal_handler(SIGRTMIN(), interrupt).map_err(unable)?;
    let late = Arc::new(AtomicBool::new(false));
    let (verdict, arrived) = mpsc::channel();
    let vcpu = {
        let late = Arc::clone(&late);
        thread::Builder::new()
            .name("kvm probe".to_owned())
            .spawn(move || {
                // The caller may hold every signal back, and a thread inherits that.
                let unblocked = unblock_signal(SIGRTMIN()).map_err(|_| Unfit {
                    step: Step::LongMode,
                    reason: Reason::Probe(Errno::EINVAL),
                });
                let answer = unblocked.and_then(|()| enter(&mut machine, &late, patience));
                drop(machine);
                // The caller waits for it; were it gone, nobody would want the answer.
                let _ = verdict.send(answer);
            })
            .map_err(|error| Unfit {
                step: Step::LongMode,
                reason: Reason::Probe(Errno::from_raw(
                    error.raw_os_error().unwrap_or(libc::EAGAIN),
                )),
            })?
    };
    let mut wait = patience;
    loop {
        match arrived.recv_timeout(wait) {
            Ok(answer) => {
                // It sent its answer last: there is nothing left of it to fail.
                let _ = vcpu.join();
                return answer;
            }
            Err(RecvTimeoutError::Timeout) => {
                late.store(true, Ordering::Relaxed);
                vcpu.kill(SIGRTMIN()).map_err(unable)?;
                wait = AGAIN;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Unfit {
                    step: Step::LongMode,
                    reason: Reason::Probe(Errno::ESRCH),
                });
            }
        }
    }
}

/// Enters the guest again after each signal, until it leaves by itself or it is `late`.
fn enter(machine: &mut Machine, late: &AtomicBool, patience: Duration) -> Result<(), Unfit> {
    loop {
        if late.load(Ordering::Relaxed) {
            return Err(machine.stopped(Reason::Hung(patience)));
        }
        let reason = match machine.vcpu().run() {
            Ok(VcpuExit::IoOut(guest::PORT, data)) => {
                let answer = data.try_into().map_or(0, u32::from_le_bytes);
                if answer == guest::GOOD {
                    return Ok(());
                }
                Reason::WrongAnswer(answer)
            }
            Ok(VcpuExit::InternalError) => Reason::Internal(machine.suberror()),
            Ok(VcpuExit::FailEntry(reason, _)) => Reason::EntryFailed(reason),
            Ok(VcpuExit::Shutdown) => Reason::TripleFault,
            Ok(VcpuExit::Intr) => continue,
            Ok(other) => Reason::UnexpectedExit(format!("{other:?}")),
            Err(error) => match errno(error) {
                Errno::EINTR | Errno::EAGAIN => continue,
                errno => Reason::Ioctl(errno),
            },
        };
        return Err(machine.stopped(reason));
    }
}
