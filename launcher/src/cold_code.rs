//! Code that a launch ran once: most of the program is mapped by then, and what waits for the guest's end needs little.
#![expect(
    unsafe_code,
    reason = "madvise(2) takes an address; nix's wrapper is unsafe for it as well"
)]

use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use numa::HostRoot;

/// Gives back the mapping of this program's code, best effort. What runs on is mapped again by its next fault, from the
/// page cache, where all of it stays as long as the kernel has no better use for the memory.
pub fn unmap(root: &HostRoot) {
    let unmapped = own_code(root).and_then(|code| {
        let Some(code) = code else {
            return Ok(());
        };
        let start = NonZero::new(code.start).ok_or(io::ErrorKind::InvalidData)?;
        let start = NonNull::with_exposed_provenance(start);
        // SAFETY: it is one mapping of a file, private, executable and not writable, so that none of its pages differs
        // from the file's; such pages come back with the same content (madvise(2), MADV_DONTNEED). No crate of ours
        // has a safe call for it.
        unsafe { madvise(start, code.len(), MmapAdvise::MADV_DONTNEED) }.map_err(io::Error::from)
    });
    if let Err(error) = unmapped {
        tracing::debug!(event = "code-stays-mapped", %error, "memory is not given back");
    }
}

/// The mapping that this very function lies in (`proc_pid_maps(5)`), if nobody can have written to it.
fn own_code(root: &HostRoot) -> io::Result<Option<Range<usize>>> {
    let maps = std::fs::read_to_string(root.proc("self/maps"))?;
    let here = own_code as fn(&HostRoot) -> io::Result<Option<Range<usize>>> as usize;
    Ok(maps
        .lines()
        .filter_map(code)
        .find(|code| code.contains(&here)))
}

/// `START-END r-xp OFFSET DEVICE INODE PATH`, in hex.
fn code(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text| usize::from_str_radix(text, 16).ok();
    let code = hex(start)?..hex(end)?;
    (words.next() == Some("r-xp")).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_code() {
        let line = "7f7ce6581000-7f7ce6e0a000 r-xp 00181000 fe:00 1 /usr/bin/virt-launcher";
        assert_eq!(code(line), Some(0x7f7c_e658_1000..0x7f7c_e6e0_a000));
        for permissions in ["r--p", "rw-p", "rwxp", "r-xs"] {
            assert_eq!(code(&line.replace("r-xp", permissions)), None);
        }
        assert_eq!(code(""), None);
    }

    #[test]
    fn what_is_unmapped_still_runs() {
        let root = HostRoot::default();
        let resident = || {
            let range = own_code(&root).unwrap().unwrap();
            let smaps = std::fs::read_to_string(root.proc("self/smaps")).unwrap();
            let start = format!("{:x}-{:x} ", range.start, range.end);
            let (_, own) = smaps.split_once(&start).unwrap();
            let rss = own.lines().find_map(|line| line.strip_prefix("Rss:"));
            let kib = rss.unwrap().trim().trim_end_matches(" kB");
            kib.parse::<u64>().unwrap()
        };
        let before = resident();
        unmap(&root);
        let after = resident();
        assert!(after < before, "{before} KiB, then {after} KiB");
    }
}
