//! The VMI as it is written: a serde mirror of `kubevirt.io/v1` and `v1alpha3`, the only place with its field names.
//!
//! Reading collects rather than stops: values of the wrong type, fields that are not done, misplaced and unknown
//! ones all become findings of the [`Document`], which `spec` adds its own to.

mod annotations;
pub mod fields;
pub mod findings;
mod kind;
pub mod mirror;
pub mod path;
#[cfg(test)]
mod probe;
mod text;
pub mod tree;
mod tree_de;
mod typed;
mod unread;

#[cfg(test)]
mod tests;

use findings::Findings;
use mirror::Vmi;
use tree::Node;

use crate::refusal::{Notice, Refusal};

pub use tree_de::shortened;

/// A VMI that could be read, and what reading it found.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its honoured fields.
    pub vmi: Vmi,
    tree: Node,
    findings: Findings,
}

/// Reads one VirtualMachineInstance from JSON or YAML.
///
/// # Errors
/// Text that is no document, or a document that is no VirtualMachineInstance. Everything wrong *within* a VMI is
/// kept in the [`Document`] until `spec` has found the rest.
pub fn read(text: &str) -> Result<Document, Refusal> {
    let mut tree = text::parse(text)?;
    kind::check(&tree)?;
    let mut findings = Findings::default();
    kind::check_version(&tree, &mut findings);
    let (vmi, unread) = typed::read(&mut tree, &mut findings);
    unread::judge(&unread, &tree, &mut findings);
    annotations::judge(&vmi.metadata, &mut findings);
    Ok(Document {
        vmi,
        tree,
        findings,
    })
}

impl Document {
    /// What reading found, for `spec` to go on with.
    pub fn findings(&self) -> Findings {
        self.findings.clone()
    }

    /// Puts findings into this document's order: notices, or the refusal when anything is refused.
    ///
    /// # Errors
    /// Every violation.
    pub fn conclude(&self, findings: Findings) -> Result<Vec<Notice>, Refusal> {
        findings.in_order_of(&self.tree)
    }
}
