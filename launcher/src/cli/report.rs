//! Failures, as people and machines are told them.

use std::error::Error;
use std::io::{self, Write};

use serde_json::json;

use super::args::LogFormat;
use crate::causes::chain;
use crate::refusal::{Notice, Refusal};
use crate::supervise::outcome::ExitCode;

/// Tells a failure on stderr; the answer is the exit code.
pub fn failure(event: &'static str, error: &(dyn Error + 'static), code: ExitCode) -> u8 {
    tracing::error!(event, exit_code = code as u8, "{}", chain(error));
    code as u8
}

/// Tells what to do about the failure told before, on stderr.
pub fn hint(hint: &str) {
    tracing::error!(event = "hint", "{hint}");
}

/// Tells every violation on stderr, and what else was found.
pub fn refusal(refusal: &Refusal) -> u8 {
    for violation in &refusal.violations {
        tracing::error!(
            event = "refused",
            path = violation.path,
            hint = violation.hint,
            "{violation}"
        );
    }
    notices(&refusal.notices);
    ExitCode::Refused as u8
}

/// Tells every notice on stderr.
pub fn notices(notices: &[Notice]) {
    for notice in notices {
        tracing::warn!(
            event = "notice",
            path = notice.path,
            "{}: {}",
            notice.path,
            notice.message
        );
    }
}

/// A refusal on stdout, in the shape that `plan` documents.
pub fn refused_plan(refused: &Refusal, output: LogFormat) -> u8 {
    match output {
        LogFormat::Text => refusal(refused),
        LogFormat::Json => {
            let text = format!("{:#}\n", json!(refused));
            answer(&text, ExitCode::Refused)
        }
    }
}

/// Prints a command's answer; the answer to it is the exit code.
pub fn answer(text: &str, code: ExitCode) -> u8 {
    match printed(text, &mut io::stdout().lock()) {
        Ok(()) => code as u8,
        Err(error) => failure("answer-not-printed", &error, ExitCode::Bug),
    }
}

/// A reader that went away, as `head` does, has read enough: that is no failure.
fn printed(text: &str, out: &mut impl Write) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_left_has_read_enough() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        drop(reader);
        printed("answer", &mut writer).expect("nobody wants it");
        let mut full = std::fs::File::options();
        let mut full = full.write(true).open(numa::HostRoot::default().dev("full"));
        let error = printed("answer", full.as_mut().expect("it is everywhere"));
        assert_eq!(
            error.expect_err("no space").kind(),
            io::ErrorKind::StorageFull
        );
    }
}
