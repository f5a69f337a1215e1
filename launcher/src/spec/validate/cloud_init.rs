//! `cloudInitNoCloud`: what a seed carries.

use super::{base64, given};
use crate::spec::disk::NoCloud;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::CloudInit;
use crate::vmi::path::Path;

/// KubeVirt's webhook takes no more in line, for etcd's sake. A file has no such bound, but should know.
const KUBEVIRT_BYTES: usize = 2048;
const MOST_BYTES: usize = 1 << 20;

/// What user data may begin with (cloud-init's documentation, "User-data formats").
const HEADERS: [&[u8]; 10] = [
    b"#cloud-config",
    b"#!",
    b"#include",
    b"#cloud-boothook",
    b"#part-handler",
    b"#upstart-job",
    b"## template:",
    b"Content-Type:",
    b"MIME-Version:",
    b"\x1f\x8b",
];

pub(super) fn no_cloud(written: &CloudInit, at: &Path, out: &mut Findings) -> NoCloud {
    let user = Pair {
        plain: ("userData", &written.user_data),
        encoded: ("userDataBase64", &written.user_data_base64),
    };
    let network = Pair {
        plain: ("networkData", &written.network_data),
        encoded: ("networkDataBase64", &written.network_data_base64),
    };
    let user_data = user.read(at, out);
    let network_data = network.read(at, out);
    if let Some((name, data)) = &user_data
        && !HEADERS.iter().any(|header| data.starts_with(header))
    {
        out.notice(
            &at.key(*name),
            "cloud-init ignores user data without a header such as `#cloud-config` in its first line",
        );
    }
    if user_data.is_none() && network_data.is_none() && !out.refused_within(at) {
        out.refuse(at, "it holds no data", "give `userData` or `networkData`");
    }
    NoCloud {
        user_data: user_data.map(|(_, data)| data).unwrap_or_default(),
        network_data: network_data.map(|(_, data)| data),
    }
}

/// Two ways of giving the same data.
struct Pair<'a> {
    plain: (&'static str, &'a Option<String>),
    encoded: (&'static str, &'a Option<String>),
}

impl Pair<'_> {
    /// The data, and the field that gave it.
    fn read(&self, at: &Path, out: &mut Findings) -> Option<(&'static str, Vec<u8>)> {
        let (plain_name, encoded_name) = (self.plain.0, self.encoded.0);
        let (name, data) = match (given(self.plain.1), given(self.encoded.1)) {
            (None, None) => return None,
            (Some(plain), None) => (plain_name, plain.as_bytes().to_vec()),
            (None, Some(encoded)) => match base64::decode(encoded) {
                Some(data) => (encoded_name, data),
                None => {
                    out.refuse(
                        &at.key(encoded_name),
                        "it is not base64",
                        format!("encode it with `base64 -w0`, or give the text as `{plain_name}`"),
                    );
                    return None;
                }
            },
            (Some(_), Some(_)) => {
                out.refuse(
                    &at.key(encoded_name),
                    format!("`{plain_name}` is there as well"),
                    "keep one of the two",
                );
                return None;
            }
        };
        bounded(&data, &at.key(name), out);
        Some((name, data))
    }
}

fn bounded(data: &[u8], at: &Path, out: &mut Findings) {
    let bytes = data.len();
    if bytes > MOST_BYTES {
        out.refuse(
            at,
            format!("it is {bytes} bytes long, more than {MOST_BYTES}"),
            "put large files onto a disk",
        );
    } else if bytes > KUBEVIRT_BYTES {
        out.notice(
            at,
            format!("it is {bytes} bytes long: KubeVirt's API takes {KUBEVIRT_BYTES} in line, and more only from a secret"),
        );
    }
}
