//! KubeVirt's names of links (facts 7.2): virt-handler, Istio annotations and people look for them.

use sha2::{Digest, Sha256};

/// `IFNAMSIZ` less its NUL.
const LONGEST: usize = 15;

/// The pod's primary link, as every CNI plugin names it.
pub(super) const PRIMARY: &str = "eth0";

/// The primary interface's tap.
pub(super) const PRIMARY_TAP: &str = "tap0";

/// `k6t-eth0` for `eth0`; a name too long for the kernel is replaced by eleven digits of its hash.
pub(super) fn bridge(pod_link: &str) -> String {
    let stem = pod_link.strip_prefix("pod").unwrap_or(pod_link);
    let name = format!("k6t-{stem}");
    if name.len() <= LONGEST {
        name
    } else {
        format!("k6t-{}", &hex(pod_link.as_bytes())[..11])
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
    fn bridges_are_named_as_kubevirt_names_them() {
        assert_eq!(bridge("eth0"), "k6t-eth0");
        assert_eq!(bridge("pod37a8eec1ce1"), "k6t-37a8eec1ce1");
    }

    #[test]
    fn a_long_name_still_fits_the_kernel() {
        let name = bridge("enx001122334455");
        assert_eq!(name.len(), LONGEST);
        assert_ne!(name, bridge("enx001122334456"));
    }
}
