//! Other programs than ours: a probe that could not fail would be worth nothing.

use std::time::Duration;

use super::*;

/// A program without what `-cpu host` sets, to its end; `/dev/kvm` must be there.
fn run(program: Option<&[u8]>, patience: Duration) -> Result<(), Unfit> {
    let path = HostRoot::default().dev("kvm");
    let kvm = open(&path).expect("these tests need a `/dev/kvm` that opens");
    let mut image = guest::image();
    image.extend(program.map(|bytes| (guest::CODE, bytes.to_vec())));
    let mut machine = Machine::new(create_vm(&kvm)?, &image)?;
    cpu::set_cpuid(&kvm, machine.vcpu())?;
    cpu::set_registers(machine.vcpu())?;
    run::within(patience, machine)
}

#[test]
fn a_guest_that_never_ends_is_left() {
    let patience = Duration::from_millis(30);
    let jump_to_itself: &[u8] = &[0xeb, 0xfe];
    let halt: &[u8] = &[0xf4];
    for program in [jump_to_itself, halt] {
        let unfit = run(Some(program), patience).unwrap_err();
        assert_eq!(unfit.reason, Reason::Hung(patience), "{program:x?}");
    }
}

#[test]
fn a_wrong_answer_is_no_answer() {
    // mov eax, 1; mov edx, 0xf4; out dx, eax
    let program: &[u8] = &[0xb8, 1, 0, 0, 0, 0xba, 0xf4, 0, 0, 0, 0xef];
    let unfit = run(Some(program), run::PATIENCE).unwrap_err();
    assert_eq!(unfit.reason, Reason::WrongAnswer(1));
    assert_eq!(unfit.step, Step::LongMode);
}

#[test]
fn an_unknown_port_is_no_answer() {
    let out_0x80: &[u8] = &[0xe6, 0x80];
    let unfit = run(Some(out_0x80), run::PATIENCE).unwrap_err();
    assert!(matches!(unfit.reason, Reason::UnexpectedExit(_)), "{unfit}");
}

#[test]
fn an_exception_without_an_idt_is_a_triple_fault() {
    let undefined: &[u8] = &[0x0f, 0x0b];
    let unfit = run(Some(undefined), run::PATIENCE).unwrap_err();
    assert_eq!(unfit.reason, Reason::TripleFault);
}

/// Where MSRs are refused because KVM has no hardware below it, the program alone must find that too: it does
/// not rest on one MSR.
#[test]
fn the_program_tells_an_emulating_kvm_by_itself() {
    let alone = run(None, run::PATIENCE);
    let whole = probe(&HostRoot::default());
    println!("program alone: {alone:?}; probe: {whole}");
    match alone {
        Ok(()) => assert!(
            matches!(
                &whole,
                Fitness::Fit
                    | Fitness::Unfit(Unfit {
                        step: Step::Msrs,
                        ..
                    })
            ),
            "{whole}"
        ),
        Err(unfit) => {
            assert!(unfit.step >= Step::LongMode, "{unfit}");
            assert!(!whole.is_fit(), "{whole}");
        }
    }
}

#[test]
fn no_device_is_absent() {
    let empty = HostRoot::new("/nonexistent");
    assert_eq!(probe(&empty), Fitness::Absent);
    assert!(Fitness::Absent.hint().is_some());
}

#[test]
fn a_file_that_is_no_kvm_is_unfit() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("dev")).unwrap();
    std::fs::write(root.path().join("dev/kvm"), "").unwrap();
    let root = HostRoot::new(camino::Utf8Path::from_path(root.path()).unwrap());
    let fitness = probe(&root);
    assert!(
        matches!(
            fitness,
            Fitness::Unfit(Unfit {
                step: Step::Version,
                reason: Reason::Ioctl(Errno::ENOTTY)
            })
        ),
        "{fitness}"
    );
}
