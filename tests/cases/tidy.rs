//! `ARCHITECTURE.md`'s invariants, as far as a look at the files can check them. Each rule is tried on the project, and on
//! a few lines that break it.

use std::collections::BTreeMap;

#[path = "tidy/faults.rs"]
mod faults;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/lists.rs"]
mod lists;
#[path = "tidy/project.rs"]
mod project;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use lists::{
    EVERYBODYS, HOST_PATHS, IMPURE, LONG, MEMBERS, NAMELESS, PURE, UNSAFE, UNSAFE_BLOCKS, crates,
};
use project::Project;

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
    let project = Project::read();
    holds(rules::stale(&project, UNSAFE.iter().copied()));
    holds(rules::unsafe_code(&project, UNSAFE));
    let bad = Project::of(&[
        ("a/src/listed.rs", "unsafe {}"),
        (
            "a/src/listed_in_vain.rs",
            "#![expect(unsafe_code, reason = \"x\")]",
        ),
        ("a/src/other.rs", "\nunsafe {}"),
    ]);
    breaks(
        &rules::unsafe_code(&bad, &["a/src/listed.rs", "a/src/listed_in_vain.rs"]),
        &[
            "a/src/listed.rs: no `#[expect(unsafe_code, reason = ...)]`",
            "a/src/listed_in_vain.rs: listed for `unsafe`, has none",
            "a/src/other.rs:2: `unsafe` in a file not listed",
        ],
    );
}

/// It may only change knowingly: each block is one more that has to be believed.
#[test]
fn unsafe_blocks_are_counted() {
    let project = Project::read();
    let blocks: usize = UNSAFE
        .iter()
        .filter_map(|file| project.get(file))
        .map(|text| text.matches("unsafe {").count())
        .sum();
    assert_eq!(blocks, UNSAFE_BLOCKS);
}

/// Every crate of the lock file, those of tests among them.
#[test]
fn licences_are_allowed() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let told = std::process::Command::new(cargo)
        .args(["metadata", "--offline", "--locked", "--format-version=1"])
        .current_dir(tests::project())
        .output()
        .expect("cargo runs");
    let problem = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{problem}");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("it is JSON");
    let packages = told["packages"].as_array().expect("there are packages");
    let crates: Vec<_> = packages
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().map(str::to_owned);
            (text("name").unwrap_or_default(), text("license"))
        })
        .collect();
    assert!(crates.len() > 100, "{} crates are not all", crates.len());
    holds(licences::refused(&crates));
    breaks(
        &licences::refused(&[
            ("a".to_owned(), Some("GPL-3.0".to_owned())),
            ("b".to_owned(), None),
        ]),
        &["a: `GPL-3.0` is not allowed", "b: it names no licence"],
    );
}

#[test]
fn files_can_be_read_in_a_sitting() {
    let project = Project::read();
    holds(rules::stale(&project, LONG.iter().map(|(file, _)| *file)));
    holds(rules::length(&project, 400, 600, LONG));
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
            "use crate::fs_err::x;\nuse fs_err::read;\nfn a() { fs_err::read() }",
        ),
    ]);
    breaks(
        &rules::crates(
            &bad,
            &BTreeMap::from([("fs-err", vec!["a/src/storage".to_owned()])]),
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
    let project = Project::read();
    let files = HOST_PATHS
        .iter()
        .map(|(place, _)| place.split_once(' ').map_or(*place, |(file, _)| file));
    holds(rules::stale(&project, files));
    holds(rules::host_paths(&project, HOST_PATHS));
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
fn log_lines_have_an_event() {
    holds(rules::events(&Project::read()));
    let bad = Project::of(&[(
        "a/src/b.rs",
        "use tracing::field::Field;\nfn a() {\n    tracing::warn!(x = f(1), \"event = no\");\n    tracing::info!(\n        event = \"x\", ms = f(2),\n    );\n}\n",
    )]);
    breaks(
        &rules::events(&bad),
        &["a/src/b.rs:3: a log line without an `event`"],
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
fn each_fault_names_the_test_that_injects_it() {
    holds(faults::rows(&Project::read(), 45));
    let bad = Project::of(&[
        (
            "ARCHITECTURE.md",
            "| x |\n## Faults\n\n| Fault | Seen | Test |\n|---|---|---|\n| a | `x` | `a.rs here`, `gone` |\n| b | c | none |\n| n | o | `node/b.rs a-case` |\n## Next\n| y |\n",
        ),
        ("tests/cases/a.rs", "fn here() {}"),
        ("tests/cases/node/b.rs", "name: \"a-case\","),
    ]);
    breaks(
        &faults::rows(&bad, 4),
        &[
            "ARCHITECTURE.md:6: no test `gone` in `tests/cases/a.rs`",
            "ARCHITECTURE.md:7: no test is named",
            "ARCHITECTURE.md: 3 faults, 4 at least",
        ],
    );
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
