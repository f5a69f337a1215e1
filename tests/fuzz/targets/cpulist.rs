//! The kernel's CPU lists, as they stand in `/sys`, in cgroups and in a VMI's realtime mask: what is read is written and
//! read again as the same set, whatever its size.

#![no_main]

use libfuzzer_sys::fuzz_target;
use numa::CpuSet;

fuzz_target!(|text: &str| {
    let Ok(cpus) = text.parse::<CpuSet>() else {
        return;
    };
    let written = cpus.to_string();
    assert_eq!(written.parse::<CpuSet>().as_ref(), Ok(&cpus), "{written}");
    assert_eq!(cpus.iter().count(), cpus.len());
    assert!(cpus.is_subset(&cpus.union(&cpus)));
});
