//! VMIs as people write them: what is wrong is said at once and in full, and what is right is accepted.
//!
//! Each file of `refusals/` has the refusal it gets as a snapshot beside it, each of `accepted/` its notices.

use std::fmt::Write;
use std::path::Path;

use insta::{Settings, assert_snapshot, glob};
use launcher::refusal::{Notice, Refusal};
use launcher::spec::Spec;
use launcher::vmi;

fn outcome(path: &Path) -> Result<(Spec, Vec<Notice>), Refusal> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Spec::from_vmi(&vmi::read(&text)?)
}

fn beside(folder: &str) -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path(format!("{folder}/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// One violation on three lines, as it is read by somebody who corrects a file; notices on two.
fn in_full(refusal: &Refusal) -> String {
    let mut text = String::new();
    for violation in &refusal.violations {
        writeln!(
            text,
            "{}\n    {}\n    -> {}",
            violation.path, violation.message, violation.hint
        )
        .expect("strings take writes");
    }
    for notice in &refusal.notices {
        writeln!(text, "{}\n    {}", notice.path, notice.message).expect("strings take writes");
    }
    text
}

#[test]
fn bad_vmis_are_refused_in_full() {
    beside("refusals").bind(|| {
        glob!("refusals/*.[yj]*", |path| {
            match outcome(path) {
                Ok(_) => panic!("{} was accepted", path.display()),
                Err(refusal) => assert_snapshot!("refused", in_full(&refusal)),
            }
        });
    });
}

#[test]
fn vmis_as_found_in_the_wild_are_accepted() {
    beside("accepted").bind(|| {
        glob!("accepted/*.[yj]*", |path| {
            match outcome(path) {
                Ok((_, notices)) => {
                    let lines: Vec<_> = notices
                        .iter()
                        .map(|notice| format!("{}\n    {}", notice.path, notice.message))
                        .collect();
                    assert_snapshot!("noticed", lines.join("\n"));
                }
                Err(refusal) => panic!("{} was refused:\n{refusal}", path.display()),
            }
        });
    });
}

/// Every violation tells its reader where, what and what to do, in the form that all of ours have.
#[test]
fn every_refusal_is_complete_and_in_form() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/refusals");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of cases") {
        let path = entry.expect("an entry").path();
        if !path.is_file() {
            continue;
        }
        files += 1;
        let refusal = outcome(&path).expect_err("it is in the folder of refusals");
        assert!(!refusal.violations.is_empty(), "{}", path.display());
        for violation in refusal.violations {
            let (message, hint) = (&violation.message, &violation.hint);
            assert!(
                !violation.path.is_empty() && !message.is_empty() && !hint.is_empty(),
                "{violation}"
            );
            assert!(
                !message.ends_with('.') && !hint.ends_with('.'),
                "{violation}"
            );
            assert!(
                !message.contains('\n') && !hint.contains('\n'),
                "{violation}"
            );
        }
    }
    assert!(files >= 40, "{files} cases");
}
