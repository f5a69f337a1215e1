//! The device that does something when the guest has not said in time that it is well.

use crate::machine::device::{Connect, Device};
use crate::spec::device::Watchdog;

/// An Intel 6300ESB, which is of conventional PCI; what it does is `-action`'s business.
pub fn watchdog(asked: &Watchdog) -> Device {
    let id = format!("ua-{}", asked.name);
    Device::new("i6300esb", id, Connect::Conventional(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::device::WatchdogAction;

    #[test]
    fn it_has_the_vmis_name() {
        let asked = Watchdog {
            name: "dog".to_owned(),
            action: WatchdogAction::Reset,
        };
        let device = serde_json::to_string(&watchdog(&asked)).unwrap();
        assert_eq!(device, r#"{"driver":"i6300esb","id":"ua-dog"}"#);
    }
}
