//! `prove` takes nothing for proven: `make run` must fail where the guest's network was not seen to work.

use std::process::Output;

use anyhow::Result;
use tests::need;

fn prove(program: &[&str]) -> Result<(Option<i32>, String)> {
    need::root();
    let Output { status, stderr, .. } = std::process::Command::new(env!("CARGO_BIN_EXE_prove"))
        .args(program)
        .output()?;
    Ok((status.code(), String::from_utf8_lossy(&stderr).into_owned()))
}

#[test]
fn a_program_that_ends_well_without_a_guest_proves_nothing() -> Result<()> {
    let (code, said) = prove(&["true"])?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("before its network was proven"), "{said}");
    Ok(())
}

#[test]
fn a_programs_own_failure_is_passed_on() -> Result<()> {
    assert_eq!(prove(&["sh", "-c", "exit 5"])?.0, Some(5));
    assert_eq!(prove(&["sh", "-c", "kill -KILL $$"])?.0, Some(137));
    Ok(())
}

#[test]
fn somebody_else_than_the_guest_is_an_error_and_ends_the_program() -> Result<()> {
    let stranger = "exec 3<>/dev/tcp/198.51.100.1/8080; echo hello >&3; exec sleep 1000";
    let (code, said) = prove(&["bash", "-c", stranger])?;
    assert!(
        said.contains("is not the demo guest: it said `hello`"),
        "{said}"
    );
    assert_eq!(code, Some(143), "{said}");
    Ok(())
}
