//! A small schema of the shapes that QEMU's has.

use serde_json::json;

use super::*;

fn schema() -> Schema {
    Schema::parse(json!([
        {"name": "str", "meta-type": "builtin", "json-type": "string"},
        {"name": "int", "meta-type": "builtin", "json-type": "int"},
        {"name": "null", "meta-type": "builtin", "json-type": "null"},
        {"name": "0", "meta-type": "object", "members": []},
        {"name": "query-status", "meta-type": "command", "arg-type": "0", "ret-type": "5"},
        {"name": "blockdev-add", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
        {"name": "device_add", "meta-type": "command", "arg-type": "4", "ret-type": "0", "features": ["json-cli"]},
        {"name": "yank", "meta-type": "command", "arg-type": "0", "ret-type": "0", "allow-oob": true},
        {"name": "1", "meta-type": "object", "tag": "driver",
         "members": [{"name": "driver", "type": "2"}, {"name": "node-name", "type": "str", "default": null}],
         "variants": [{"case": "file", "type": "3"}, {"case": "null-co", "type": "0"}]},
        {"name": "2", "meta-type": "enum", "values": ["file", "null-co"], "members": [{"name": "file"}, {"name": "null-co"}]},
        {"name": "3", "meta-type": "object", "members": [{"name": "filename", "type": "str"}, {"name": "backing", "type": "6", "default": null}]},
        {"name": "4", "meta-type": "object", "members": [{"name": "driver", "type": "str"}]},
        {"name": "5", "meta-type": "object", "members": [{"name": "sizes", "type": "[int]"}]},
        {"name": "[int]", "meta-type": "array", "element-type": "int"},
        {"name": "6", "meta-type": "alternate", "members": [{"type": "str"}, {"type": "1"}, {"type": "null"}]},
        {"name": "STOP", "meta-type": "event", "arg-type": "0"},
        {"name": "new", "meta-type": "hologram"},
    ]))
    .expect("a schema")
}

fn misuses(name: &str, arguments: Value) -> Vec<String> {
    schema()
        .check(name, &arguments)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn good_commands_pass() {
    assert!(misuses("query-status", Value::Null).is_empty());
    let nested = json!({"driver": "file", "filename": "f", "backing": {"driver": "null-co"}});
    assert!(misuses("blockdev-add", nested).is_empty());
    assert!(misuses("device_add", json!({"driver": "virtio-net", "mac": "x"})).is_empty());
}

#[test]
fn bad_commands_say_what_and_where() {
    assert_eq!(
        misuses("query-statsu", Value::Null),
        ["this QEMU has no command `query-statsu`; did you mean `query-status`?"]
    );
    assert_eq!(
        misuses("query-status", json!(3)),
        ["`arguments` must be an object"]
    );
    assert_eq!(
        misuses("blockdev-add", json!({"driver": "file", "file_name": "f"})),
        [
            "the argument `filename` is missing",
            "`file_name` is no argument; did you mean `filename`?"
        ]
    );
    assert_eq!(
        misuses("blockdev-add", json!({"driver": "fil"})),
        ["`driver` cannot be `fil`; did you mean `file`?"]
    );
    assert_eq!(
        misuses("blockdev-add", json!({})),
        ["the argument `driver` is missing"]
    );
    assert_eq!(
        misuses(
            "blockdev-add",
            json!({"driver": "file", "filename": 3, "backing": {"driver": "file"}})
        ),
        [
            "`filename` must be `str`",
            "the argument `backing.filename` is missing"
        ]
    );
    assert_eq!(
        misuses(
            "blockdev-add",
            json!({"driver": "file", "filename": "", "backing": 4})
        ),
        ["`backing` must be `str or {...} or null`"]
    );
}

#[test]
fn types_are_shown_by_what_they_are_made_of() {
    let schema = schema();
    let command = schema.command("blockdev-add").expect("known");
    let shown: Vec<String> = schema
        .arguments(command)
        .iter()
        .map(|one| format!("{} {} {:?}", one.name, schema.show(one), one.when))
        .collect();
    assert_eq!(
        shown,
        [
            "driver file | null-co None",
            "node-name str None",
            "filename str Some(\"driver=file\")",
            "backing str or {...} or null Some(\"driver=file\")",
        ]
    );
    let status = schema.command("query-status").expect("known");
    assert_eq!(schema.show_returns(status), "{sizes: [int]}");
    assert!(schema.command("yank").is_some_and(|yank| yank.allow_oob));
    assert_eq!(schema.event("STOP"), Some(Vec::new()));
}

#[test]
fn an_answer_of_another_shape_is_an_error() {
    assert!(Schema::parse(json!({"a": 1})).is_err());
}
