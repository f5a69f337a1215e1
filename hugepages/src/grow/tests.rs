use std::io::Write;

use proptest::prelude::*;

use super::*;

/// A tree with a pool of 2Mi pages on nodes 0 and 1, of 4 pages each, and the directory of the journals.
struct Machine {
    _keep: tempfile::TempDir,
    root: HostRoot,
    state: Utf8PathBuf,
}

fn machine() -> Machine {
    let keep = tempfile::tempdir().unwrap();
    let top = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
    let root = HostRoot::new(top.join("root"));
    let machine = Machine {
        _keep: keep,
        state: top.join("state"),
        root,
    };
    machine.write("proc/sys/kernel/random/boot_id", "one\n");
    machine.write("sys/devices/system/node/online", "0-1\n");
    for node in 0..2 {
        machine.set(node, "nr_hugepages", "4\n");
        machine.set(node, "surplus_hugepages", "0\n");
        machine.set(node, "free_hugepages", "4\n");
    }
    machine
}

impl Machine {
    fn write(&self, path: &str, content: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn set(&self, node: u32, name: &str, content: &str) {
        let pool = format!("sys/devices/system/node/node{node}/hugepages/hugepages-2048kB");
        self.write(&format!("{pool}/{name}"), content);
    }

    fn sizes(&self) -> [u64; 2] {
        [0, 1].map(|node| persistent(&self.root, NodeId(node), PageSize::MIB_2).unwrap())
    }

    fn grow(&self, wanted: &[Growth]) -> Result<Grown, GrowError> {
        grow(&self.root, &self.state, wanted)
    }

    fn journals(&self) -> usize {
        let names = numa::file::names(&self.state).unwrap();
        names.iter().filter(|name| *name != "lock").count()
    }

    /// As a holder that was killed leaves it.
    fn orphan(&self, lines: &[&str]) {
        std::fs::create_dir_all(&self.state).unwrap();
        let mut file = std::fs::File::create(self.state.join("1-0.journal")).unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
    }
}

fn by(node: u32, pages: u64) -> Growth {
    Growth {
        node: NodeId(node),
        size: PageSize::MIB_2,
        pages,
    }
}

#[test]
fn pools_shrink_back_by_what_was_grown() {
    let machine = machine();
    let grown = machine.grow(&[by(0, 3), by(1, 1), by(0, 2)]).unwrap();
    assert_eq!(machine.sizes(), [9, 5]);
    assert_eq!(grown.pools(), [by(0, 5), by(1, 1)]);
    // Others change the pool meanwhile: what they did stays.
    machine.set(0, "nr_hugepages", "12");
    grown.shrink().unwrap();
    assert_eq!(machine.sizes(), [7, 4]);
    assert_eq!(machine.journals(), 0);
}

#[test]
fn a_drop_shrinks_and_holders_do_not_disturb_each_other() {
    let machine = machine();
    let one = machine.grow(&[by(0, 1)]).unwrap();
    let two = machine.grow(&[by(0, 2)]).unwrap();
    assert_eq!((machine.sizes(), machine.journals()), ([7, 4], 2));
    drop(one);
    assert_eq!(machine.sizes(), [6, 4]);
    drop(two);
    assert_eq!((machine.sizes(), machine.journals()), ([4, 4], 0));
}

#[test]
fn a_pool_that_did_not_grow_enough_goes_back_to_its_own_size() {
    let machine = machine();
    machine.set(0, "surplus_hugepages", "1");
    // A file does not count the surplus page on top of what is written: the pool seems to have grown by one only.
    let error = machine.grow(&[by(0, 2)]).unwrap_err();
    assert!(
        matches!(error, GrowError::Short { grown: 1, .. }),
        "{error}"
    );
    // 4 with the surplus page are 3 of its own, and those are what is set.
    let path = nr_hugepages(&machine.root, NodeId(0), PageSize::MIB_2);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "3");
    assert_eq!(machine.journals(), 0);
}

#[test]
fn a_failure_undoes_the_pools_before_it() {
    let machine = machine();
    machine.set(1, "nr_hugepages", "many");
    let error = machine.grow(&[by(0, 2), by(1, 1)]).unwrap_err();
    assert!(error.to_string().contains("says `many`"), "{error}");
    machine.set(1, "nr_hugepages", "4");
    assert_eq!((machine.sizes(), machine.journals()), ([4, 4], 0));

    let error = machine.grow(&[by(0, 2), by(7, 1)]).unwrap_err();
    assert_eq!(error.to_string(), "node 7 has no pool of pages of `2Mi`");
    assert_eq!((machine.sizes(), machine.journals()), ([4, 4], 0));
}

#[test]
fn a_pool_that_grew_less_is_told() {
    assert!(enough(&by(0, 3), 4, 7).is_ok());
    assert_eq!(
        enough(&by(0, 3), 4, 5).unwrap_err().to_string(),
        "the pool of `2Mi` on node 0 was to grow by `3` pages and grew by `1`"
    );
}

#[test]
fn what_a_dead_holder_grew_is_shrunk_by_the_next() {
    let machine = machine();
    machine.orphan(&[
        r#"{"boot":"one"}"#,
        r#"{"begin":{"node":0,"size":2097152,"from":1,"to":3}}"#,
        r#"{"finish":{"now":3}}"#,
        r#"{"begin":{"node":1,"size":2097152,"from":4,"to":9}}"#,
        r#"{"finish":{"now":4}}"#,
    ]);
    assert_eq!(recover(&machine.root, &machine.state).unwrap(), [by(0, 2)]);
    assert_eq!((machine.sizes(), machine.journals()), ([2, 4], 0));
    assert_eq!(recover(&machine.root, &machine.state).unwrap(), []);
}

#[test]
fn a_step_that_was_cut_off_is_read_off_the_pool() {
    for (now, left) in [("4", 4), ("6", 4), ("7", 4), ("9", 6)] {
        let machine = machine();
        machine.set(0, "nr_hugepages", now);
        machine.orphan(&[
            r#"{"boot":"one"}"#,
            r#"{"begin":{"node":0,"size":2097152,"from":4,"to":7}}"#,
            r#"{"fini"#,
        ]);
        recover(&machine.root, &machine.state).unwrap();
        assert_eq!(machine.sizes()[0], left, "{now}");
    }
    // Killed while it shrank back: half of it is done.
    let machine = machine();
    machine.set(0, "nr_hugepages", "5");
    machine.orphan(&[
        r#"{"boot":"one"}"#,
        r#"{"begin":{"node":0,"size":2097152,"from":4,"to":7}}"#,
        r#"{"finish":{"now":7}}"#,
        r#"{"begin":{"node":0,"size":2097152,"from":7,"to":4}}"#,
    ]);
    recover(&machine.root, &machine.state).unwrap();
    assert_eq!(machine.sizes(), [4, 4]);
}

#[test]
fn pools_of_an_earlier_boot_are_left_alone() {
    let machine = machine();
    machine.orphan(&[
        r#"{"boot":"zero"}"#,
        r#"{"begin":{"node":0,"size":2097152,"from":1,"to":3}}"#,
        r#"{"finish":{"now":3}}"#,
    ]);
    drop(machine.grow(&[by(1, 1)]).unwrap());
    assert_eq!((machine.sizes(), machine.journals()), ([4, 4], 0));
}

#[test]
fn without_a_directory_there_is_nothing_to_recover() {
    let machine = machine();
    assert_eq!(recover(&machine.root, &machine.state).unwrap(), []);
    assert!(!machine.state.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever a holder is killed - before it changes a pool, after it, after it has written that down, growing or
    /// shrinking - the next one leaves the pools as they were before it.
    #[test]
    fn a_holder_may_die_anywhere(
        growths in proptest::collection::vec((0_u32..2, 0_u64..5), 1..4),
        others in 0_u64..4,
        cut in 0_usize..20,
    ) {
        let machine = machine();
        let start = 4 + others;
        let mut sizes = [start; 2];
        let mut lines = vec![r#"{"boot":"one"}"#.to_owned()];
        // What it would do to the end: grow all, then shrink all.
        let up = growths.iter().map(|(node, pages)| (*node, true, *pages));
        let down = (0..2).map(|node| {
            let mine = growths.iter().filter(|(other, _)| *other == node);
            (node, false, mine.map(|(_, pages)| *pages).sum())
        });
        let mut step = 0;
        let mut alive = || { step += 1; step <= cut };
        for (node, grows, pages) in up.chain(down) {
            let size = &mut sizes[node as usize];
            let to = if grows { *size + pages } else { *size - pages };
            if !alive() { break; }
            lines.push(format!(r#"{{"begin":{{"node":{node},"size":2097152,"from":{size},"to":{to}}}}}"#));
            if !alive() { break; }
            *size = to;
            if !alive() { break; }
            lines.push(format!(r#"{{"finish":{{"now":{to}}}}}"#));
        }
        for (node, size) in (0..).zip(sizes) {
            machine.set(node, "nr_hugepages", &size.to_string());
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        machine.orphan(&lines);
        recover(&machine.root, &machine.state).unwrap();
        prop_assert_eq!(machine.sizes(), [start; 2]);
        prop_assert_eq!(machine.journals(), 0);
    }
}
