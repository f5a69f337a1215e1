use std::collections::BTreeSet;

use super::fields::{self, Class};
use super::*;

/// The table and the mirror are two lists of the same fields: neither may run ahead of the other.
#[test]
fn the_mirror_reads_exactly_what_the_table_calls_honoured() {
    let mut honoured = BTreeSet::new();
    for group in fields::groups() {
        for name in fields::names_in(group.at) {
            if fields::class(group.at, name) == Some(Class::Honoured) {
                honoured.insert((group.at.to_owned(), name));
            }
        }
    }
    let mirrored = probe::fields();
    let only_mirrored: Vec<_> = mirrored.difference(&honoured).collect();
    let only_honoured: Vec<_> = honoured.difference(&mirrored).collect();
    assert!(
        only_mirrored.is_empty() && only_honoured.is_empty(),
        "mirror only: {only_mirrored:?}; table only: {only_honoured:?}"
    );
}

fn refusal(text: &str) -> String {
    match read(text) {
        Ok(document) => document
            .conclude(document.findings())
            .expect_err("it should be refused")
            .to_string(),
        Err(refusal) => refusal.to_string(),
    }
}

const HEAD: &str = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\n";

#[test]
fn every_wrong_type_is_found_in_the_order_of_the_document() {
    let text = format!(
        "{HEAD}spec:\n  volumes: {{name: a}}\n  domain:\n    memory: {{guest: 1 Gi}}\n    cpu: {{cores: '2', threads: -1}}\n    \
         devices: {{disks: [[], {{name: 5}}]}}\n"
    );
    assert_eq!(
        refusal(&text),
        "spec.volumes: expected a list, found an object; \
         begin each element with `- ` (YAML), or put `[` and `]` around it (JSON)\n\
         spec.domain.memory.guest: `1 Gi` is not a quantity: there is no suffix ` Gi`; \
         did you mean `1Gi`?\n\
         spec.domain.cpu.cores: expected a whole number from 0 to 4294967295, found the string `2`; \
         write it without quotes\n\
         spec.domain.cpu.threads: expected a whole number from 0 to 4294967295, found the number `-1`; \
         give a whole number from 0 to 4294967295\n\
         spec.domain.devices.disks[0]: expected an object, found a list; \
         there is only one here: remove the `- ` (YAML) or the `[` and `]` (JSON)\n\
         spec.domain.devices.disks[1].name: expected a string, found the number `5`; put it in quotes"
    );
}

#[test]
fn a_flood_of_wrong_types_ends() {
    let list = "1,".repeat(5000);
    let text =
        format!("{{\"kind\": \"VirtualMachineInstance\", \"spec\": {{\"volumes\": [{list}1]}}}}");
    let refusal = refusal(&text);
    assert!(
        refusal.contains("too many values have the wrong type") && refusal.lines().count() <= 102,
        "{refusal}"
    );
}

#[test]
fn nesting_and_size_are_bounded() {
    for (text, says) in [
        (
            format!("{HEAD}a: {}{}", "[".repeat(5000), "]".repeat(5000)),
            "not valid YAML",
        ),
        (format!("{{\"a\": {}", "[".repeat(5000)), "not valid JSON"),
        ("a".repeat((4 << 20) + 1), "more than"),
        (
            format!(
                "{HEAD}a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [{0}]\nc: &c [{1}]\nd: [{2}]\n",
                ["*a"; 100].join(","),
                ["*b"; 100].join(","),
                ["*c"; 100].join(",")
            ),
            "not valid YAML",
        ),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.contains(says), "{refusal}");
    }
}

#[test]
fn a_flood_of_unknown_fields_ends() {
    let fields: Vec<_> = (0..200_000)
        .map(|number| format!("\"f{number}\": 0"))
        .collect();
    let text = format!(
        "{{\"kind\": \"VirtualMachineInstance\", {}}}",
        fields.join(",")
    );
    assert!(refusal(&text).contains("hundreds of fields"));
}

#[test]
fn null_asks_for_nothing() {
    let text = format!(
        "{HEAD}spec:\n  volumes: null\n  domain:\n    devices:\n      gpus: null\n      hostDevices: []\n"
    );
    assert!(
        read(&text)
            .unwrap()
            .conclude(read(&text).unwrap().findings())
            .unwrap()
            .is_empty()
    );
}
