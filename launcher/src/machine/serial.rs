//! The virtio-serial controller with the guest agent's channel, and the serial console.

use crate::machine::device::{Connect, Device, KeyValues};
use crate::machine::fds::Fds;
use crate::machine::virtio::Virtio;

/// The fdset by which QEMU opens the console log that it inherited.
pub const SERIAL_LOG_SET: u32 = 1;

/// The controller that channels hang on.
///
/// KubeVirt names its model only where there is a serial console; otherwise libvirt adds one of the
/// plain model for the agent's channel, which on a root port is virtio 1.0 all the same.
pub fn virtio_serial(virtio: Virtio, serial_console: bool) -> Device {
    let (driver, connect) = if serial_console {
        (virtio.driver("virtio-serial-pci"), virtio.connect(None))
    } else {
        ("virtio-serial-pci".to_owned(), Connect::Express(None))
    };
    Device::new(driver, "virtio-serial0", connect)
}

/// The guest agent's port. Port 0 belongs to a virtio console.
pub fn agent_port() -> Device {
    Device::new("virtserialport", "channel0", Connect::Named)
        .with("bus", "virtio-serial0.0")
        .with("nr", 1)
        .with("chardev", "charchannel0")
        .with("name", "org.qemu.guest_agent.0")
}

/// COM1.
pub fn isa_serial() -> Device {
    Device::new("isa-serial", "serial0", Connect::Named)
        .with("chardev", "charserial0")
        .with("index", 0)
}

/// A socket that QEMU serves, listening already when it is inherited.
fn listener(id: &str, fd: i32) -> KeyValues {
    KeyValues::headed("socket")
        .with("id", id)
        .with("fd", fd.to_string())
        .with("server", "on")
        .with("wait", "off")
}

/// QMP's end.
pub fn monitor_chardev(fds: &Fds) -> KeyValues {
    listener("charmonitor", fds.qmp)
}

/// The agent's end, and the console's with its log.
pub fn chardevs(fds: &Fds) -> Vec<KeyValues> {
    let mut chardevs = vec![listener("charchannel0", fds.agent)];
    if let Some(fd) = fds.serial {
        let mut console = listener("charserial0", fd);
        if fds.serial_log.is_some() {
            console = console
                .with("logfile", format!("/dev/fdset/{SERIAL_LOG_SET}"))
                .with("logappend", "on");
        }
        chardevs.push(console);
    }
    chardevs
}

/// `-add-fd`: hands the log over by number. QEMU takes it only if it is open for writing alone.
pub fn log_fds(fds: &Fds) -> Vec<KeyValues> {
    fds.serial_log
        .iter()
        .map(|fd| {
            KeyValues::new()
                .with("fd", fd.to_string())
                .with("set", SERIAL_LOG_SET.to_string())
                .with("opaque", "serial0-log")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_console_the_controller_is_the_plain_model() {
        assert_eq!(
            virtio_serial(Virtio::Transitional, false).driver,
            "virtio-serial-pci"
        );
        assert_eq!(
            virtio_serial(Virtio::Transitional, true).driver,
            "virtio-serial-pci-transitional"
        );
    }
}
