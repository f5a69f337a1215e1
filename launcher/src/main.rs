//! The program: a thin edge around [`launcher`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(launcher::cli::from_command_line())
}
