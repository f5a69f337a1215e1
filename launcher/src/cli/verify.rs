//! `verify`: whether a running VM is where its placement says.

use super::args::{LogFormat, VerifyArgs};
use super::{log, qmp, report};
use crate::inspect::{InspectError, Output, Search};
use crate::supervise::outcome::ExitCode;
use crate::verify::run::{Ask, VerifyRunError, run};

/// Looks, prints on stdout, and answers with the exit code.
pub fn verify(args: &VerifyArgs) -> u8 {
    log::start(LogFormat::Text);
    let runtime = match super::plan::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return report::failure("runtime-failed", &error, ExitCode::Bug),
    };
    let ask = Ask {
        socket: args.socket.as_ref(),
        pod: args.pod.as_ref(),
        json: args.output == Output::Json,
    };
    match runtime.block_on(run(ask, &Search::default(), &mut std::io::stdout())) {
        Ok(true) => ExitCode::Stopped as u8,
        Ok(false) => ExitCode::Refused as u8,
        Err(error) => {
            let code = report::failure("verify-failed", &error, exit_code(&error));
            if let VerifyRunError::Find(error) = &error
                && let Some(hint) = InspectError::hint(error)
            {
                report::hint(hint);
            }
            code
        }
    }
}

fn exit_code(error: &VerifyRunError) -> ExitCode {
    match error {
        VerifyRunError::Find(error) => qmp::exit_code(error),
        VerifyRunError::NoPlan { .. } => ExitCode::HostUnfit,
        VerifyRunError::Connect { .. } | VerifyRunError::Verify(_) => ExitCode::QemuFailed,
        VerifyRunError::Record(_) | VerifyRunError::Fact(_) | VerifyRunError::Output(_) => {
            ExitCode::Bug
        }
    }
}
