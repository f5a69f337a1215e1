//! `ARCHITECTURE.md`'s invariants, as far as a look at the files can check them. Each rule is tried on the project, and on
//! a few lines that break it.

use std::collections::BTreeMap;

#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/project.rs"]
mod project;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use project::Project;
use rules::Listed;

/// Rooms and files that hold values and decisions only.
const PURE: &[&str] = &[
    "launcher/src/argv",
    "launcher/src/machine",
    "launcher/src/net/dhcp/answer.rs",
    "launcher/src/net/dhcp/budget.rs",
    "launcher/src/net/dhcp/options.rs",
    "launcher/src/net/dhcp/reply.rs",
    "launcher/src/net/dhcp/request.rs",
    "launcher/src/net/mac.rs",
    "launcher/src/net/nft/rules.rs",
    "launcher/src/net/plan",
    "launcher/src/placement",
    "launcher/src/plan",
    "launcher/src/quantity.rs",
    "launcher/src/refusal.rs",
    "launcher/src/spec",
    "launcher/src/storage/iso.rs",
    "launcher/src/storage/plan.rs",
    "launcher/src/storage/seed.rs",
    "launcher/src/vmi",
];

/// What a pure room does not say: time, files, processes and environment come in as values.
const IMPURE: &[&str] = &[
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

/// Where `unsafe` is, and what for.
const UNSAFE: &Listed = &[
    (
        "launcher/src/kvm/machine.rs",
        "the probe's guest memory and vCPU state",
    ),
    (
        "launcher/src/net/tap.rs",
        "TUNSETIFF and its kin take a C structure",
    ),
    ("numa/src/affinity.rs", "CPU masks beyond 1024 CPUs"),
];

/// Files past the soft cap, and why they are one.
const LONG: &Listed = &[
    (
        "launcher/src/machine/topology.rs",
        "one layout, with the cases that pin it down",
    ),
    (
        "launcher/src/quantity.rs",
        "one grammar, with its properties",
    ),
    (
        "qmp/src/agent.rs",
        "one protocol from its resynchronisation to its calls",
    ),
    ("qmp/src/session/tests.rs", "one case after another"),
    ("tests/cases/storage.rs", "one case after another"),
];

/// Names that say nothing of what is inside.
const NAMELESS: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "types", "misc",
];

/// Crates that any room may use.
const EVERYBODYS: &[&str] = &[
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

/// Each other crate, and the rooms it stays in.
fn crates() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        (
            "base64",
            [
                "launcher/src/spec",
                "launcher/src/storage",
                "launcher/src/plan",
                "qmp",
            ]
            .as_slice(),
        ),
        (
            "caps",
            &[
                "launcher/src/privileges.rs",
                "launcher/src/local",
                "launcher/src/monitor",
            ],
        ),
        ("clap", &["launcher/src/cli"]),
        ("clap_complete", &["launcher/src/cli"]),
        ("comfy-table", &["launcher/src/inspect", "launcher/src/cli"]),
        ("dhcproto", &["launcher/src/net/dhcp"]),
        (
            "fs-err",
            &[
                "launcher/src/storage",
                "launcher/src/local",
                "launcher/src/apply",
            ],
        ),
        ("futures-util", &["launcher/src/net"]),
        ("hadris-iso", &["launcher/src/storage/iso.rs"]),
        (
            "ipnet",
            &[
                "launcher/src/net",
                "launcher/src/spec",
                "launcher/src/host",
                "launcher/src/local",
            ],
        ),
        ("kvm-bindings", &["launcher/src/kvm"]),
        ("kvm-ioctls", &["launcher/src/kvm"]),
        ("nftables", &["launcher/src/net/nft"]),
        ("procfs", &["launcher/src/host", "numa"]),
        ("qapi", &["qmp"]),
        ("rtnetlink", &["launcher/src/net", "launcher/src/local"]),
        ("serde-saphyr", &["launcher/src/vmi"]),
        ("serde_ignored", &["launcher/src/vmi"]),
        ("serde_path_to_error", &["launcher/src/vmi"]),
        ("sha2", &["launcher/src/net", "launcher/src/storage"]),
        (
            "tokio",
            &[
                "launcher/src/apply",
                "launcher/src/cli",
                "launcher/src/control",
                "launcher/src/inspect",
                "launcher/src/local",
                "launcher/src/net",
                "launcher/src/storage",
                "launcher/src/supervise",
                "qmp",
            ],
        ),
        (
            "tokio-util",
            &["launcher/src/control", "launcher/src/supervise", "qmp"],
        ),
        ("tracing-subscriber", &["launcher/src/cli"]),
        (
            "uuid",
            &[
                "launcher/src/spec",
                "launcher/src/plan",
                "launcher/src/pod.rs",
                "launcher/src/machine",
                "launcher/src/storage",
            ],
        ),
        ("vfio-bindings", &[]),
        (
            "vmm-sys-util",
            &[
                "launcher/src/net/tap.rs",
                "launcher/src/monitor",
                "launcher/src/supervise",
                "qmp",
            ],
        ),
    ])
}

/// Who may depend on whom among the members.
const MEMBERS: &[(&str, &[&str])] = &[
    ("numa", &[]),
    ("hugepages", &["numa"]),
    ("qmp", &[]),
    ("launcher", &["numa", "hugepages", "qmp"]),
    ("tests", &["numa", "hugepages", "qmp", "launcher"]),
];

/// Files, or a file and one literal in it, where a path of the kernel's trees is a name and nothing is opened by it.
const HOST_PATHS: &Listed = &[
    ("numa/src/root.rs", "`HostRoot` itself"),
    (
        "launcher/src/machine/rng.rs /dev/urandom",
        "an argument of QEMU's",
    ),
    (
        "launcher/src/machine/serial.rs /dev/fdset/{SERIAL_LOG_SET}",
        "QEMU's name for a handed-over fd",
    ),
    (
        "launcher/src/plan/text.rs /dev/vhost-net for {tap}, queue {queue}",
        "for people",
    ),
];

#[track_caller]
fn holds(broken: Vec<String>) {
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[track_caller]
fn breaks(broken: &[String], expected: &[&str]) {
    assert_eq!(broken, expected);
}

#[test]
fn pure_rooms_are_pure() {
    let project = Project::read();
    holds(rules::stale(&project, PURE.iter().copied()));
    holds(rules::pure(&project, PURE, IMPURE));
    let bad = Project::of(&[
        (
            "a/src/pure.rs",
            "// async\nuse std::fs;\n#[cfg(test)]\nmod tests { use std::env; }\n",
        ),
        ("a/src/other.rs", "async fn a() {}\n"),
    ]);
    breaks(
        &rules::pure(&bad, &["a/src/pure"], IMPURE),
        &["a/src/pure.rs:2: `std::fs` in a pure room"],
    );
}

#[test]
fn unsafe_is_in_named_files() {
    holds(rules::unsafe_code(&Project::read(), UNSAFE));
    let bad = Project::of(&[
        ("a/src/listed.rs", "unsafe {}"),
        (
            "a/src/listed_in_vain.rs",
            "#![expect(unsafe_code, reason = \"x\")]",
        ),
        ("a/src/other.rs", "\nunsafe {}"),
    ]);
    breaks(
        &rules::unsafe_code(
            &bad,
            &[("a/src/listed.rs", ""), ("a/src/listed_in_vain.rs", "")],
        ),
        &[
            "a/src/listed.rs: no `#![expect(unsafe_code, reason = ...)]`",
            "a/src/listed_in_vain.rs: listed for `unsafe`, has none",
            "a/src/other.rs:2: `unsafe` in a file not listed",
        ],
    );
}

#[test]
fn files_can_be_read_in_a_sitting() {
    holds(rules::length(&Project::read(), 400, 600, LONG));
    let lines = |count| "\n".repeat(count);
    let bad = Project::of(&[
        ("a.rs", &lines(5)),
        ("b.rs", &lines(3)),
        ("c.rs", &lines(3)),
        ("d.rs", &lines(2)),
    ]);
    breaks(
        &rules::length(&bad, 2, 4, &[("c.rs", ""), ("d.rs", "")]),
        &[
            "a.rs: 5 lines, 4 at most",
            "b.rs: 3 lines; past 2 look for the seam, or list why not",
            "d.rs: listed as long, has 2 lines",
        ],
    );
}

#[test]
fn names_say_something() {
    holds(rules::names(&Project::read(), NAMELESS));
    let bad = Project::of(&[
        ("a/src/util.rs", ""),
        ("a/common/b.rs", ""),
        ("a/utility.rs", ""),
    ]);
    breaks(
        &rules::names(&bad, NAMELESS),
        &[
            "a/common/b.rs: say what it is for",
            "a/src/util.rs: say what it is for",
        ],
    );
}

#[test]
fn outside_crates_stay_behind_their_rooms() {
    holds(rules::crates(&Project::read(), &crates(), EVERYBODYS));
    let bad = Project::of(&[
        (
            "Cargo.toml",
            "[workspace.dependencies]\n# x\nnew = \"1\"\nserde = \"1\"\nfs-err = \"3\"\nours = { path = \"ours\" }\n",
        ),
        ("a/src/storage/b.rs", "use fs_err::read;"),
        (
            "a/src/net.rs",
            "use crate::fs_err::x;\nuse ::fs_err::read;\nfn a() { fs_err::read() }",
        ),
    ]);
    breaks(
        &rules::crates(
            &bad,
            &BTreeMap::from([("fs-err", ["a/src/storage"].as_slice())]),
            &["serde"],
        ),
        &[
            "Cargo.toml: no list says whose crate `new` is",
            "a/src/net.rs:2: `fs-err` is used elsewhere only",
            "a/src/net.rs:3: `fs-err` is used elsewhere only",
        ],
    );
}

#[test]
fn members_depend_one_way() {
    holds(rules::members(&Project::read(), MEMBERS));
    let bad = Project::of(&[
        ("low/Cargo.toml", "[dependencies]\nhigh.workspace = true\n"),
        (
            "high/Cargo.toml",
            "[dependencies]\nlow = { workspace = true }\n",
        ),
    ]);
    breaks(
        &rules::members(&bad, &[("low", &[]), ("high", &["low"])]),
        &["low/Cargo.toml: `low` may not depend on `high`"],
    );
}

#[test]
fn host_root_makes_the_machines_paths() {
    holds(rules::host_paths(&Project::read(), HOST_PATHS));
    let bad = Project::of(&[(
        "a/src/b.rs",
        "fn a() { open(\"/sys/x\"); say(\"/system\"); }\n// \"/proc\"\nconst C: &str = \"/dev\";\nconst D: &str = \"/etc/x\";\n",
    )]);
    breaks(
        &rules::host_paths(&bad, &[("a/src/b.rs /etc/x", "")]),
        &[
            "a/src/b.rs:1: `/sys/x` is `HostRoot`'s to make",
            "a/src/b.rs:3: `/dev` is `HostRoot`'s to make",
        ],
    );
}

#[test]
fn lints_are_off_for_a_reason() {
    holds(rules::lints(
        Project::read().get("Cargo.toml").expect("a manifest"),
    ));
    breaks(
        &rules::lints(
            "[workspace.lints.rust]\na = \"allow\"\n# Why.\nb = \"allow\"\n[x]\nc = \"allow\"\n",
        ),
        &["Cargo.toml:2: a lint is off without a reason"],
    );
}

#[test]
fn spec_stays_off_the_wire() {
    let project = Project::read();
    let spec = project.get("launcher/src/spec/mod.rs").expect("the spec");
    holds(rules::not_serialize(spec, "Spec"));
    breaks(
        &rules::not_serialize("#[derive(Serialize)]\npub struct Spec {}\n", "Spec"),
        &["`Spec` is Serialize"],
    );
}

#[test]
fn pages_are_there_and_their_links_lead_somewhere() {
    let project = Project::read();
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "examples/README.md",
    ] {
        assert!(project.exists(page), "no `{page}`");
    }
    holds(links::links(&project));
}

#[test]
fn examples_are_json_and_are_listed() {
    let project = Project::read();
    let index = project
        .get("examples/README.md")
        .expect("a list of examples");
    let mut count = 0;
    for (path, text) in project.with_extension("json") {
        let Some(name) = path.strip_prefix("examples/") else {
            continue;
        };
        if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
            panic!("{path}: {error}");
        }
        assert!(
            index.contains(name),
            "examples/README.md does not list `{name}`"
        );
        count += 1;
    }
    assert!(count > 0, "no examples were found");
}
