//! Which vCPUs are real-time ones: KubeVirt's mask, a list of `1`, `2-4` and `^3` (all but).

use numa::CpuSet;

use crate::vmi::findings::Findings;
use crate::vmi::path::Path;
use crate::vmi::shortened;

const FORM: &str = "list vCPUs from 0 on, such as `0-2,^1`";

/// Longer than any list of 512 vCPUs.
const LONGEST: usize = 4096;

/// The vCPUs that `mask` selects out of `vcpus`; all without one. What is excluded stays so, wherever it stands.
pub(super) fn mask(mask: Option<&str>, vcpus: u32, at: &Path, out: &mut Findings) -> CpuSet {
    let all: CpuSet = (0..vcpus).collect();
    let mask = mask.unwrap_or_default().trim();
    if mask.is_empty() {
        return all;
    }
    let Some(selected) = selected(mask) else {
        out.refuse(
            at,
            format!("`{}` is not a mask of vCPUs", shortened(mask)),
            FORM,
        );
        return all;
    };
    let beyond = selected.difference(&all);
    if !beyond.is_empty() {
        out.refuse(
            at,
            format!("there is no vCPU `{beyond}`: the guest has `{all}`"),
            FORM,
        );
        return all;
    }
    if selected.is_empty() {
        out.refuse(at, "it selects no vCPU", FORM);
        return all;
    }
    selected
}

fn selected(mask: &str) -> Option<CpuSet> {
    if mask.len() > LONGEST {
        return None;
    }
    let (mut with, mut without) = (CpuSet::new(), CpuSet::new());
    for part in mask.split(',').map(str::trim) {
        let (set, list) = match part.strip_prefix('^') {
            Some(list) => (&mut without, list),
            None => (&mut with, part),
        };
        // The kernel's list form has strides and empty lists besides, the mask has not.
        let is_plain = !list.is_empty()
            && list
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-');
        let ids: CpuSet = is_plain.then(|| list.parse().ok())??;
        *set = set.union(&ids);
    }
    Some(with.difference(&without))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubevirts_masks() {
        for (mask, vcpus) in [
            ("0", "0"),
            ("0-3,^1", "0,2-3"),
            ("^1,0-3", "0,2-3"),
            (" 1 , 3-4", "1,3-4"),
            ("0-1,^0-1", ""),
        ] {
            assert_eq!(selected(mask).unwrap().to_string(), vcpus, "{mask}");
        }
        for mask in ["a", "1,,2", "^", "1-", "3-1", "0-7:1/2", "-1", "^^1"] {
            assert_eq!(selected(mask), None, "{mask}");
        }
    }
}
