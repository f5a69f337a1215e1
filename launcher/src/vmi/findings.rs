//! What a reading found: violations and notices, put into the document's order at the end.

use super::path::Path;
use super::tree::Node;
use crate::refusal::{Notice, Refusal, Violation};

/// Collects while the document is read and checked.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    violations: Vec<(Path, Violation)>,
    notices: Vec<(Path, Notice)>,
    mistyped: Vec<Path>,
    omitted: usize,
}

/// Nobody reads more, and a hostile file must not cost more.
const MOST_FINDINGS: usize = 500;

impl Findings {
    /// Something that was asked for and cannot be given.
    ///
    /// Nothing is said of a place whose type is wrong beyond that.
    pub fn refuse(&mut self, at: &Path, message: impl Into<String>, hint: impl Into<String>) {
        if self.mistyped.iter().any(|path| path.contains(at)) {
            return;
        }
        if self.violations.len() >= MOST_FINDINGS {
            self.omitted += 1;
            return;
        }
        let violation = Violation::new(at.to_string(), message, hint);
        self.violations.push((at.clone(), violation));
    }

    /// A value of the wrong type.
    pub fn mistyped(&mut self, at: &Path, message: impl Into<String>, hint: impl Into<String>) {
        self.refuse(at, message, hint);
        self.mistyped.push(at.clone());
    }

    /// Something that the reader should know.
    pub fn notice(&mut self, at: &Path, message: impl Into<String>) {
        if self.notices.len() < MOST_FINDINGS {
            self.notices
                .push((at.clone(), Notice::new(at.to_string(), message)));
        }
    }

    /// Whether something at `at` or below it was refused: then its absence is no news.
    pub fn refused_within(&self, at: &Path) -> bool {
        self.violations.iter().any(|(path, _)| at.contains(path))
    }

    /// Everything in the order of `tree`: notices, or the refusal when there is a violation.
    ///
    /// # Errors
    /// The violations.
    pub fn in_order_of(mut self, tree: &Node) -> Result<Vec<Notice>, Refusal> {
        self.violations
            .sort_by_cached_key(|(path, _)| tree.position(path));
        self.notices
            .sort_by_cached_key(|(path, _)| tree.position(path));
        let notices: Vec<_> = self.notices.into_iter().map(|(_, notice)| notice).collect();
        if self.violations.is_empty() {
            return Ok(notices);
        }
        let mut violations: Vec<_> = self
            .violations
            .into_iter()
            .map(|(_, violation)| violation)
            .collect();
        if self.omitted > 0 {
            violations.push(Violation::new(
                Path::root().to_string(),
                format!("{} more violations are not shown", self.omitted),
                "correct these first",
            ));
        }
        Err(Refusal::new(violations).noticing(notices))
    }
}
