use proptest::prelude::*;

use super::*;

const NUMA_MAPS: &str = "\
5581a0000000 default file=/usr/bin/qemu-system-x86_64 mapped=1800 active=1700 N0=1800 kernelpagesize_kB=4
7f0000000000 bind:0 file=/memfd:memory-backend-memfd\\040(deleted) huge dirty=2 N0=2 kernelpagesize_kB=1048576
7f0080000000 bind=static:1 file=/memfd:memory-backend-memfd\\040(deleted) huge dirty=3 N0=1 N1=2 kernelpagesize_kB=1048576
7f0140000000 prefer (many):0-1 file=/dev/hugepages/a\\012huge\\134b huge
7f0150000000 default file=/dev/hugepages/odd huge dirty=1 N3=1 kernelpagesize_kB=2048
7f0160000000 default anon=512 dirty=512 N0=512 kernelpagesize_kB=4
7f0170000000 default huge anon=4 dirty=4 N1=4 kernelpagesize_kB=2048
7f0180000000 default file=/tmp/huge stack
";

const MAPS: &str = "\
7f0000000000-7f0080000000 rw-s 00000000 00:0f 1001                       /memfd:memory-backend-memfd (deleted)
7f0080000000-7f0140000000 rw-s 00000000 00:0f 1002                       /memfd:memory-backend-memfd (deleted)
7f0150000000-7f0150200000 rw-s 00200000 00:0f 7 /dev/hugepages/odd
";

fn mappings(numa_maps: &str, maps: &str) -> Vec<Mapping> {
    let mut mappings = parse(Utf8Path::new("numa_maps"), numa_maps).unwrap();
    identify(&mut mappings, maps);
    mappings
}

fn pages(pages: &BTreeMap<NodeId, u64>) -> Vec<(u32, u64)> {
    pages.iter().map(|(node, pages)| (node.0, *pages)).collect()
}

#[test]
fn huge_pages_only_with_their_nodes() {
    let found = mappings(NUMA_MAPS, MAPS);
    let short: Vec<_> = found
        .iter()
        .map(|it| {
            let size = it.size.map(|size| size.to_string());
            (it.file.as_str(), size.unwrap_or_default(), pages(&it.pages))
        })
        .collect();
    let memfd = "/memfd:memory-backend-memfd (deleted)";
    assert_eq!(
        short,
        [
            (memfd, "1Gi".to_owned(), vec![(0, 2)]),
            (memfd, "1Gi".to_owned(), vec![(0, 1), (1, 2)]),
            // No page is present: `show_numa_map` ends there.
            ("/dev/hugepages/a\nhuge\\b", String::new(), vec![]),
            ("/dev/hugepages/odd", "2Mi".to_owned(), vec![(3, 1)]),
            ("", "2Mi".to_owned(), vec![(1, 4)]),
        ]
    );
    assert_eq!(found[0].bound_to().unwrap().to_string(), "0");
    assert_eq!(found[1].bound_to().unwrap().to_string(), "1");
    assert_eq!((found[2].bound_to(), found[3].bound_to()), (None, None));
    assert_eq!(found[1].present(), 3);
    assert_eq!(
        (found[0].length, found[0].inode),
        (Some(Bytes(2 << 30)), Some(1001))
    );
    assert_eq!(found[3].offset, Some(2 << 20));
    assert_eq!(found[4].inode, None);
    assert_eq!(found[2].policy, "prefer (many):0-1");
}

#[test]
fn files_of_one_name_are_told_apart_by_inode() {
    let found = backends(&mappings(
        "7f0000000000 bind:0 file=/memfd:x huge N0=2 kernelpagesize_kB=2048\n\
         7f0000600000 bind:1 file=/memfd:x huge N1=3 kernelpagesize_kB=2048\n",
        "7f0000000000-7f0000400000 rw-s 00000000 00:0f 1 /memfd:x\n\
         7f0000600000-7f0000c00000 rw-s 00000000 00:0f 2 /memfd:x\n",
    ));
    let short: Vec<_> = found
        .iter()
        .map(|it| {
            (
                it.inode,
                it.bound_to.clone().unwrap().to_string(),
                pages(&it.pages),
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            (Some(1), "0".to_owned(), vec![(0, 2)]),
            (Some(2), "1".to_owned(), vec![(1, 3)]),
        ]
    );
}

#[test]
fn parts_of_a_file_add_up_and_what_is_mapped_twice_counts_once() {
    // Bytes 0 to 4Mi, 4 to 6Mi, and 2 to 6Mi once more elsewhere.
    let found = backends(&mappings(
        "7f0000000000 default file=/f huge N0=2 kernelpagesize_kB=2048\n\
         7f0000400000 bind:1 file=/f huge N1=1 kernelpagesize_kB=2048\n\
         7f0001000000 default file=/f huge N0=1 kernelpagesize_kB=2048\n\
         7f0002000000 default file=/f huge N0=1 kernelpagesize_kB=2048\n",
        "7f0000000000-7f0000400000 rw-s 00000000 00:0f 9 /f\n\
         7f0000400000-7f0000600000 rw-s 00400000 00:0f 9 /f\n\
         7f0001000000-7f0001400000 rw-s 00200000 00:0f 9 /f\n\
         7f0002000000-7f0002200000 rw-s 00800000 00:0f 9 /f\n",
    ));
    let [file] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(pages(&file.pages), [(0, 3), (1, 1)]);
    assert_eq!(file.length, Some(Bytes(8 << 20)));
    assert_eq!(file.bound_to.clone().unwrap().to_string(), "1");
}

#[test]
fn a_line_that_makes_no_sense_is_shown() {
    let path = Utf8Path::new("/proc/1/numa_maps");
    for text in [
        "xyz default huge N0=1 kernelpagesize_kB=2048",
        "7f00 default huge N0=many kernelpagesize_kB=2048",
        "7f00 default huge N0=1 kernelpagesize_kB=3",
        "7f00 default huge N0=1",
    ] {
        let error = parse(path, text).unwrap_err().to_string();
        assert!(error.contains("/proc/1/numa_maps"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "([0-9a-f]{1,12} (default|bind:[0-9,-]{0,4}) ?(file=[^ ]{0,8} )?huge( N[0-9]=[0-9]{1,3})?( kernelpagesize_kB=(2048|4|x))?\n){0,4}|.{0,80}") {
        if let Ok(mut mappings) = parse(Utf8Path::new("x"), &text) {
            identify(&mut mappings, &text);
            let _ = backends(&mappings);
        }
    }

    #[test]
    fn escapes_read_back(name in "[a-c \\\\\t\n\u{e9}]{0,12}") {
        let escaped: String = name
            .chars()
            .map(|c| if " \\\t\n".contains(c) { format!("\\{:03o}", u32::from(c)) } else { c.to_string() })
            .collect();
        prop_assert_eq!(unescape(&escaped), name);
    }
}
