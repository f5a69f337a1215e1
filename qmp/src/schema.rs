//! What a QEMU says about itself: `query-qmp-schema`, resolved into names, arguments and types.
//!
//! QEMU masks the names of its types as numbers, which mean nothing outside one answer, so a type is shown
//! by what it is made of.

mod check;
mod names;
mod show;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use check::Misuse;
pub use names::nearest;

/// All commands, events and types of one QEMU.
#[derive(Debug, Clone)]
pub struct Schema {
    commands: BTreeMap<String, Command>,
    events: BTreeMap<String, String>,
    types: BTreeMap<String, Type>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub name: String,
    /// Whether it may run out of band.
    pub allow_oob: bool,
    /// Special features, as `deprecated` or `unstable`.
    pub features: Vec<String>,
    arguments: String,
    returns: String,
}

/// One argument of a command, or one field of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Whether it may be left out.
    pub optional: bool,
    /// Special features, as `deprecated`.
    pub features: Vec<String>,
    /// Only when the tag has this value, as `driver=qcow2`.
    pub when: Option<String>,
    pub(super) kind: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Type {
    /// `str`, `int`, `bool`, `number`, `null`, `any`: by JSON type.
    Builtin {
        json: String,
    },
    Enum {
        values: Vec<String>,
    },
    Array {
        element: String,
    },
    Object {
        members: Vec<Member>,
        tag: Option<String>,
        variants: BTreeMap<String, String>,
    },
    Alternate {
        members: Vec<String>,
    },
}

/// The answer is no schema.
#[derive(Debug, thiserror::Error)]
#[error("the answer to `query-qmp-schema` cannot be read")]
pub struct SchemaError(#[source] serde_json::Error);

impl Schema {
    /// Reads the answer to `query-qmp-schema`. Entities of a kind that we do not know are passed over.
    pub fn parse(answer: Value) -> Result<Self, SchemaError> {
        let entities: Vec<Entity> = serde_json::from_value(answer).map_err(SchemaError)?;
        let mut schema = Self {
            commands: BTreeMap::new(),
            events: BTreeMap::new(),
            types: BTreeMap::new(),
        };
        for entity in entities {
            schema.take(entity);
        }
        Ok(schema)
    }

    /// Names of all commands, sorted.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.commands.keys().map(String::as_str)
    }

    /// Names of all events, sorted.
    pub fn events(&self) -> impl Iterator<Item = &str> {
        self.events.keys().map(String::as_str)
    }

    /// One command.
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.commands.get(name)
    }

    /// The arguments of `command`, variants included.
    pub fn arguments(&self, command: &Command) -> Vec<Member> {
        self.members(&command.arguments)
    }

    /// The fields of an event's data; `None` if there is no such event.
    pub fn event(&self, name: &str) -> Option<Vec<Member>> {
        Some(self.members(self.events.get(name)?))
    }

    /// All members of an object type, those of its variants included (once per name), in schema order.
    fn members(&self, name: &str) -> Vec<Member> {
        let Some(Type::Object {
            members,
            tag,
            variants,
        }) = self.types.get(name)
        else {
            return Vec::new();
        };
        let mut all = members.clone();
        let mut seen: BTreeSet<String> = all.iter().map(|member| member.name.clone()).collect();
        for (case, variant) in variants {
            let Some(Type::Object { members, .. }) = self.types.get(variant) else {
                continue;
            };
            for member in members {
                if seen.insert(member.name.clone()) {
                    let when = tag.as_ref().map(|tag| format!("{tag}={case}"));
                    all.push(Member {
                        when,
                        ..member.clone()
                    });
                }
            }
        }
        all
    }

    fn take(&mut self, entity: Entity) {
        let Entity { name, features, .. } = entity;
        let kind = match entity.meta_type.as_str() {
            "command" => {
                let command = Command {
                    name: name.clone(),
                    allow_oob: entity.allow_oob,
                    features,
                    arguments: entity.arg_type.unwrap_or_default(),
                    returns: entity.ret_type.unwrap_or_default(),
                };
                self.commands.insert(name, command);
                return;
            }
            "event" => {
                self.events
                    .insert(name, entity.arg_type.unwrap_or_default());
                return;
            }
            "builtin" => Type::Builtin {
                json: entity.json_type.unwrap_or_default(),
            },
            "enum" => Type::Enum {
                values: entity.values,
            },
            "array" => Type::Array {
                element: entity.element_type.unwrap_or_default(),
            },
            "object" => Type::Object {
                members: entity
                    .members
                    .into_iter()
                    .filter_map(RawMember::named)
                    .collect(),
                tag: entity.tag,
                variants: entity
                    .variants
                    .into_iter()
                    .map(|one| (one.case, one.kind))
                    .collect(),
            },
            "alternate" => Type::Alternate {
                members: entity
                    .members
                    .into_iter()
                    .filter_map(|member| member.kind)
                    .collect(),
            },
            _ => return,
        };
        self.types.insert(name, kind);
    }
}

/// One entry of the answer, whatever it is (QEMU `qapi/introspect.json`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entity {
    name: String,
    meta_type: String,
    json_type: Option<String>,
    element_type: Option<String>,
    arg_type: Option<String>,
    ret_type: Option<String>,
    tag: Option<String>,
    #[serde(default)]
    allow_oob: bool,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    members: Vec<RawMember>,
    #[serde(default)]
    variants: Vec<RawVariant>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct RawVariant {
    case: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct RawMember {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A member that has a default, be it null, may be left out.
    #[serde(default, rename = "default", deserialize_with = "present")]
    optional: bool,
    #[serde(default)]
    features: Vec<String>,
}

impl RawMember {
    fn named(self) -> Option<Member> {
        Some(Member {
            name: self.name?,
            optional: self.optional,
            features: self.features,
            when: None,
            kind: self.kind?,
        })
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests;
