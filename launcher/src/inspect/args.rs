//! The command line of `virt-launcher qmp`.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};

/// Which VM, what to show of it, and how.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A QMP socket: a supervisor's, or any QEMU's. Without it and --pod the one VM that runs here is meant
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "pod")]
    pub socket: Option<Utf8PathBuf>,
    /// A local run: its directory, or its VM as NAMESPACE_NAME; or the root of a pod
    #[arg(long, value_name = "DIR", global = true)]
    pub pod: Option<Utf8PathBuf>,
    /// Let `exec` run commands that change something
    #[arg(long, global = true)]
    pub allow_write: bool,
    /// Tables for people, or JSON for machines
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    pub output: Output,
    /// What to show.
    #[command(subcommand)]
    pub subject: Subject,
}

/// How to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns.
    Table,
    /// One JSON value: an object from each QMP command that was asked to QEMU's answer.
    Json,
}

/// What to show.
#[derive(Debug, Clone, Subcommand)]
pub enum Subject {
    /// Run state, name, machine and version
    Status,
    /// vCPUs: thread, socket, core, guest node
    Cpus,
    /// Memory: size, balloon, backends, devices
    Memory,
    /// Disks: image, format, what was read and written
    Block,
    /// PCI devices and where they sit
    Pci,
    /// NICs: MAC address, backend, filters
    Net,
    /// I/O threads
    Iothreads,
    /// Migration: state, parameters, capabilities
    Migration,
    /// Follow events until interrupted
    Events,
    /// Run one QMP command, checked against this QEMU's schema first
    Exec {
        /// The command, as `query-status`
        command: String,
        /// Its arguments, a JSON object
        #[arg(value_name = "ARGS-JSON")]
        arguments: Option<String>,
    },
    /// Print the names of all commands and events, one a line, or what one of them takes
    Schema {
        /// A command or an event
        name: Option<String>,
    },
}
