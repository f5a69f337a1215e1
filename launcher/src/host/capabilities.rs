//! What this process may do, from `proc/self/status` (`proc_pid_status(5)`).

use numa::file::{self, USUAL_LIMIT};
use numa::{FactError, HostRoot};

/// `linux/capability.h`.
const CAP_NET_RAW: u32 = 13;

/// Whether raw sockets may be opened; true where the tree does not say.
pub(super) fn net_raw(root: &HostRoot) -> Result<bool, FactError> {
    let path = root.proc("self/status");
    let text = file::read(&path, USUAL_LIMIT)?.unwrap_or_default();
    let Some(mask) = text.lines().find_map(|line| line.strip_prefix("CapEff:")) else {
        return Ok(true);
    };
    let mask = u64::from_str_radix(mask.trim(), 16)
        .map_err(|_| FactError::malformed(&path, mask, "a mask of capabilities"))?;
    Ok(mask & (1 << CAP_NET_RAW) != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camino::Utf8PathBuf;

    use super::*;

    #[test]
    fn the_effective_set_tells() {
        let directory = tempfile::tempdir().unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(directory.path().into()).unwrap());
        assert!(net_raw(&root).unwrap());
        let path = root.proc("self/status");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (mask, may) in [
            ("000001ffffffffff", true),
            ("0000000000002000", true),
            // CAP_NET_BIND_SERVICE, all that a KubeVirt pod has.
            ("0000000000000400", false),
            ("0000000000000000", false),
        ] {
            let text = format!("Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t{mask}\n");
            fs::write(&path, text).unwrap();
            assert_eq!(net_raw(&root).unwrap(), may, "{mask}");
        }
        fs::write(&path, "CapEff:\tnone\n").unwrap();
        assert!(net_raw(&root).is_err());
    }
}
