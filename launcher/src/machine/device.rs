//! The values QEMU takes: one object serves `-device` and `device_add`, `-netdev` and `netdev_add`, and so on.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::machine::pci::PciAddress;

/// QEMU properties in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Props(Vec<(String, Value)>);

impl Props {
    /// No property.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.push(key, value);
        self
    }

    /// With one more property where there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds a property.
    pub fn push(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push((key.to_owned(), value.into()));
    }

    /// The value of a property.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl Serialize for Props {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// One device, as `-device` and `device_add` take it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// QEMU's model name.
    pub driver: String,
    /// Unique in the machine.
    pub id: String,
    /// What it plugs into.
    pub connect: Connect,
    /// A NIC: its root port stays open for unplugging.
    pub nic: bool,
    /// Everything else; `bus` and `addr` of a PCI device are added by the address pass.
    pub props: Props,
}

/// What a device plugs into.
#[derive(Debug, Clone, PartialEq)]
pub enum Connect {
    /// A bus that is named in its properties (IDE, SCSI, USB, virtio-serial, ISA).
    Named,
    /// A PCI Express root port of its own.
    Express(Option<Wish>),
    /// A slot of the one conventional PCI bus, behind `pcie-pci-bridge`.
    Conventional(Option<Wish>),
    /// This slot of the root complex.
    Root(u8),
    /// A root port of its own that the guest sees on this of its NUMA nodes.
    Node(u32),
}

/// A guest address that the VMI asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Where.
    pub address: PciAddress,
    /// JSON path of the field that asks.
    pub path: String,
}

impl Device {
    /// A device without properties.
    pub fn new(driver: impl Into<String>, id: impl Into<String>, connect: Connect) -> Self {
        Self {
            driver: driver.into(),
            id: id.into(),
            connect,
            nic: false,
            props: Props::new(),
        }
    }

    /// With one more property.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.props.push(key, value);
        self
    }

    /// With one more property where there is a value.
    #[must_use]
    pub fn with_some(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        self.props = self.props.with_some(key, value);
        self
    }
}

impl Serialize for Device {
    /// The JSON object of `-device` and `device_add`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("driver", &self.driver)?;
        map.serialize_entry("id", &self.id)?;
        for (key, value) in self.props.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// An option in QEMU's `key=value` syntax, unescaped: `head,key=value,...`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyValues {
    /// What stands before the first pair, as `q35` in `-machine q35,usb=off`.
    pub head: Option<String>,
    /// Keys and values in order.
    pub pairs: Vec<(String, String)>,
}

impl KeyValues {
    /// Pairs only.
    pub fn new() -> Self {
        Self::default()
    }

    /// A word, then pairs.
    pub fn headed(head: impl Into<String>) -> Self {
        Self {
            head: Some(head.into()),
            pairs: Vec::new(),
        }
    }

    /// With one more pair.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.pairs.push((key.to_owned(), value.into()));
        self
    }

    /// With one more pair where there is a value.
    #[must_use]
    pub fn with_some(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_driver_and_id_first_and_keeps_the_order() {
        let device = Device::new("virtio-rng-pci", "rng0", Connect::Express(None))
            .with("rng", "objrng0")
            .with_some("bootindex", None::<u32>)
            .with("addr", "0x0");
        assert_eq!(
            serde_json::to_string(&device).unwrap(),
            r#"{"driver":"virtio-rng-pci","id":"rng0","rng":"objrng0","addr":"0x0"}"#
        );
    }
}
