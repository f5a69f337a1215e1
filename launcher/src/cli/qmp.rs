//! `qmp`: looks into a running VM.

use super::args::LogFormat;
use super::{log, report};
use crate::inspect::{self, InspectArgs, InspectError, Search};
use crate::supervise::outcome::ExitCode;

/// Asks, prints on stdout, and answers with the exit code.
pub fn qmp(args: &InspectArgs) -> u8 {
    log::start(LogFormat::Text);
    let runtime = match super::plan::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return report::failure("runtime-failed", &error, ExitCode::Bug),
    };
    let search = Search::default();
    let mut out = std::io::stdout();
    match runtime.block_on(inspect::run(args, &search, &mut out)) {
        Ok(()) => ExitCode::Stopped as u8,
        Err(error) => {
            let code = report::failure("qmp-failed", &error, exit_code(&error));
            if let Some(hint) = error.hint() {
                report::hint(hint);
            }
            code
        }
    }
}

pub(super) fn exit_code(error: &InspectError) -> ExitCode {
    match error {
        InspectError::Several { .. }
        | InspectError::Arguments { .. }
        | InspectError::Misuse(_)
        | InspectError::NotReadOnly { .. }
        | InspectError::UnknownName { .. } => ExitCode::Usage,
        InspectError::NoVm { .. } | InspectError::Closed { .. } => ExitCode::HostUnfit,
        InspectError::Connect { .. } | InspectError::Execute(_) | InspectError::Schema(_) => {
            ExitCode::QemuFailed
        }
        InspectError::Ended(_) => ExitCode::ControlLost,
        InspectError::Output(_) | InspectError::Signal(_) => ExitCode::Bug,
    }
}
