//! What a cloud-init NoCloud seed says, in the files that cloud-init looks for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::spec::Spec;

/// The volume label by which cloud-init finds a NoCloud seed.
pub const LABEL: &str = "cidata";

/// One file in the root of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Its name, as cloud-init spells it.
    pub name: &'static str,
    /// Its bytes.
    pub contents: Vec<u8>,
}

/// The keys that KubeVirt writes for NoCloud, so that a guest which moves over sees the same instance.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MetaData<'a> {
    /// cloud-init runs its first-boot modules again when this changes, so it must outlive restarts.
    instance_id: String,
    local_hostname: &'a str,
}

/// `meta-data` of a VM: JSON, which is YAML too.
pub fn meta_data(spec: &Spec) -> String {
    let keys = MetaData {
        instance_id: spec.firmware.uuid.to_string(),
        local_hostname: &spec.identity.hostname,
    };
    serde_json::to_string(&keys).expect("two strings always serialise")
}

/// The seed's files. `user-data` is always there, since cloud-init wants it; `network-config` only when it says something.
pub fn files(meta_data: &str, user_data: Vec<u8>, network_data: Option<Vec<u8>>) -> Vec<SeedFile> {
    let file = |name, contents| SeedFile { name, contents };
    let mut files = vec![
        file("meta-data", meta_data.as_bytes().to_vec()),
        file("user-data", user_data),
    ];
    if let Some(network) = network_data.filter(|network| !network.is_empty()) {
        files.push(file("network-config", network));
    }
    files
}

/// Bytes as a plan holds them.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes that a plan holds.
pub fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_config_is_left_out_when_it_says_nothing() {
        let names = |network| -> Vec<&str> {
            files("{}", Vec::new(), network)
                .iter()
                .map(|file| file.name)
                .collect()
        };
        assert_eq!(names(None), ["meta-data", "user-data"]);
        assert_eq!(names(Some(Vec::new())), ["meta-data", "user-data"]);
        assert_eq!(
            names(Some(b"version: 2".to_vec())),
            ["meta-data", "user-data", "network-config"]
        );
    }

    #[test]
    fn any_bytes_survive_the_plan() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), Ok(bytes));
    }
}
