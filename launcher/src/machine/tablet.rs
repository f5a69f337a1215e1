//! Tablets, and the USB controller that exists only for those on USB.

use crate::machine::device::{Connect, Device};
use crate::refusal::Violation;
use crate::spec::device::{Input, InputBus};

/// Ports of each speed that the controller has, and so how many tablets it takes.
const PORTS: usize = 15;

/// The USB controller, where a tablet needs it.
pub fn usb_controller(inputs: &[Input]) -> Option<Device> {
    inputs
        .iter()
        .any(|input| input.bus == InputBus::Usb)
        .then(|| {
            Device::new("qemu-xhci", "usb", Connect::Express(None))
                .with("p2", PORTS)
                .with("p3", PORTS)
        })
}

/// Tablets on PCI.
pub fn virtio_tablets(inputs: &[Input]) -> Vec<Device> {
    inputs
        .iter()
        .filter(|input| input.bus == InputBus::Virtio)
        .map(|input| {
            // The plain model, as KubeVirt asks for it: virtio 1.0 in any case.
            Device::new("virtio-tablet-pci", id(input), Connect::Express(None))
        })
        .collect()
}

/// Tablets on USB, one a port.
pub fn usb_tablets(inputs: &[Input]) -> Result<Vec<Device>, Vec<Violation>> {
    let usb: Vec<_> = inputs
        .iter()
        .enumerate()
        .filter(|(_, input)| input.bus == InputBus::Usb)
        .collect();
    let violations: Vec<_> = usb
        .iter()
        .skip(PORTS)
        .map(|(index, _)| {
            Violation::new(
                format!("spec.domain.devices.inputs[{index}]"),
                format!("the USB controller has {PORTS} ports and all are taken"),
                "use bus `virtio`",
            )
        })
        .collect();
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(usb
        .iter()
        .zip(1u32..)
        .map(|((_, input), port)| {
            Device::new("usb-tablet", id(input), Connect::Named)
                .with("bus", "usb.0")
                .with("port", port.to_string())
        })
        .collect())
}

fn id(input: &Input) -> String {
    format!("ua-{}", input.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usb(count: usize) -> Vec<Input> {
        (0..count)
            .map(|index| Input {
                name: format!("t{index}"),
                bus: InputBus::Usb,
            })
            .collect()
    }

    #[test]
    fn fifteen_tablets_fit() {
        assert_eq!(usb_tablets(&usb(15)).unwrap().len(), 15);
        let violations = usb_tablets(&usb(17)).unwrap_err();
        assert_eq!(violations.len(), 2);
        assert_eq!(violations[0].path, "spec.domain.devices.inputs[15]");
    }

    #[test]
    fn the_controller_is_there_only_for_usb() {
        let virtio = [Input {
            name: "t".to_owned(),
            bus: InputBus::Virtio,
        }];
        assert_eq!(usb_controller(&virtio), None);
        assert!(usb_controller(&usb(1)).is_some());
    }
}
