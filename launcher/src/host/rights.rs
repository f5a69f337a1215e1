//! What this process may do with its threads and memory.

use numa::file::{self, USUAL_LIMIT};
use numa::{FactError, HostRoot};

/// `CAP_SYS_NICE` (`capabilities(7)`).
const SYS_NICE: u32 = 23;

/// Whether `mbind` is allowed. A tree that stands for a machine says that it is not by a file `forbidden/mbind`.
pub(super) fn mbind(root: &HostRoot) -> bool {
    if root.is_machine() {
        numa::may_bind()
    } else {
        !root.at("/forbidden/mbind".into()).exists()
    }
}

/// Whether `SCHED_FIFO` is allowed, by `CapEff` of `proc/self/status` or `Max realtime priority` of `proc/self/limits`;
/// where neither is told, it is.
pub(super) fn realtime(root: &HostRoot) -> Result<bool, FactError> {
    let path = root.proc("self/status");
    let status = file::read(&path, USUAL_LIMIT)?.unwrap_or_default();
    let Some(mask) = status.lines().find_map(|line| line.strip_prefix("CapEff:")) else {
        return Ok(true);
    };
    let mask = mask.trim();
    let capabilities = u64::from_str_radix(mask, 16)
        .map_err(|_| FactError::malformed(&path, mask, "a mask of capabilities"))?;
    if capabilities >> SYS_NICE & 1 == 1 {
        return Ok(true);
    }
    let limits = file::read(&root.proc("self/limits"), USUAL_LIMIT)?.unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max realtime priority"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.is_some_and(|soft| soft != "0"))
}
