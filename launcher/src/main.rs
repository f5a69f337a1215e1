//! The program: a thin edge around [`launcher`].

use std::process::ExitCode;

use clap::Parser;
use launcher::cli::{self, args::Cli};

fn main() -> ExitCode {
    ExitCode::from(cli::main(Cli::parse()))
}
