//! The command line of `virt-launcher ctl`.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// Which VM, and what to do with it.
#[derive(Debug, Clone, Args)]
pub struct CtlArgs {
    /// A supervisor's control socket. Without it and --pod the one VM that runs here is meant
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "pod")]
    pub socket: Option<Utf8PathBuf>,
    /// A local run: its directory, or its VM as NAMESPACE_NAME; or the root of a pod
    #[arg(long, value_name = "DIR", global = true)]
    pub pod: Option<Utf8PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub operation: Operation,
}

/// What to do. Doing it twice is doing it once: `changed` in the answer tells.
#[derive(Debug, Clone, Subcommand)]
pub enum Operation {
    /// Print state, reason, process ids, restarts, placement, interfaces
    Status,
    /// Stop the vCPUs
    Pause,
    /// Let the vCPUs run; the decision that an I/O error or the watchdog waits for
    Unpause,
    /// Ask the guest to power off, by agent, then by power button; by force when its grace period is over
    Shutdown,
    /// Ask the guest to reboot, by agent or by power button and reset
    SoftReboot,
    /// Reset the machine under the guest
    Reset,
    /// End QEMU now
    Kill,
    /// Freeze the guest's file systems
    Freeze {
        /// Thaw them by themselves after so long; 0: never
        #[arg(long, value_name = "SECONDS", default_value_t = 300)]
        thaw_after: u64,
    },
    /// Thaw the guest's file systems
    Thaw,
    /// Save what the guest's screen shows, as PNG
    Screenshot {
        /// Where
        file: Utf8PathBuf,
    },
    /// Write the guest's memory as an ELF core; it stands still meanwhile
    MemoryDump {
        /// Where, as the pod sees it; the file must not exist
        file: Utf8PathBuf,
    },
    /// Show the serial console and type into it; Ctrl-] leaves. Many may look, one may type
    Console {
        /// Only look
        #[arg(long)]
        read_only: bool,
    },
    /// Wait until the VM is in a state
    Wait {
        /// Which
        #[arg(value_enum)]
        state: Awaited,
        /// Give up after so long; 0: never
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        timeout: u64,
    },
    /// Run a command in the guest, through its agent; its exit code is ours
    Exec {
        /// End it after so long
        #[arg(long, value_name = "SECONDS", default_value_t = 10)]
        timeout: u64,
        /// The program
        command: String,
        /// Its arguments, after `--`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Let another program take the place of the VM's PID 1 and supervisor; the guest runs on
    Upgrade {
        /// Which; without it this very program
        #[arg(long, value_name = "FILE")]
        program: Option<Utf8PathBuf>,
    },
    /// Ask whether the guest agent answers; exit code 1 if it does not
    Ping,
}

/// States to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Awaited {
    /// vCPUs run
    Running,
    /// vCPUs stand still
    Paused,
    /// QEMU is gone
    Ended,
    /// The guest agent is connected
    Agent,
}

impl Operation {
    /// The supervisor's command for it.
    pub(super) fn command(&self) -> (&'static str, Value) {
        let plain = match self {
            Self::Status => "status",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Shutdown => "shutdown",
            Self::SoftReboot => "soft-reboot",
            Self::Reset => "reset",
            Self::Kill => "kill",
            Self::Freeze { thaw_after } => {
                return ("freeze", json!({"thaw-after-seconds": thaw_after}));
            }
            Self::Thaw => "thaw",
            Self::MemoryDump { file } => return ("memory-dump", json!({"file": file})),
            Self::Ping => "ping",
            // Of more than one command.
            Self::Screenshot { .. } => "screenshot",
            Self::Console { .. } | Self::Wait { .. } => "status",
            Self::Exec { .. } => "exec",
            Self::Upgrade { .. } => "upgrade",
        };
        (plain, Value::Null)
    }
}
