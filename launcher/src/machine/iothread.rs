//! I/O threads: the objects, and how a device names those that serve it.

use serde_json::{Value, json};

use crate::machine::device::{Device, Props};

/// QEMU's id of an I/O thread, numbered from 1.
pub fn id(number: u32) -> String {
    format!("io{number}")
}

/// The number in an id; none for a thread that is not ours.
pub fn number(id: &str) -> Option<u32> {
    id.strip_prefix("io")?.parse().ok()
}

/// `-object`, one a thread.
pub fn objects(numbers: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Props> {
    numbers.into_iter().map(|number| {
        Props::new()
            .with("qom-type", "iothread")
            .with("id", id(number))
    })
}

/// `device` served by these threads: by one, or its queues by all of them in turn (`iothread-vq-mapping`).
pub fn served(device: Device, numbers: &[u32]) -> Device {
    match numbers {
        [] => device,
        [one] => device.with("iothread", id(*one)),
        several => {
            let mapping: Value = several
                .iter()
                .map(|number| json!({"iothread": id(*number)}))
                .collect();
            device.with("iothread-vq-mapping", mapping)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::device::Connect;

    #[test]
    fn an_id_reads_back_and_others_ids_do_not() {
        assert_eq!(number(&id(12)), Some(12));
        for other in ["mon_iothread", "io", "iox", "12"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn queues_are_spread_over_several_threads() {
        let device = |numbers: &[u32]| {
            let plain = Device::new("virtio-blk-pci", "d", Connect::Express(None));
            serde_json::to_string(&served(plain, numbers).props).unwrap()
        };
        assert_eq!(device(&[]), "{}");
        assert_eq!(device(&[2]), r#"{"iothread":"io2"}"#);
        assert_eq!(
            device(&[1, 2]),
            r#"{"iothread-vq-mapping":[{"iothread":"io1"},{"iothread":"io2"}]}"#
        );
    }
}
