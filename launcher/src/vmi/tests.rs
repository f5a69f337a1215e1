use super::fields::{self, Class};
use super::path::{Path, Segment};
use super::tree::Node;
use super::*;

/// A document in which the field at `pattern` is `value` and every object on the way to it exists.
fn document_with(pattern: &str, value: Node) -> (Node, Path) {
    let mut path = Path::root();
    for step in pattern.split('.').filter(|step| !step.is_empty()) {
        match step.strip_suffix("[]") {
            Some(list) => path = path.key(list.to_owned()).index(0),
            None => path = path.key(step.to_owned()),
        }
    }
    let tree = path
        .segments()
        .iter()
        .rev()
        .fold(value, |inner, segment| match segment {
            Segment::Key(key) => Node::Map(vec![(key.to_string(), inner)]),
            Segment::Index(_) => Node::List(vec![inner]),
        });
    (tree, path)
}

/// The table and the mirror are two lists of the same fields: neither may run ahead of the other.
#[test]
fn the_mirror_reads_exactly_what_the_table_calls_honoured() {
    for group in fields::groups() {
        for name in fields::names_in(group.at) {
            let (mut tree, path) = document_with(&format!("{}.{name}", group.at), Node::Void);
            let (_, unread) = typed::read(&mut tree, &mut Findings::default());
            let honoured = matches!(fields::class(group.at, name), Some(Class::Honoured));
            assert_eq!(!unread.contains(&path), honoured, "{path}");
        }
    }
}

/// What the mirror enters has a group of its own, or its unknown fields would all be nobody's.
#[test]
fn every_object_of_the_mirror_has_its_group() {
    for group in fields::groups() {
        for name in fields::names_in(group.at) {
            let at = format!("{}.{name}", group.at);
            for inner in [at.clone(), format!("{at}[]")] {
                let (mut tree, path) =
                    document_with(&format!("{inner}.nobodyKnowsThis"), Node::Bool(true));
                let mut findings = Findings::default();
                let (_, unread) = typed::read(&mut tree, &mut findings);
                if unread.contains(&path) {
                    let inner = path.parent().pattern();
                    assert!(fields::groups().any(|group| group.at == inner), "{inner}");
                }
            }
        }
    }
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
