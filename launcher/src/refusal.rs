//! What is wrong with a VMI, or with this host for it: every violation at once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that was asked for and cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON path of the field that asked, as `spec.domain.cpu.cores` or `spec.volumes[2].name`.
    pub path: String,
    /// What is wrong: lower case, no full stop, values in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Something the reader of a plan should know, and that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// JSON path of the field in question.
    pub path: String,
    /// What was assumed, ignored or changed, and why.
    pub message: String,
}

/// All violations of one VMI. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refusal {
    /// In the order of the document.
    pub violations: Vec<Violation>,
    /// What else was found: often the same slip, seen from the other side (`gest` is unknown, `guest` is missing).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
}

impl Refusal {
    /// Nothing else was found.
    pub fn new(violations: Vec<Violation>) -> Self {
        Self {
            violations,
            notices: Vec::new(),
        }
    }

    /// With what was found before.
    pub fn noticing(mut self, mut notices: Vec<Notice>) -> Self {
        notices.append(&mut self.notices);
        self.notices = notices;
        self
    }
}

impl Violation {
    /// A violation at `path`.
    pub fn new(
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl Notice {
    /// A notice at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if self.hint.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.hint)
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{violation}")?;
        }
        Ok(())
    }
}
