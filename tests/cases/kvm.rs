//! `/dev/kvm` is fit only where a guest runs on it; QEMU is the second witness.

use std::process::{Command, Stdio};

use launcher::kvm::{self, Fitness, Reason, Step};
use numa::HostRoot;

/// Whether QEMU starts a machine with `-cpu host`, and what it said if not.
fn qemu_starts_with_cpu_host() -> Result<(), String> {
    use std::io::Write as _;
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-S"])
        .args([
            "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-qmp", "stdio",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs `qemu-system-x86_64`");
    let quit = b"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"quit\"}\n";
    // A QEMU that died already does not read it: its exit status tells.
    let _ = qemu.stdin.take().map(|mut stdin| stdin.write_all(quit));
    let output = qemu.wait_with_output().expect("QEMU can be waited for");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn the_probe_and_qemu_agree_on_this_machine() {
    let fitness = kvm::probe(&HostRoot::default());
    let qemu = qemu_starts_with_cpu_host();
    println!("{fitness}\nQEMU with `-cpu host`: {qemu:?}");
    match &fitness {
        Fitness::Fit => assert_eq!(qemu, Ok(())),
        Fitness::Absent | Fitness::Forbidden(_) => assert!(qemu.is_err()),
        Fitness::Unfit(unfit) => {
            // QEMU gets no further than its own set-up; what a guest does later it cannot know.
            assert_eq!(unfit.step < Step::LongMode, qemu.is_err(), "{unfit}");
            if let Reason::MsrRefused { index, value } = unfit.reason {
                let named = format!("failed to set MSR {index:#x} to {value:#x}");
                assert!(qemu.unwrap_err().contains(&named), "{named}");
            }
        }
    }
    assert_eq!(fitness.is_fit(), fitness.hint().is_none());
}

#[test]
fn the_probe_leaves_nothing_behind() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    kvm::probe(&HostRoot::default());
    let before = (open(), threads());
    let first = kvm::probe(&HostRoot::default());
    let second = kvm::probe(&HostRoot::default());
    assert_eq!((open(), threads()), before);
    assert_eq!(first, second);
}
