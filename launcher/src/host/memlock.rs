//! How much memory this process and its children may lock.

use hugepages::Bytes;
use numa::{FactError, HostRoot, file};

use super::MemlockFacts;

const CAP_SYS_RESOURCE: u32 = 24;
const EXPECTED: &str = "a number of bytes or `unlimited`";

/// From `/proc/self/limits` and `/proc/self/status`; without these nothing limits.
pub(super) fn read(root: &HostRoot) -> Result<MemlockFacts, FactError> {
    let path = root.proc("self/limits");
    let text = file::read(&path, file::USUAL_LIMIT)?.unwrap_or_default();
    let Some(line) = text
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))
    else {
        return Ok(MemlockFacts::default());
    };
    let mut words = line.split_whitespace();
    let mut limit = || match words.next() {
        Some("unlimited") => Ok(None),
        Some(word) => match word.parse() {
            Ok(bytes) => Ok(Some(Bytes(bytes))),
            Err(_) => Err(FactError::malformed(&path, line, EXPECTED)),
        },
        None => Err(FactError::malformed(&path, line, EXPECTED)),
    };
    Ok(MemlockFacts {
        soft: limit()?,
        hard: limit()?,
        may_raise: may_raise(root)?,
    })
}

fn may_raise(root: &HostRoot) -> Result<bool, FactError> {
    let text = file::read(&root.proc("self/status"), file::USUAL_LIMIT)?.unwrap_or_default();
    let effective = text
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    Ok(effective.is_some_and(|mask| mask >> CAP_SYS_RESOURCE & 1 == 1))
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    fn read_from(limits: &str, status: &str) -> Result<MemlockFacts, FactError> {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        std::fs::create_dir_all(root.join("proc/self")).unwrap();
        std::fs::write(root.join("proc/self/limits"), limits).unwrap();
        std::fs::write(root.join("proc/self/status"), status).unwrap();
        read(&HostRoot::new(&root))
    }

    #[test]
    fn the_kernels_table_is_read() {
        let limits = "Max processes   94    94   processes\nMax locked memory         8388608              unlimited            bytes     \n";
        let facts = read_from(limits, "CapEff:\t0000000001000000\n").unwrap();
        assert_eq!(facts.soft, Some(Bytes(8 << 20)));
        assert_eq!(facts.hard, None);
        assert!(facts.may_raise);
        assert!(
            !read_from(limits, "CapEff:\t0000000000000400\n")
                .unwrap()
                .may_raise
        );
        assert_eq!(read_from("", "").unwrap(), MemlockFacts::default());
        assert!(read_from("Max locked memory  much  more  bytes\n", "").is_err());
    }
}
