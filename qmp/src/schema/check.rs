//! Arguments checked against the schema before anything is sent.

use serde_json::{Map, Value};

use super::{Schema, Type, nearest};

/// Commands that take more arguments than their schema lists (`'gen': false` in QEMU's `qapi/qdev.json`).
const OPEN: [&str; 1] = ["device_add"];

/// How deep arguments are followed; JSON deeper than this is QEMU's to judge.
const DEPTH: usize = 32;

/// One thing wrong with a command line for QEMU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// There is no such command.
    #[error("this QEMU has no command `{name}`{}", did_you_mean(nearest.as_deref()))]
    UnknownCommand {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// There is no such argument.
    #[error("`{path}` is no argument{}", did_you_mean(nearest.as_deref()))]
    UnknownArgument {
        /// Its path, as `driver` or `server.port`.
        path: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// An argument that must be there is not.
    #[error("the argument `{path}` is missing")]
    Missing {
        /// Its path.
        path: String,
    },
    /// A value of the wrong JSON type.
    #[error("`{path}` must be {wanted}")]
    WrongType {
        /// Its path.
        path: String,
        /// The type, as the schema shows it.
        wanted: String,
    },
    /// No value of this enumeration.
    #[error("`{path}` cannot be `{value}`{}", did_you_mean(nearest.as_deref()))]
    UnknownValue {
        /// Its path.
        path: String,
        /// What was given.
        value: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

impl Schema {
    /// Everything wrong with `name` and `arguments` (an object or null); empty if QEMU's parser will take it.
    pub fn check(&self, name: &str, arguments: &Value) -> Vec<Misuse> {
        let Some(command) = self.command(name) else {
            let nearest = nearest(name, self.commands()).map(str::to_owned);
            return vec![Misuse::UnknownCommand {
                name: name.to_owned(),
                nearest,
            }];
        };
        let empty = Map::new();
        let object = match arguments {
            Value::Null => &empty,
            Value::Object(object) => object,
            _ => {
                return vec![Misuse::WrongType {
                    path: "arguments".into(),
                    wanted: "an object".into(),
                }];
            }
        };
        let mut found = Vec::new();
        let open = OPEN.contains(&name);
        Check {
            schema: self,
            found: &mut found,
        }
        .object(&command.arguments, object, "", open, DEPTH);
        found
    }
}

struct Check<'a> {
    schema: &'a Schema,
    found: &'a mut Vec<Misuse>,
}

impl Check<'_> {
    fn object(
        &mut self,
        name: &str,
        object: &Map<String, Value>,
        path: &str,
        open: bool,
        depth: usize,
    ) {
        let Some(Type::Object {
            members,
            tag,
            variants,
        }) = self.schema.types.get(name)
        else {
            return;
        };
        let mut allowed = members.clone();
        let case = tag
            .as_ref()
            .map(|tag| object.get(tag).and_then(Value::as_str));
        match case {
            Some(Some(case)) => {
                if let Some(variant) = variants.get(case) {
                    allowed.extend(self.schema.members(variant));
                }
            }
            // The tag is missing or no string: that is said once, and the rest cannot be judged.
            Some(None) => allowed = self.schema.members(name),
            None => {}
        }
        for member in &allowed {
            let path = join(path, &member.name);
            match object.get(&member.name) {
                Some(value) => self.value(&member.kind, value, &path, depth),
                None if member.optional || member.when.is_some() => {}
                None => self.found.push(Misuse::Missing { path }),
            }
        }
        if open {
            return;
        }
        for key in object
            .keys()
            .filter(|key| !allowed.iter().any(|member| member.name == **key))
        {
            let nearest =
                nearest(key, allowed.iter().map(|member| member.name.as_str())).map(str::to_owned);
            self.found.push(Misuse::UnknownArgument {
                path: join(path, key),
                nearest,
            });
        }
    }

    fn value(&mut self, name: &str, value: &Value, path: &str, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match (self.schema.types.get(name), value) {
            (Some(Type::Object { .. }), Value::Object(object)) => {
                self.object(name, object, path, false, depth)
            }
            (Some(Type::Array { element }), Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(element, value, &format!("{path}[{index}]"), depth);
                }
            }
            (Some(Type::Enum { values }), Value::String(text)) => {
                let known = values.contains(text);
                if !known {
                    let nearest =
                        nearest(text, values.iter().map(String::as_str)).map(str::to_owned);
                    self.found.push(Misuse::UnknownValue {
                        path: path.to_owned(),
                        value: text.clone(),
                        nearest,
                    });
                }
            }
            (Some(Type::Alternate { members }), value) => {
                // QEMU tells the alternatives apart by JSON type.
                match members.iter().find(|member| self.fits(member, value)) {
                    Some(member) => self.value(member, value, path, depth),
                    None => self.wrong(name, path),
                }
            }
            (Some(_), value) if !self.fits(name, value) => self.wrong(name, path),
            _ => {}
        }
    }

    fn wrong(&mut self, name: &str, path: &str) {
        let wanted = self.schema.show_type(name, 1);
        self.found.push(Misuse::WrongType {
            path: path.to_owned(),
            wanted: format!("`{wanted}`"),
        });
    }

    /// Whether the JSON type is one that this type takes.
    fn fits(&self, name: &str, value: &Value) -> bool {
        match self.schema.types.get(name) {
            Some(Type::Object { .. }) => value.is_object(),
            Some(Type::Array { .. }) => value.is_array(),
            Some(Type::Enum { .. }) => value.is_string(),
            Some(Type::Alternate { members }) => {
                members.iter().any(|member| self.fits(member, value))
            }
            Some(Type::Builtin { json }) => match json.as_str() {
                "string" => value.is_string(),
                "int" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                _ => true,
            },
            None => true,
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
