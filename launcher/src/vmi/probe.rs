//! For tests: every field that the mirror has, asked of its own `Deserialize`.

use std::collections::BTreeSet;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};

use super::mirror::Vmi;
use super::path::Path;
use super::tree_de::Mismatch;

/// `(pattern of the object, name of the field)` of everything that the mirror reads.
pub(super) fn fields() -> BTreeSet<(String, &'static str)> {
    let mut found = BTreeSet::new();
    let probe = Probe {
        at: Path::root(),
        found: &std::cell::RefCell::new(&mut found),
    };
    Vmi::deserialize(probe).expect("every type has an empty value");
    found
}

/// Stands for a value of any type, and notes which fields an object is asked for.
#[derive(Clone)]
struct Probe<'a> {
    at: Path,
    found: &'a std::cell::RefCell<&'a mut BTreeSet<(String, &'static str)>>,
}

impl<'de> IntoDeserializer<'de, Mismatch> for Probe<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_u64(0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_bool(false)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_str("")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let element = Self {
            at: self.at.index(0),
            found: self.found,
        };
        SeqDeserializer::new(std::iter::once(element)).deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        MapDeserializer::new(std::iter::empty::<(&str, Self)>()).deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let inner = fields.iter().map(|field| {
            self.found.borrow_mut().insert((self.at.pattern(), *field));
            let value = Self {
                at: self.at.key(*field),
                found: self.found,
            };
            (*field, value)
        });
        MapDeserializer::new(inner).deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct enum identifier ignored_any
    }
}
