//! Types as people read them.

use super::{Command, Member, Schema, Type};

/// How deep a type is shown before it becomes `{...}`.
const DEPTH: usize = 2;

impl Schema {
    /// The type of an argument, as `str`, `[int]`, `on | off | auto`, `{host: str, port: str}`.
    pub fn show(&self, member: &Member) -> String {
        self.show_type(&member.kind, 1)
    }

    /// What a command answers.
    pub fn show_returns(&self, command: &Command) -> String {
        self.show_type(&command.returns, DEPTH)
    }

    pub(super) fn show_type(&self, name: &str, depth: usize) -> String {
        match self.types.get(name) {
            None => name.to_owned(),
            // QEMU keeps the names of builtin types.
            Some(Type::Builtin { .. }) => name.to_owned(),
            Some(Type::Enum { values }) => values.join(" | "),
            Some(Type::Array { element }) => format!("[{}]", self.show_type(element, depth)),
            Some(Type::Alternate { members }) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|one| self.show_type(one, depth.saturating_sub(1)))
                    .collect();
                members.join(" or ")
            }
            Some(Type::Object { .. }) => self.show_object(name, depth),
        }
    }

    fn show_object(&self, name: &str, depth: usize) -> String {
        let members = self.members(name);
        if members.is_empty() {
            return "{}".to_owned();
        }
        if depth == 0 {
            return "{...}".to_owned();
        }
        let shown: Vec<String> = members
            .iter()
            .map(|member| {
                let mark = if member.optional || member.when.is_some() {
                    "?"
                } else {
                    ""
                };
                format!(
                    "{}{mark}: {}",
                    member.name,
                    self.show_type(&member.kind, depth - 1)
                )
            })
            .collect();
        format!("{{{}}}", shown.join(", "))
    }
}
