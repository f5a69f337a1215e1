//! What the supervisor asks of PID 1.

use std::time::Instant;

use numa::HostRoot;

use super::{Pid1, Verdict};
use crate::cold_code;
use crate::monitor::channel::Packet;
use crate::monitor::guest::Guest;
use crate::monitor::protocol::{Ask, Tell, VERSION};
use crate::monitor::supervisor::Supervisor;

impl Pid1 {
    /// Takes all that the supervisor has said so far.
    pub(super) fn hear(&mut self) {
        while let Some(packet) = self.supervisor.as_mut().and_then(Supervisor::heard) {
            self.asked(packet);
        }
    }

    fn asked(&mut self, packet: Packet<Ask>) {
        let Packet { message, files } = packet;
        match message {
            Ask::Files => self.files.extend(files),
            Ask::Spawn { version } => {
                self.files.extend(files);
                self.spawn(version);
            }
            Ask::Keep { name } => {
                for file in files.into_iter().take(1) {
                    if !self.vault.keep(name.clone(), file) {
                        tracing::error!(
                            event = "file-not-kept",
                            name,
                            "PID 1 keeps too many files"
                        );
                    }
                }
            }
            Ask::Settled => self.settled = true,
            Ask::Ready => {
                if let Some(supervisor) = &mut self.supervisor {
                    supervisor.ready.get_or_insert_with(Instant::now);
                }
                self.proven();
                cold_code::unmap(&HostRoot::default());
            }
            Ask::Upgrade { id } => self.upgrade(id, files.into_iter().next()),
            Ask::Done { code } => self.conclude(Verdict::Done(code)),
        }
    }

    fn spawn(&mut self, version: u32) {
        let mut files = std::mem::take(&mut self.files);
        let spawned = if version != VERSION {
            Err(format!(
                "PID 1 speaks version {VERSION} and was asked in version {version}"
            ))
        } else if self.guest.is_some() {
            Err("QEMU was started already".to_owned())
        } else if files.is_empty() {
            Err("the spawn request did not arrive".to_owned())
        } else {
            let memfd = files.remove(0);
            Guest::start(memfd, files)
        };
        let Some(supervisor) = &self.supervisor else {
            return;
        };
        match spawned {
            Ok(guest) => {
                let guest = self.guest.insert(guest);
                let pid = guest.told().pid;
                supervisor.tell(&Tell::Spawned { pid }, &[guest.pidfd()]);
            }
            Err(reason) => supervisor.tell(&Tell::SpawnFailed { reason }, &[]),
        }
    }
}
