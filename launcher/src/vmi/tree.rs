//! A document as it was written, in its order, before anything is known of its meaning.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::path::{Path, Segment};

/// One value of the document.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`: as if the key were not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object; no key appears twice.
    Map(Vec<(String, Node)>),
    /// What stood here had the wrong type and has been reported: reads as the empty value of any type.
    Void,
}

impl Node {
    /// The value below `path`, where there is one.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        path.segments()
            .iter()
            .try_fold(self, |node, segment| match (node, segment) {
                (Node::Map(entries), Segment::Key(key)) => entries
                    .iter()
                    .find(|(name, _)| name == key)
                    .map(|(_, value)| value),
                (Node::List(elements), Segment::Index(index)) => elements.get(*index),
                _ => None,
            })
    }

    /// Like [`Self::get`], to change it.
    pub fn get_mut(&mut self, path: &Path) -> Option<&mut Node> {
        path.segments()
            .iter()
            .try_fold(self, |node, segment| match (node, segment) {
                (Node::Map(entries), Segment::Key(key)) => entries
                    .iter_mut()
                    .find(|(name, _)| name == key)
                    .map(|(_, value)| value),
                (Node::List(elements), Segment::Index(index)) => elements.get_mut(*index),
                _ => None,
            })
    }

    /// Where `path` stands in the document: positions from the top, so that they compare in reading order.
    ///
    /// A field that is not there stands where the object that lacks it begins.
    pub fn position(&self, path: &Path) -> Vec<usize> {
        let mut node = self;
        let mut position = Vec::new();
        for segment in path.segments() {
            let found = match (node, segment) {
                (Node::Map(entries), Segment::Key(key)) => entries
                    .iter()
                    .position(|(name, _)| name == key)
                    .and_then(|index| Some((index, &entries.get(index)?.1))),
                (Node::List(elements), Segment::Index(index)) => {
                    elements.get(*index).map(|value| (*index, value))
                }
                _ => None,
            };
            let Some((index, value)) = found else { break };
            position.push(index);
            node = value;
        }
        position
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value)
            .map(Node::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        while let Some((key, value)) = map.next_entry::<String, Node>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format!(
                    "the key `{key}` appears twice in one object"
                )));
            }
            entries.push((key, value));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_document() {
        let tree: Node =
            serde_json::from_str(r#"{"z": 1, "a": [{"y": 1}, {"x": 1}], "m": null}"#).unwrap();
        let place = |path: &Path| tree.position(path);
        let a = Path::of("a");
        assert!(place(&Path::of("z")) < place(&a));
        assert!(place(&a.index(0).key("y")) < place(&a.index(1)));
        assert!(place(&a.index(1).key("missing")) < place(&a.index(1).key("x")));
        assert!(place(&a.index(1).key("x")) < place(&Path::of("m")));
    }

    #[test]
    fn a_key_may_not_appear_twice() {
        let error = serde_json::from_str::<Node>(r#"{"a": 1, "b": {"c": 1, "c": 2}}"#).unwrap_err();
        assert!(error.to_string().contains("`c` appears twice"), "{error}");
    }
}
