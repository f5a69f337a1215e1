//! The graphics adapter, at 00:01.0 as on every q35.

use crate::machine::device::{Connect, Device};
use crate::refusal::Violation;
use crate::spec::device::Devices;

/// Its slot on the root complex.
pub const SLOT: u8 = 1;

/// Frame buffer of every adapter that has a size, in MiB (facts 4.6: 16384 KiB).
const MEMORY_MIB: u32 = 16;

/// The adapter; none where the VMI has no graphics, or `video.type: none`.
pub fn video(devices: &Devices) -> Result<Option<Device>, Violation> {
    if !devices.graphics {
        return Ok(None);
    }
    let named = |driver: &str| Device::new(driver, "video0", Connect::Root(SLOT));
    let device = match devices.video.as_deref().unwrap_or("vga") {
        "vga" => named("VGA").with("vgamem_mb", MEMORY_MIB),
        "bochs" => named("bochs-display").with("vgamem", MEMORY_MIB << 20),
        "virtio" => named("virtio-vga").with("max_outputs", 1),
        "cirrus" => named("cirrus-vga"),
        "vmvga" => named("vmware-svga").with("vgamem_mb", MEMORY_MIB),
        "ramfb" => Device::new("ramfb", "video0", Connect::Named),
        "none" => return Ok(None),
        other => {
            return Err(Violation::new(
                "spec.domain.devices.video.type",
                format!("no video device `{other}`"),
                "one of `vga`, `bochs`, `virtio`, `cirrus`, `vmvga`, `ramfb`, `none`",
            ));
        }
    };
    Ok(Some(device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn the_adapter_is_as_asked() {
        let mut devices = fixtures::spec().devices;
        let driver =
            |devices: &Devices| video(devices).map(|device| device.map(|device| device.driver));
        assert_eq!(driver(&devices), Ok(Some("VGA".to_owned())));
        devices.video = Some("virtio".to_owned());
        assert_eq!(driver(&devices), Ok(Some("virtio-vga".to_owned())));
        devices.video = Some("none".to_owned());
        assert_eq!(driver(&devices), Ok(None));
        devices.video = Some("voodoo".to_owned());
        assert!(driver(&devices).is_err());
        devices.graphics = false;
        assert_eq!(driver(&devices), Ok(None));
    }
}
