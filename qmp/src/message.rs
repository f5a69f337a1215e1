//! One line of QMP from QEMU: greeting, event or reply.

use serde_json::{Map, Value};

use crate::{ErrorClass, Event};

/// What a line from the server is.
#[derive(Debug)]
pub(crate) enum Message {
    Greeting {
        version: Version,
        capabilities: Vec<String>,
    },
    Event(Event),
    Reply {
        id: Value,
        result: Result<Value, Refused>,
    },
}

/// QEMU's error reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{desc} ({class})")]
pub struct Refused {
    /// The class, which programs match on.
    pub class: ErrorClass,
    /// The words, for people.
    pub desc: String,
}

/// QEMU's version, from the greeting. Zeros where the greeting did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// The 10 of 10.0.2.
    pub major: u64,
    /// The 0 of 10.0.2.
    pub minor: u64,
    /// The 2 of 10.0.2.
    pub micro: u64,
    /// What the distributor adds.
    pub package: String,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// `None` where the line is no QMP message.
pub(crate) fn parse(line: &[u8]) -> Option<Message> {
    let Ok(Value::Object(mut object)) = serde_json::from_slice(line) else {
        return None;
    };
    if let Some(greeting) = object.get("QMP") {
        return Some(read_greeting(greeting));
    }
    if object.contains_key("event") {
        return Event::from_object(object).map(Message::Event);
    }
    let id = object.remove("id").unwrap_or(Value::Null);
    if let Some(value) = object.remove("return") {
        let result = Ok(value);
        return Some(Message::Reply { id, result });
    }
    let Some(Value::Object(error)) = object.remove("error") else {
        return None;
    };
    let result = Err(read_error(&error));
    Some(Message::Reply { id, result })
}

fn read_greeting(greeting: &Value) -> Message {
    let qemu = &greeting["version"]["qemu"];
    let number = |name: &str| qemu[name].as_u64().unwrap_or_default();
    Message::Greeting {
        version: Version {
            major: number("major"),
            minor: number("minor"),
            micro: number("micro"),
            package: greeting["version"]["package"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        },
        capabilities: greeting["capabilities"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
    }
}

pub(crate) fn read_error(error: &Map<String, Value>) -> Refused {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    Refused {
        class: ErrorClass::from(text("class")),
        desc: text("desc").to_owned(),
    }
}

/// The text of one request, with its line end.
pub(crate) fn request<A: serde::Serialize>(
    key: &'static str,
    name: &str,
    arguments: &A,
    id: Option<&str>,
) -> Result<Vec<u8>, serde_json::Error> {
    let arguments = serde_json::to_value(arguments)?;
    let mut object = Map::new();
    object.insert(key.to_owned(), name.into());
    match &arguments {
        Value::Null => {}
        Value::Object(map) if map.is_empty() => {}
        Value::Object(_) => {
            object.insert("arguments".to_owned(), arguments);
        }
        _ => return Err(serde::ser::Error::custom("arguments must be an object")),
    }
    if let Some(id) = id {
        object.insert("id".to_owned(), id.into());
    }
    let mut line = serde_json::to_vec(&Value::Object(object))?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_are() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "p"}, "capabilities": ["oob", "new"]}}"#;
        let Some(Message::Greeting {
            version,
            capabilities,
        }) = parse(greeting)
        else {
            panic!("no greeting");
        };
        assert_eq!(version.to_string(), "10.0.2");
        assert_eq!(capabilities, ["oob", "new"]);
        let error = br#"{"id": "1-3", "error": {"class": "New", "desc": "d"}}"#;
        let Some(Message::Reply { id, result }) = parse(error) else {
            panic!("no reply");
        };
        assert_eq!(id, "1-3");
        let refused = result.expect_err("an error");
        assert_eq!(refused.class, ErrorClass::Other("New".into()));
        for garbage in [
            "",
            "{",
            "[]",
            "null",
            r#"{"a": 1}"#,
            r#"{"error": 1}"#,
            r#"{"event": 1}"#,
            "\u{0}",
        ] {
            assert!(parse(garbage.as_bytes()).is_none(), "{garbage}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_none());
    }

    #[test]
    fn requests_carry_an_object_or_nothing() {
        let line = |arguments: Value| request("execute", "quit", &arguments, Some("1-2"));
        let text = String::from_utf8(line(Value::Null).expect("json")).expect("utf-8");
        assert_eq!(text, "{\"execute\":\"quit\",\"id\":\"1-2\"}\n");
        assert!(line(Value::from(3)).is_err());
    }
}
