//! PCI devices, buses in order.

use serde_json::Value;

use crate::inspect::{
    ask::Answers,
    sheet::{Sheet, cell},
};

/// Bridges behind bridges that are followed; PCI itself has at most 256 buses.
const DEPTH: usize = 256;

pub(super) fn sheets(answers: &Answers) -> Vec<Sheet> {
    let mut sheet = Sheet::new("", &["ADDRESS", "ID", "VENDOR:DEVICE", "CLASS", "BEHIND"]);
    for bus in answers.list("query-pci") {
        walk(&mut sheet, &bus["devices"], "", DEPTH);
    }
    vec![sheet]
}

fn walk(sheet: &mut Sheet, devices: &Value, behind: &str, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    for device in devices.as_array().into_iter().flatten() {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let address = format!(
            "{:02x}:{:02x}.{:x}",
            number(&device["bus"]),
            number(&device["slot"]),
            number(&device["function"])
        );
        let id = &device["id"];
        let class = &device["class_info"];
        let class = match class["desc"].as_str() {
            Some(text) => text.to_owned(),
            None => format!("{:04x}", number(&class["class"])),
        };
        let qdev = cell(&device["qdev_id"]);
        let name = if qdev.is_empty() {
            address.clone()
        } else {
            qdev.clone()
        };
        let ids = format!(
            "{:04x}:{:04x}",
            number(&id["vendor"]),
            number(&id["device"])
        );
        sheet.row([address, qdev, ids, class, behind.to_owned()]);
        walk(sheet, &device["pci_bridge"]["devices"], &name, depth);
    }
}
