//! When to look for threads that QEMU did not have before its guest ran.
//!
//! KVM makes the worker that recovers huge pages (`kvm-nx-lpage-recovery`, a thread of QEMU's since Linux 6.12) when a
//! vCPU first enters the guest, `kvm_mmu_post_init_vm`. It inherits the affinity of the vCPU that was first, and would
//! share its CPU. The kernel has no event for a new thread, so after the guest began to run it is looked for a few times.

use std::time::Duration;

use qmp::Events;
use tokio::time::{Instant, sleep_until};

/// After the guest began to run. The first entry takes a millisecond; a host that is short of CPUs takes its time.
pub const LOOKS: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(200),
    Duration::from_secs(2),
    Duration::from_secs(20),
];

/// The looks that are still to come.
#[derive(Debug)]
pub struct Looks {
    events: Events,
    began: Instant,
    done: usize,
}

impl Looks {
    /// The guest runs from now on, or from QEMU's next `RESUME`.
    pub fn new(events: Events) -> Self {
        Self {
            events,
            began: Instant::now(),
            done: 0,
        }
    }

    /// As if the guest had begun to run now.
    pub fn again(&mut self) {
        self.began = Instant::now();
        self.done = 0;
    }

    /// Until it is time to look. Cancel-safe; pending for ever once QEMU has gone.
    pub async fn next(&mut self) {
        if self.done == LOOKS.len() {
            self.resumed().await;
            self.again();
        }
        sleep_until(self.began + LOOKS[self.done]).await;
        self.done += 1;
    }

    /// A guest that was left paused begins late.
    async fn resumed(&mut self) {
        while let Some(event) = self.events.next_event().await {
            if event.name == "RESUME" {
                return;
            }
        }
        std::future::pending().await
    }
}
