//! What the guest reads of its maker.

use crate::machine::device::KeyValues;
use crate::spec::firmware::Firmware;

/// `-smbios`: system, and chassis where the VMI names anything of it.
pub fn smbios(firmware: &Firmware) -> Vec<KeyValues> {
    let system = KeyValues::new()
        .with("type", "1")
        .with("manufacturer", "KubeVirt")
        .with("product", "None")
        .with_some("serial", firmware.serial.as_deref())
        .with("uuid", firmware.uuid.to_string())
        .with("family", "KubeVirt");
    let given = &firmware.chassis;
    let chassis = KeyValues::new()
        .with("type", "3")
        .with_some("manufacturer", given.manufacturer.as_deref())
        .with_some("version", given.version.as_deref())
        .with_some("serial", given.serial.as_deref())
        .with_some("asset", given.asset.as_deref())
        .with_some("sku", given.sku.as_deref());
    let mut tables = vec![system];
    if chassis.pairs.len() > 1 {
        tables.push(chassis);
    }
    tables
}
