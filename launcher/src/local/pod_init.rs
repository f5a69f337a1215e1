//! What happens in the new namespaces before the pod's PID 1 is executed: mounts, host name, NIC.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::mounts::{self, MountError, PodDirs};
use crate::net::error::NetError;
use crate::net::veth::{self, PodNic};
use crate::net::wire::{self, Wire};

/// The outer process tells the new PID 1 what it is to be, once the NIC is there.
#[derive(Debug, Serialize, Deserialize)]
pub struct PodInit {
    /// Directories to mount.
    pub dirs: PodDirs,
    /// `uname -n` in the pod.
    pub hostname: String,
    /// The NIC that waits in this network namespace.
    pub nic: PodNic,
    /// The other networks' links that wait there too.
    pub wires: Vec<Wire>,
    /// This program and the arguments with which it is a pod's PID 1.
    pub argv: Vec<String>,
}

/// The pod could not be furnished.
#[derive(Debug, thiserror::Error)]
pub enum PodInitError {
    /// The outer process is gone, or said something else.
    #[error("the local run's outer process ended before the pod was ready")]
    Outer(#[source] io::Error),
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The host name was refused.
    #[error("cannot name the pod `{name}`")]
    Hostname {
        /// What was wanted.
        name: String,
        /// Why.
        #[source]
        source: nix::errno::Errno,
    },
    /// The NIC could not be brought up.
    #[error("cannot bring up the pod's NIC")]
    Nic(#[source] NetError),
    /// A system call failed.
    #[error("cannot {what}")]
    System {
        /// In words.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Furnishes the pod and becomes its PID 1; returns only on failure.
pub fn run(from_outer: OwnedFd) -> PodInitError {
    match furnish(from_outer) {
        Ok(argv) => {
            let mut command = Command::new("/proc/self/exe");
            command.args(argv.get(1..).unwrap_or_default());
            PodInitError::System {
                what: "execute the pod's PID 1",
                source: command.exec(),
            }
        }
        Err(error) => error,
    }
}

fn furnish(from_outer: OwnedFd) -> Result<Vec<String>, PodInitError> {
    let system = |what| {
        move |errno: nix::errno::Errno| PodInitError::System {
            what,
            source: errno.into(),
        }
    };
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(system("bind the pod's life to the outer process's"))?;
    // An outer process that died before that took effect has closed its end: the read below says so.
    let mut text = String::new();
    File::from(from_outer)
        .read_to_string(&mut text)
        .map_err(PodInitError::Outer)?;
    let init: PodInit =
        serde_json::from_str(&text).map_err(|error| PodInitError::Outer(error.into()))?;
    nix::unistd::setsid().map_err(system("start a session for the pod"))?;
    nix::unistd::sethostname(&init.hostname).map_err(|source| PodInitError::Hostname {
        name: init.hostname.clone(),
        source,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| PodInitError::System {
        what: "start a runtime",
        source,
    })?;
    runtime
        .block_on(network(&init))
        .map_err(PodInitError::Nic)?;
    mounts::make(&init.dirs)?;
    Ok(init.argv)
}

async fn network(init: &PodInit) -> Result<(), NetError> {
    veth::configure_inside(&init.nic).await?;
    for one in &init.wires {
        wire::bring_up(one).await?;
    }
    Ok(())
}
