//! `/proc/PID/numa_maps`, and after a NUL `/proc/PID/maps`: read and taken together by file without a panic, and no page
//! is counted that no mapping has.

#![no_main]

use hugepages::maps::{backends, identify, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (numa_maps, maps) = text.split_once('\0').unwrap_or((text, ""));
    let Ok(mut mappings) = parse("numa_maps".into(), numa_maps) else {
        return;
    };
    identify(&mut mappings, maps);
    let most = mappings.iter().fold(0u64, |sum, mapping| {
        let _bound = mapping.bound_to();
        sum.saturating_add(mapping.present())
    });
    for backend in backends(&mappings) {
        let pages = backend.pages.values().fold(0u64, |a, b| a.saturating_add(*b));
        assert!(pages <= most, "{pages} of {most}");
    }
});
