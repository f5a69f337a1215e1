//! The command line: what can be asked, and how the answer is told.

pub mod args;
pub mod ctl;
pub mod log;
mod networks;
pub mod plan;
pub mod qmp;
pub mod report;
pub mod run;
pub mod verify;
pub mod vmi_source;

use args::{Cli, Command};
use clap::Parser;

use crate::supervise::outcome::ExitCode;

/// The whole program: what this process was asked to do, and its exit code.
pub fn from_command_line() -> u8 {
    main(Cli::parse())
}

/// Does what was asked.
pub fn main(cli: Cli) -> u8 {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Supervise(args) => run::supervise(&args),
        Command::PodInit(args) => run::pod_init(&args),
        Command::Resume(args) => run::resume(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Host(args) => plan::host(&args),
        Command::Qmp(args) => qmp::qmp(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Ctl(args) => ctl::ctl(&args),
        Command::Completions(args) => {
            report::answer(&args::completions(args.shell), ExitCode::Stopped)
        }
    }
}
