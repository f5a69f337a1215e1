//! `ctl`: does something with a running VM.

use super::args::LogFormat;
use super::{log, report};
use crate::ctl::{self, CtlArgs, CtlError};
use crate::inspect::{InspectError, Search};
use crate::supervise::outcome::ExitCode;

/// Asks, prints on stdout, and answers with the exit code.
pub fn ctl(args: &CtlArgs) -> u8 {
    log::start(LogFormat::Text);
    let runtime = match super::plan::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return report::failure("runtime-failed", &error, ExitCode::Bug),
    };
    let search = Search::default();
    let mut out = std::io::stdout();
    let result = runtime.block_on(ctl::run(args, &search, &mut out));
    // A read of the terminal that is still under way must not hold the exit.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            let code = report::failure("ctl-failed", &error, exit_code(&error));
            if let Some(hint) = error.hint() {
                report::hint(hint);
            }
            code
        }
    }
}

/// 1 for whatever the VM, QEMU or the guest said no to, as virt-probe has it.
fn exit_code(error: &CtlError) -> ExitCode {
    match error {
        CtlError::Find(InspectError::Several { .. }) => ExitCode::Usage,
        CtlError::Find(_) | CtlError::Connect { .. } | CtlError::NoSupervisor { .. } => {
            ExitCode::HostUnfit
        }
        _ => ExitCode::Bug,
    }
}
