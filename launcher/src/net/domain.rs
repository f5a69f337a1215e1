//! Domain names as they stand on the wire.

/// Names in a row, without compression as KubeVirt sends them: not every client follows pointers (RFC 3397), and DHCPv6
/// and router advertisements have none (RFC 8415 10, RFC 8106 5.2). A name that DNS has no form for is left out.
pub fn list(names: &[String]) -> Vec<u8> {
    names
        .iter()
        .filter_map(|name| wire(name))
        .flatten()
        .collect()
}

/// RFC 1035 3.1: labels of 1 to 63 bytes, 255 in all with their lengths and the root.
pub fn wire(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= 255).then_some(bytes)
}
