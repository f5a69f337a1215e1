//! KubeVirt's names of links (facts 7.2): virt-handler, Istio annotations and people look for them.

use sha2::{Digest, Sha256};

/// `IFNAMSIZ` less its NUL.
const LONGEST: usize = 15;

/// Digits of a hash that stand for a name.
const DIGITS: usize = 11;

/// The pod's primary link, as every CNI plugin names it.
pub(super) const PRIMARY: &str = "eth0";

/// The primary interface's tap.
pub(super) const PRIMARY_TAP: &str = "tap0";

/// The pod's link of another network: `pod` and eleven digits of the network's hash.
pub fn secondary(network: &str) -> String {
    format!("pod{}", &hex(network.as_bytes())[..DIGITS])
}

/// As KubeVirt named it before: `net1`, counted from 1.
pub(super) fn ordinal(place: usize) -> String {
    format!("net{place}")
}

/// `k6t-eth0` for `eth0`; a name too long for the kernel is replaced by eleven digits of its hash.
pub(super) fn bridge(pod_link: &str) -> String {
    fitting(pod_link, |stem| format!("k6t-{stem}"))
}

/// What a bridged pod NIC is called: `eth0-nic`.
pub(super) fn bridged_nic(pod_link: &str) -> String {
    fitting(pod_link, |stem| format!("{stem}-nic"))
}

/// The tap of another network's interface: `tap` and the link's name from its fourth character on.
pub(super) fn secondary_tap(pod_link: &str) -> String {
    format!("tap{}", pod_link.get(3..).unwrap_or_default())
}

fn fitting(pod_link: &str, name: impl Fn(&str) -> String) -> String {
    let full = name(pod_link.strip_prefix("pod").unwrap_or(pod_link));
    if full.len() <= LONGEST {
        full
    } else {
        name(&hex(pod_link.as_bytes())[..DIGITS])
    }
}

/// Lower-case digits of the SHA-256 of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_named_as_kubevirt_names_them() {
        let blue = secondary("blue");
        // sha256sum says so.
        assert_eq!(blue, "pod16477688c0e");
        assert_eq!(bridge(&blue), "k6t-16477688c0e");
        assert_eq!(bridged_nic(&blue), "16477688c0e-nic");
        assert_eq!(secondary_tap(&blue), "tap16477688c0e");
        assert_eq!(bridge("eth0"), "k6t-eth0");
        assert_eq!(bridged_nic("eth0"), "eth0-nic");
        let old = ordinal(1);
        assert_eq!(
            [bridge(&old), bridged_nic(&old), secondary_tap(&old)],
            ["k6t-net1", "net1-nic", "tap1"]
        );
    }

    #[test]
    fn a_long_name_still_fits_the_kernel() {
        for name in [bridge, bridged_nic] {
            let long = name("enx001122334455");
            assert_eq!(long.len(), LONGEST);
            assert_ne!(long, name("enx001122334456"));
        }
    }
}
