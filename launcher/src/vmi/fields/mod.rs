//! Every field of the VMI API, and what becomes of it. The one table; the mirror reads what it calls honoured.
//!
//! A field that the mirror does not read is looked up here: the pod's or the cluster's business, headroom for
//! later hotplug, or known and not done yet. What is not here nobody knows, or it stands in the wrong place.

mod annotations;
mod devices;
mod domain;
mod networks;
mod object;
mod volumes;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::tree::Node;

pub use annotations::ANNOTATIONS;

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Read by the mirror.
    Honoured,
    /// The pod's or the cluster's business: accepted.
    Pod,
    /// Room for later hotplug that KubeVirt's defaults fill in: accepted with this notice.
    Headroom(&'static str),
    /// Known, and not done by this version.
    Refused(Refused),
}

/// A field that this version does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Its name, or that of an annotation.
    pub name: &'static str,
    /// When it really asks for something.
    pub asked: Asked,
    /// What is not done.
    pub what: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

/// When a field's value asks for something. Null never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// By being there, as `sriov: {}` is.
    Present,
    /// By any value but false, zero, and the empty string, list or object.
    Filled,
    /// By being there without `enabled: false`.
    Enabled,
}

/// The fields of one object of the API.
#[derive(Debug)]
pub struct Group {
    /// Where the object stands, as [`super::path::Path::pattern`] writes it.
    pub at: &'static str,
    /// Fields that the mirror reads.
    pub honoured: &'static [&'static str],
    /// Fields that are the pod's or the cluster's business.
    pub pod: &'static [&'static str],
    /// Fields that are headroom for hotplug, each with its notice.
    pub headroom: &'static [(&'static str, &'static str)],
    /// Fields that are not done yet.
    pub refused: &'static [Refused],
    /// Every other field is the pod's or the cluster's business too.
    pub open: bool,
}

impl Group {
    /// An object without fields, to be filled in.
    pub const fn at(at: &'static str) -> Self {
        Self {
            at,
            honoured: &[],
            pod: &[],
            headroom: &[],
            refused: &[],
            open: false,
        }
    }

    fn classes(&self) -> impl Iterator<Item = (&'static str, Class)> + '_ {
        let honoured = self.honoured.iter().map(|name| (*name, Class::Honoured));
        let pod = self.pod.iter().map(|name| (*name, Class::Pod));
        let headroom = self
            .headroom
            .iter()
            .map(|(name, notice)| (*name, Class::Headroom(notice)));
        let refused = self
            .refused
            .iter()
            .map(|field| (field.name, Class::Refused(*field)));
        honoured.chain(pod).chain(headroom).chain(refused)
    }
}

/// Asks by being there.
const fn present(name: &'static str, what: &'static str, hint: &'static str) -> Refused {
    Refused {
        name,
        asked: Asked::Present,
        what,
        hint,
    }
}

/// Asks by holding something.
const fn filled(name: &'static str, what: &'static str, hint: &'static str) -> Refused {
    Refused {
        name,
        asked: Asked::Filled,
        what,
        hint,
    }
}

/// Asks unless `enabled: false`.
const fn enabled(name: &'static str, what: &'static str, hint: &'static str) -> Refused {
    Refused {
        name,
        asked: Asked::Enabled,
        what,
        hint,
    }
}

impl Refused {
    /// Whether `value` asks for it.
    pub fn is_asked(&self, value: &Node) -> bool {
        match (self.asked, value) {
            (_, Node::Null | Node::Void) => false,
            (Asked::Present, _) => true,
            (Asked::Filled, value) => is_filled(value),
            (Asked::Enabled, Node::Map(entries)) => !entries
                .iter()
                .any(|(name, value)| name == "enabled" && *value == Node::Bool(false)),
            (Asked::Enabled, value) => is_filled(value),
        }
    }
}

fn is_filled(value: &Node) -> bool {
    match value {
        Node::Null | Node::Void => false,
        Node::Bool(on) => *on,
        Node::Number(number) => number.as_f64() != Some(0.0),
        Node::Text(text) => !text.is_empty(),
        Node::List(elements) => elements.iter().any(is_filled_element),
        Node::Map(entries) => entries
            .iter()
            .any(|(_, value)| is_filled(value) || is_object(value)),
    }
}

/// A list of empty objects is a list of something.
fn is_filled_element(value: &Node) -> bool {
    *value != Node::Null
}

/// `snp: {}` inside `launchSecurity` is asked for.
fn is_object(value: &Node) -> bool {
    matches!(value, Node::Map(_))
}

/// All objects, in the API's own order.
pub fn groups() -> impl Iterator<Item = &'static Group> {
    [
        object::GROUPS,
        domain::GROUPS,
        devices::GROUPS,
        networks::GROUPS,
        volumes::GROUPS,
    ]
    .into_iter()
    .flatten()
}

/// Objects by where they stand, each field by its name.
type Index = BTreeMap<&'static str, (&'static Group, BTreeMap<&'static str, Class>)>;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    groups()
        .map(|group| (group.at, (group, group.classes().collect())))
        .collect()
});

/// What becomes of the field `name` in the object at `parent`; none when nobody knows it.
pub fn class(parent: &str, name: &str) -> Option<Class> {
    let (group, fields) = INDEX.get(parent)?;
    fields
        .get(name)
        .copied()
        .or_else(|| group.open.then_some(Class::Pod))
}

/// Names of the fields of the object at `parent`.
pub fn names_in(parent: &str) -> impl Iterator<Item = &'static str> {
    INDEX
        .get(parent)
        .into_iter()
        .flat_map(|(_, fields)| fields.keys().copied())
}

/// Objects that have a field `name`, where a user may write it.
pub fn homes_of(name: &str) -> Vec<&'static str> {
    INDEX
        .iter()
        .filter(|(at, (_, fields))| fields.contains_key(name) && !at.starts_with("status"))
        .map(|(at, _)| *at)
        .chain(
            INSIDE
                .iter()
                .filter(|(_, inner)| *inner == name)
                .map(|(at, _)| *at),
        )
        .collect()
}

/// Fields inside objects that the mirror does not enter, which people put in the wrong place.
const INSIDE: &[(&str, &str)] = &[
    ("spec.domain.firmware.bootloader.efi", "secureBoot"),
    ("spec.domain.devices.disks[].blockSize", "custom"),
    ("spec.domain.devices.disks[].blockSize", "matchVolume"),
    ("spec.domain.devices.disks[].lun", "reservation"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_and_no_field_stands_twice() {
        assert_eq!(groups().count(), INDEX.len());
        for group in groups() {
            let (_, fields) = &INDEX[group.at];
            assert_eq!(group.classes().count(), fields.len(), "{}", group.at);
        }
    }

    #[test]
    fn asking_depends_on_the_field() {
        let tree = |json: &str| serde_json::from_str::<Node>(json).unwrap();
        for (field, asks, does_not) in [
            (present("a", "", ""), vec!["{}", "false"], vec!["null"]),
            (
                filled("a", "", ""),
                vec!["true", "1", "\"x\"", "[{}]", "{\"snp\": {}}"],
                vec!["null", "false", "0", "\"\"", "[]", "{}", "{\"a\": false}"],
            ),
            (
                enabled("a", "", ""),
                vec!["{}", "{\"enabled\": true}"],
                vec!["{\"enabled\": false}", "null"],
            ),
        ] {
            for json in asks {
                assert!(field.is_asked(&tree(json)), "{field:?} {json}");
            }
            for json in does_not {
                assert!(!field.is_asked(&tree(json)), "{field:?} {json}");
            }
        }
    }
}
