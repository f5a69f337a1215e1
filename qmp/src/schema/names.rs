//! Did you mean: the nearest name.

/// The known name nearest to a mistyped one, if one is near enough to be meant.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(wanted);
    let limit = 1 + wanted.len() / 5;
    known
        .into_iter()
        .map(|name| (distance(&folded, &fold(name)), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// QMP mixes `-` and `_` between words: a mistake there is no distance.
fn fold(name: &str) -> Vec<char> {
    // Longer than any name of QEMU's: what somebody typed must not cost time.
    name.chars()
        .take(64)
        .map(|c| {
            if c == '_' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Edits (insert, delete, replace, swap neighbours) from `a` to `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["query-cpus-fast", "query-status", "device_add", "quit"];
        assert_eq!(nearest("query-statsu", known), Some("query-status"));
        assert_eq!(nearest("device-add", known), Some("device_add"));
        assert_eq!(nearest("Query-CPU-fast", known), Some("query-cpus-fast"));
        assert_eq!(nearest("teleport", known), None);
        assert_eq!(nearest("", known), None);
    }
}
