//! I/O threads: how many, and which serves which disk, in KubeVirt's numbering.
//!
//! Threads that disks share come first, dedicated ones after them. Unlike KubeVirt's, a thread exists only when a
//! disk can use it: disks on sata never can.

use super::choose;
use super::resources::amount;
use crate::quantity::Quantity;
use crate::spec::cpu::Cpu;
use crate::spec::disk::{Bus, Disk};
use crate::spec::iothread::Iothreads;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::VmiSpec;
use crate::vmi::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Shared,
    Auto,
    Supplemental,
}

const POLICIES: [(&str, Policy); 3] = [
    ("shared", Policy::Shared),
    ("auto", Policy::Auto),
    ("supplementalPool", Policy::Supplemental),
];

/// QEMU maps a disk's queues to threads one by one; KubeVirt has no bound of its own.
const MOST_SUPPLEMENTAL: u32 = 64;

/// Threads, and in `disks` which of them serve each.
pub(super) fn iothreads(
    spec: &VmiSpec,
    cpu: &Cpu,
    disks: &mut [Disk],
    out: &mut Findings,
) -> Iothreads {
    let policy = choose(
        &spec.domain.io_threads_policy,
        &Path::of("spec.domain.ioThreadsPolicy"),
        "a policy for I/O threads",
        &POLICIES,
        out,
    );
    let dedicated = dedicated(spec, disks, out);
    let count = supplemental_count(spec, policy, out);
    if policy == Some(Policy::Supplemental) {
        return supplemental(count, disks, &dedicated, out);
    }
    let wanted = |disk: &Disk| disk.bus == Bus::Virtio && !dedicated.contains(&disk.name);
    let sharing = count_of(disks.iter().filter(|disk| wanted(disk)).count());
    let virtio = |disk: &&Disk| disk.bus == Bus::Virtio && dedicated.contains(&disk.name);
    let scsi = disks
        .iter()
        .any(|disk| disk.bus == Bus::Scsi && dedicated.contains(&disk.name));
    let own = count_of(disks.iter().filter(virtio).count()) + u32::from(scsi);
    if policy.is_none() && own == 0 {
        return Iothreads::default();
    }
    let limit = match policy {
        Some(Policy::Auto) if !(cpu.dedicated && cpu.isolate_emulator) => 2 * cpus(spec, cpu),
        _ => 1,
    };
    // Where there is anything to share, there is a thread for it.
    let shared = sharing.min(limit.saturating_sub(own).max(1));
    let (mut next_shared, mut next_own) = (0, shared);
    let scsi_controllers = scsi.then(|| {
        next_own += 1;
        next_own
    });
    for disk in disks {
        let is_own = dedicated.contains(&disk.name);
        let thread = match (disk.bus, is_own) {
            (Bus::Virtio, false) => {
                next_shared = next_shared % shared + 1;
                Some(next_shared)
            }
            (Bus::Virtio, true) => {
                next_own += 1;
                Some(next_own)
            }
            (Bus::Scsi, _) => scsi_controllers,
            (Bus::Sata, _) => None,
        };
        disk.iothreads = thread.into_iter().collect();
    }
    Iothreads {
        count: shared + own,
        supplemental: false,
    }
}

/// Names of the disks that ask for a thread of their own.
fn dedicated(spec: &VmiSpec, disks: &[Disk], out: &mut Findings) -> Vec<String> {
    let list = Path::of("spec.domain.devices.disks");
    let mut names = Vec::new();
    let mut scsi = false;
    for (index, written) in spec.domain.devices.disks.iter().enumerate() {
        if written.dedicated_io_thread != Some(true) {
            continue;
        }
        let at = list.index(index);
        let Some(disk) = disks.iter().find(|disk| disk.path == at.to_string()) else {
            continue;
        };
        let at = at.key("dedicatedIOThread");
        match disk.bus {
            Bus::Sata => out.refuse(
                &at,
                "a disk on the bus `sata` is served by QEMU's main loop",
                "use `bus: virtio`, or leave it out",
            ),
            Bus::Scsi if scsi => out.notice(
                &at,
                "disks on the bus `scsi` share their controller, and so its thread",
            ),
            Bus::Scsi => scsi = true,
            Bus::Virtio => {}
        }
        names.push(disk.name.clone());
    }
    names
}

fn supplemental_count(spec: &VmiSpec, policy: Option<Policy>, out: &mut Findings) -> u32 {
    let at = Path::of("spec.domain.ioThreads.supplementalPoolThreadCount");
    let count = spec.domain.io_threads.supplemental_pool_thread_count;
    match (policy, count.filter(|count| *count > 0)) {
        (Some(Policy::Supplemental), None) => {
            out.refuse(
                &at,
                "the supplemental pool has no thread",
                "give their number, from 1 on",
            );
            1
        }
        (Some(Policy::Supplemental), Some(count)) if count > MOST_SUPPLEMENTAL => {
            out.refuse(
                &at,
                format!("`{count}` threads are more than {MOST_SUPPLEMENTAL}"),
                "give fewer",
            );
            1
        }
        (Some(Policy::Supplemental), Some(count)) => count,
        (_, Some(_)) => {
            out.notice(
                &at,
                "it counts only with `ioThreadsPolicy: supplementalPool`, though KubeVirt has the pod ask for as many CPUs more",
            );
            0
        }
        (_, None) => 0,
    }
}

/// Every virtio disk is served by the whole pool.
fn supplemental(
    count: u32,
    disks: &mut [Disk],
    dedicated: &[String],
    out: &mut Findings,
) -> Iothreads {
    for (index, disk) in disks.iter_mut().enumerate() {
        if disk.bus == Bus::Virtio {
            disk.iothreads = (1..=count).collect();
        }
        if dedicated.contains(&disk.name) {
            out.notice(
                &Path::of("spec.domain.devices.disks")
                    .index(index)
                    .key("dedicatedIOThread"),
                "the supplemental pool serves the disks, and none has a thread of its own",
            );
        }
    }
    Iothreads {
        count,
        supplemental: true,
    }
}

/// CPUs that the pod asks for; without a request or limit as many as the guest has (KubeVirt counts one).
fn cpus(spec: &VmiSpec, cpu: &Cpu) -> u32 {
    let resources = &spec.domain.resources;
    let asked = [&resources.requests.cpu, &resources.limits.cpu]
        .into_iter()
        .find_map(|quantity| {
            let at = Path::root();
            amount(
                quantity.as_ref(),
                &at,
                Quantity::value,
                &mut Findings::default(),
            )
        });
    asked
        .map_or(cpu.vcpus(), |count| {
            u32::try_from(count).unwrap_or(u32::MAX)
        })
        .clamp(1, 512)
}

fn count_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::spec::Spec;
    use crate::vmi;

    /// Number of threads, and those of each disk, for disks written as `virtio`, `virtio own`, `scsi own`, ...
    fn threads(domain: &str, disks: &[&str]) -> (u32, Vec<Vec<u32>>) {
        let (mut list, mut volumes) = (String::new(), String::new());
        for (index, disk) in disks.iter().enumerate() {
            let (bus, own) = disk.split_once(' ').unwrap_or((disk, ""));
            list += &format!(
                "{{name: d{index}, disk: {{bus: {bus}}}, dedicatedIOThread: {}}},",
                own == "own"
            );
            volumes += &format!("{{name: d{index}, persistentVolumeClaim: {{claimName: c}}}},");
        }
        let text = format!(
            "kind: VirtualMachineInstance\napiVersion: kubevirt.io/v1\nmetadata: {{name: vm}}\n\
             spec: {{domain: {{memory: {{guest: 1Gi}}, {domain}, devices: {{disks: [{list}]}}}}, volumes: [{volumes}]}}"
        );
        let (spec, _) = Spec::from_vmi(&vmi::read(&text).unwrap()).unwrap();
        let of_disks = spec.disks.into_iter().map(|disk| disk.iothreads);
        (spec.iothreads.count, of_disks.collect())
    }

    #[test]
    fn without_policy_only_what_is_asked_for() {
        assert_eq!(
            threads("cpu: {}", &["virtio", "sata"]),
            (0, vec![vec![]; 2])
        );
        assert_eq!(
            threads("cpu: {}", &["virtio own", "virtio", "virtio own", "virtio"]),
            (3, vec![vec![2], vec![1], vec![3], vec![1]])
        );
        // None is made that nothing would use.
        assert_eq!(
            threads("cpu: {}", &["virtio own", "sata"]),
            (1, vec![vec![1], vec![]])
        );
    }

    #[test]
    fn auto_has_two_a_cpu_in_turn() {
        let four = ["virtio"; 4];
        let auto = |more: &str| threads(&format!("ioThreadsPolicy: auto, {more}"), &four);
        let in_turn = |count: u32| (count, (0..4).map(|disk| vec![disk % count + 1]).collect());
        assert_eq!(auto("cpu: {cores: 1}"), in_turn(2));
        assert_eq!(auto("resources: {requests: {cpu: 8}}"), in_turn(4));
        assert_eq!(
            auto("cpu: {cores: 4, dedicatedCpuPlacement: true, isolateEmulatorThread: true}"),
            in_turn(1)
        );
        assert_eq!(threads("ioThreadsPolicy: shared", &four), in_turn(1));
    }

    #[test]
    fn scsi_disks_share_their_controllers() {
        assert_eq!(
            threads(
                "ioThreadsPolicy: shared",
                &["scsi own", "virtio", "scsi", "virtio own"]
            ),
            (3, vec![vec![2], vec![1], vec![2], vec![3]])
        );
    }

    #[test]
    fn the_supplemental_pool_serves_every_virtio_disk() {
        let pool = "ioThreadsPolicy: supplementalPool, ioThreads: {supplementalPoolThreadCount: 2}";
        assert_eq!(
            threads(pool, &["virtio", "virtio own", "sata"]),
            (2, vec![vec![1, 2], vec![1, 2], vec![]])
        );
    }
}
