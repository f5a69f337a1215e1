//! The lists that the rules go by. An entry that no longer holds fails as loudly as one that is missing.

use std::collections::BTreeMap;

use crate::rules::Listed;

/// Rooms and files that hold values and decisions only.
pub(crate) const PURE: &[&str] = &[
    "hugepages/src/bytes.rs",
    "hugepages/src/page_size.rs",
    "hugepages/src/request.rs",
    "hugepages/src/reserve.rs",
    "hugepages/src/shortfall.rs",
    "launcher/src/argv",
    "launcher/src/machine",
    "launcher/src/monitor/restart.rs",
    "launcher/src/net/dhcp/answer.rs",
    "launcher/src/net/dhcp/options.rs",
    "launcher/src/net/dhcp/reply.rs",
    "launcher/src/net/dhcp/request.rs",
    "launcher/src/net/dhcp6/answer.rs",
    "launcher/src/net/dhcp6/options.rs",
    "launcher/src/net/dhcp6/reply.rs",
    "launcher/src/net/dhcp6/request.rs",
    "launcher/src/net/domain.rs",
    "launcher/src/net/mac.rs",
    "launcher/src/net/nft/rules.rs",
    "launcher/src/net/plan",
    "launcher/src/net/ra/advertisement.rs",
    "launcher/src/net/ra/schedule.rs",
    "launcher/src/net/ra/solicitation.rs",
    "launcher/src/net/service/budget.rs",
    "launcher/src/net/watch/message.rs",
    "launcher/src/passthrough/assign.rs",
    "launcher/src/passthrough/mdev.rs",
    "launcher/src/passthrough/memlock.rs",
    "launcher/src/host/network_info.rs",
    "launcher/src/passthrough/plan.rs",
    "launcher/src/passthrough/preflight.rs",
    "launcher/src/placement",
    "launcher/src/plan",
    "launcher/src/quantity.rs",
    "launcher/src/refusal.rs",
    "launcher/src/spec",
    "launcher/src/storage/iso.rs",
    "launcher/src/storage/plan.rs",
    "launcher/src/storage/seed.rs",
    "launcher/src/status",
    "launcher/src/supervise/agent_poll/schedule.rs",
    "launcher/src/supervise/step",
    "launcher/src/verify/confinement.rs",
    "launcher/src/verify/memory.rs",
    "launcher/src/verify/report.rs",
    "launcher/src/verify/threads.rs",
    "launcher/src/vmi",
    "numa/src/cpuset.rs",
];

/// What a pure room does not say: time, files, processes and environment come in as values.
pub(crate) const IMPURE: &[&str] = &[
    "async",
    "fs_err",
    "std::fs",
    "std::process",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "tokio",
    "unsafe",
];

/// Where `unsafe` is; each file says why.
pub(crate) const UNSAFE: &[&str] = &[
    "launcher/src/cold_code.rs",
    "launcher/src/monitor/handover.rs",
    "launcher/src/monitor/inherited.rs",
    "launcher/src/kvm/machine.rs",
    "launcher/src/local/clone.rs",
    "launcher/src/monitor/channel.rs",
    "launcher/src/monitor/pidfd.rs",
    "launcher/src/monitor/spawn.rs",
    "launcher/src/net/tap.rs",
    "launcher/src/passthrough/iommufd.rs",
    "launcher/src/passthrough/vfio.rs",
    "launcher/src/readable.rs",
    "launcher/src/storage/headers/confined.rs",
    "launcher/src/supervise/channel.rs",
    "numa/src/affinity.rs",
    "numa/src/binding.rs",
    "numa/src/scheduler.rs",
];

/// How many blocks they have.
pub(crate) const UNSAFE_BLOCKS: usize = 41;

/// Files past the soft cap, and why they are one.
pub(crate) const LONG: &Listed = &[
    ("launcher/src/control/tests.rs", "one case after another"),
    (
        "launcher/src/supervise/driver.rs",
        "the one loop that owns the VM",
    ),
    (
        "launcher/src/supervise/step/tests.rs",
        "one case after another",
    ),
    (
        "qmp/src/agent.rs",
        "one protocol, from resynchronisation to calls",
    ),
    ("qmp/src/session/tests.rs", "one case after another"),
    ("tests/cases/qemu_accepts.rs", "one case after another"),
    ("tests/cases/storage.rs", "one case after another"),
];

/// Names that say nothing of what is inside.
pub(crate) const NAMELESS: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "types", "misc",
];

/// Crates that any room may use.
pub(crate) const EVERYBODYS: &[&str] = &[
    "camino",
    "libc",
    "nix",
    "serde",
    "serde_json",
    "thiserror",
    "tracing",
    // Of tests and of `main`.
    "anyhow",
    "insta",
    "proptest",
    "tempfile",
];

/// Each other crate, and below which paths (from `launcher/src/` on, or a member) it stays.
pub(crate) fn crates() -> BTreeMap<&'static str, Vec<String>> {
    let rooms = [
        ("base64", "host spec storage plan qmp ctl"),
        ("caps", "privileges local monitor"),
        ("clap", "cli ctl/args inspect/args"),
        ("clap_complete", "cli"),
        ("comfy-table", "inspect cli"),
        ("command-fds", "monitor local"),
        ("dhcproto", "net/dhcp net/dhcp6"),
        ("fs-err", "storage local apply control"),
        ("futures-util", "net"),
        ("hadris-iso", "storage/iso"),
        ("ipnet", "net spec host local"),
        ("kvm-bindings", "kvm"),
        ("landlock", "confine"),
        ("kvm-ioctls", "kvm"),
        ("nftables", "net/nft"),
        ("prometheus-client", "status/metrics"),
        ("procfs", "host numa"),
        ("qapi", "qmp"),
        ("rtnetlink", "net local"),
        ("seccompiler", "tests/src/bin"),
        ("serde-saphyr", "vmi"),
        ("serde_ignored", "vmi"),
        ("serde_path_to_error", "vmi"),
        ("sha2", "net storage supervise/upgrade"),
        (
            "tokio",
            "apply cli control ctl inspect local net host/podinfo readable storage supervise qmp",
        ),
        ("tokio-util", "control supervise qmp"),
        ("tracing-subscriber", "cli"),
        (
            "uuid",
            "spec plan passthrough pod machine storage net/plan host",
        ),
        ("vfio-bindings", "passthrough/vfio passthrough/iommufd"),
        (
            "vmm-sys-util",
            "kvm net/tap monitor passthrough/vfio passthrough/iommufd supervise qmp",
        ),
    ];
    let place = |room: &str| match room {
        "numa" | "qmp" | "tests/src/bin" => room.to_owned(),
        room => format!("launcher/src/{room}"),
    };
    rooms
        .into_iter()
        .map(|(name, rooms)| (name, rooms.split_whitespace().map(place).collect()))
        .collect()
}

/// Who may depend on whom among the members.
pub(crate) const MEMBERS: &[(&str, &[&str])] = &[
    ("numa", &[]),
    ("hugepages", &["numa"]),
    ("qmp", &[]),
    ("launcher", &["numa", "hugepages", "qmp"]),
    ("tests", &["numa", "hugepages", "qmp", "launcher"]),
];

/// Files, or a file and one literal in it, where a path of the kernel's trees is a name that nothing is opened by, or is
/// what the room exists for.
pub(crate) const HOST_PATHS: &Listed = &[
    ("numa/src/root.rs", "`HostRoot` itself"),
    ("launcher/src/host/text.rs", "for people"),
    ("launcher/src/local/mounts.rs", "makes a pod's mounts there"),
    (
        "launcher/src/local/outer.rs /etc/resolv.conf",
        "the machine's own, from which the pod's is made",
    ),
    (
        "launcher/src/machine/memory.rs /dev/hugepages",
        "an argument of QEMU's",
    ),
    (
        "launcher/src/machine/hostdev.rs /sys/bus/mdev/devices/{uuid}",
        "an argument of QEMU's",
    ),
    (
        "launcher/src/machine/rng.rs /dev/urandom",
        "an argument of QEMU's",
    ),
    (
        "launcher/src/machine/serial.rs /dev/fdset/{SERIAL_LOG_SET}",
        "QEMU's name for a handed-over fd",
    ),
    (
        "launcher/src/supervise/desk.rs /dev/fdset/{set}",
        "QEMU's name for a handed-over fd",
    ),
    (
        "launcher/src/passthrough/assign.rs /etc/podinfo/network-info",
        "for people",
    ),
    (
        "launcher/src/passthrough/preflight.rs /sys/bus/pci/devices/{address}",
        "a command for people",
    ),
    (
        "launcher/src/plan/text.rs /dev/vhost-net for {tap}, queue {queue}",
        "for people",
    ),
];
