//! The memory balloon.

use serde_json::json;

use crate::machine::device::Device;
use crate::machine::memory;
use crate::machine::step::QmpStep;
use crate::machine::virtio::Virtio;
use crate::placement::Placement;

/// How often the guest reports its memory (facts 4.0), in seconds.
const STATS_PERIOD: u32 = 10;

const ID: &str = "balloon0";

/// Whether free pages may be given back while the guest runs: not where a page must not have to come again (facts 4.3).
pub fn may_report(placement: &Placement) -> bool {
    !placement.dedicated && placement.realtime.is_none() && !memory::is_huge(placement)
}

/// The device.
pub fn balloon(virtio: Virtio, free_page_reporting: bool) -> Device {
    let device = Device::new(
        virtio.driver("virtio-balloon-pci"),
        ID,
        virtio.connect(None),
    );
    if free_page_reporting {
        device.with("free-page-reporting", true)
    } else {
        device
    }
}

/// The statistics' period is a QOM property that `-device` does not take.
pub fn stats_period() -> QmpStep {
    QmpStep {
        execute: "qom-set".to_owned(),
        arguments: json!({
            "path": format!("/machine/peripheral/{ID}"),
            "property": "guest-stats-polling-interval",
            "value": STATS_PERIOD,
        }),
    }
}
