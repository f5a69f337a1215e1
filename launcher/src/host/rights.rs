//! What this process may do with its threads, its memory and its network.

use numa::file::{self, USUAL_LIMIT};
use numa::{FactError, HostRoot};

/// `CAP_NET_RAW` and `CAP_SYS_NICE` (`capabilities(7)`).
const NET_RAW: u32 = 13;
const SYS_NICE: u32 = 23;

/// Whether `mbind` is allowed. A tree that stands for a machine says that it is not by a file `forbidden/mbind`.
pub(super) fn mbind(root: &HostRoot) -> bool {
    if root.is_machine() {
        numa::may_bind()
    } else {
        !root.at("/forbidden/mbind".into()).exists()
    }
}

/// Whether raw sockets may be opened, by `CapEff` of `proc/self/status`; where it is not told, they may.
pub(super) fn net_raw(root: &HostRoot) -> Result<bool, FactError> {
    Ok(effective(root)?.is_none_or(|capabilities| capabilities >> NET_RAW & 1 == 1))
}

/// Whether `SCHED_FIFO` is allowed, by `CapEff` of `proc/self/status` or `Max realtime priority` of `proc/self/limits`;
/// where neither is told, it is.
pub(super) fn realtime(root: &HostRoot) -> Result<bool, FactError> {
    if effective(root)?.is_none_or(|capabilities| capabilities >> SYS_NICE & 1 == 1) {
        return Ok(true);
    }
    let limits = file::read(&root.proc("self/limits"), USUAL_LIMIT)?.unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max realtime priority"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.is_some_and(|soft| soft != "0"))
}

/// The effective capabilities, where the tree tells them.
fn effective(root: &HostRoot) -> Result<Option<u64>, FactError> {
    let path = root.proc("self/status");
    let status = file::read(&path, USUAL_LIMIT)?.unwrap_or_default();
    let Some(mask) = status.lines().find_map(|line| line.strip_prefix("CapEff:")) else {
        return Ok(None);
    };
    let mask = mask.trim();
    u64::from_str_radix(mask, 16)
        .map(Some)
        .map_err(|_| FactError::malformed(&path, mask, "a mask of capabilities"))
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
