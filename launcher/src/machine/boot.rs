//! What the guest boots from, and what its end means.

use camino::{Utf8Path, Utf8PathBuf};

use crate::machine::device::KeyValues;
use crate::spec::device::Watchdog;
use crate::spec::disk::DiskKind;
use crate::spec::firmware::KernelBoot;
use crate::spec::{RebootPolicy, Spec};

/// How long a paused start shows the boot menu (facts 4.1), in milliseconds.
const MENU_MILLISECONDS: u32 = 10_000;

/// `-kernel`, `-initrd`, `-append`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// `-kernel`.
    pub kernel: Option<Utf8PathBuf>,
    /// `-initrd`.
    pub initrd: Option<Utf8PathBuf>,
    /// `-append`.
    pub append: Option<String>,
}

/// The files of `kernelBoot` in their directory.
pub fn kernel(boot: &KernelBoot, directory: &Utf8Path) -> Kernel {
    let join = |name: &String| directory.join(name);
    Kernel {
        kernel: boot.kernel.as_ref().map(join),
        initrd: boot.initrd.as_ref().map(join),
        append: boot.args.clone(),
    }
}

/// `-boot`: only what has a `bootindex` is tried.
pub fn boot(start_paused: bool) -> KeyValues {
    let mut boot = KeyValues::new();
    if start_paused {
        boot = boot
            .with("menu", "on")
            .with("splash-time", MENU_MILLISECONDS.to_string());
    }
    boot.with("strict", "on")
}

/// `-action`: QEMU stays when the guest ends, so that the reason can be read.
pub fn action(policy: RebootPolicy, watchdog: Option<&Watchdog>) -> KeyValues {
    let mut action = KeyValues::new();
    if policy == RebootPolicy::Terminate {
        action = action.with("reboot", "shutdown");
    }
    action
        .with("shutdown", "pause")
        .with("panic", "pause")
        .with_some("watchdog", watchdog.map(|dog| dog.action.name()))
}

/// The `bootindex` of each disk: as asked, else 1 for the first one when nothing asks.
pub fn disk_indices(spec: &Spec) -> Vec<Option<u32>> {
    let asked = spec.disks.iter().any(|disk| disk.boot_order.is_some())
        || spec.nics.iter().any(|nic| nic.boot_order.is_some());
    let default = spec
        .disks
        .iter()
        .position(|disk| !asked && disk.kind == DiskKind::Disk);
    spec.disks
        .iter()
        .enumerate()
        .map(|(index, disk)| disk.boot_order.or((default == Some(index)).then_some(1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;
    use crate::spec::disk::Bus;

    #[test]
    fn the_first_disk_boots_when_nothing_is_asked() {
        let mut spec = fixtures::spec();
        spec.disks = vec![
            fixtures::cdrom(0, "c", Bus::Sata),
            fixtures::disk(1, "d", Bus::Virtio),
            fixtures::disk(2, "e", Bus::Virtio),
        ];
        assert_eq!(disk_indices(&spec), [None, Some(1), None]);
        spec.disks[2].boot_order = Some(3);
        assert_eq!(disk_indices(&spec), [None, None, Some(3)]);
    }

    #[test]
    fn a_reset_ends_the_vm_only_where_asked() {
        let reset = |policy| {
            action(policy, None)
                .pairs
                .iter()
                .any(|(key, _)| key == "reboot")
        };
        assert!(reset(RebootPolicy::Terminate));
        assert!(!reset(RebootPolicy::Reboot));
    }
}
