//! Pools of this machine: grown and shrunk back, filled by QEMU, and proven by the kernel's own accounts.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::{
    Backend, Bite, Bytes, Counted, Counts, Growth, Nodes, PageSize, Part, Request, Sampler,
    Shortfall, backends, explain, huge_mappings, recover, reserve,
};
use nix::sys::signal::Signal;
use numa::{Cgroup, HostRoot, NodeId};
use serde_json::{Value, json};
use tests::need;
use tests::pools::{self, Held};
use tests::process::Started;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every step of a helper needs to go right.
const UNFIT: &str = "this machine's kernel does what the test asks for";

fn pages(size: PageSize, pages: u64) -> Request {
    Request {
        size,
        parts: vec![Part {
            pages,
            nodes: Nodes::On(NodeId(0)),
        }],
    }
}

/// A backend as a guest's memory has it, on node 0.
fn backend(id: &str, size: PageSize, pages: u64) -> Value {
    json!({
        "qom-type": "memory-backend-memfd",
        "id": id,
        "size": size.0.0 * pages,
        "hugetlb": true,
        "hugetlbsize": size.0.0,
        "prealloc": true,
        "host-nodes": [0],
        "policy": "bind",
    })
}

/// QEMU with nothing but memory. Its greeting comes when the memory is filled.
fn qemu(group: Option<&Utf8Path>, objects: &[Value]) -> Started {
    let program = need::tool("qemu-system-x86_64");
    let mut arguments: Vec<String> = "-M none -nodefaults -display none -S -qmp stdio"
        .split(' ')
        .map(str::to_owned)
        .collect();
    for object in objects {
        arguments.extend(["-object".to_owned(), object.to_string()]);
    }
    let mut command = Command::new("sh");
    // The shell moves itself into the group, then becomes QEMU.
    command.args([
        "-c",
        "[ -z \"$0\" ] || echo $$ > \"$0/cgroup.procs\"; exec \"$@\"",
    ]);
    command.arg(group.map_or("", Utf8Path::as_str));
    command.arg(program).args(arguments).stdin(Stdio::piped());
    Started::start(&mut command).expect("QEMU starts")
}

fn pid(process: &mut Started) -> i32 {
    i32::try_from(process.child().id()).expect(UNFIT)
}

fn backends_of(process: &mut Started) -> Vec<Backend> {
    backends(&huge_mappings(&HostRoot::default(), pid(process)).expect(UNFIT))
}

/// A reservation, its fill watched, the pages proven, and all of it back after QEMU was killed.
fn filled_and_given_back(size: PageSize, each: &[u64]) {
    let mut held = Held::hold();
    let total: u64 = each.iter().sum();
    held.add(size, total);
    let root = HostRoot::default();
    let cgroup = Cgroup::read(&root).expect(UNFIT);
    let counts = Counts::read(&root, &cgroup).expect(UNFIT);
    let reservation = reserve(&pages(size, total), &counts.pools, &counts.limits).expect(UNFIT);
    let free = pools::free(size);

    let mut sampler = Sampler::start(&root, reservation).expect(UNFIT);
    let start = sampler.next().expect(UNFIT).expect(UNFIT);
    assert_eq!((start.filled(), start.is_done()), (Bytes(0), false));
    let objects: Vec<_> = each
        .iter()
        .enumerate()
        .map(|(id, pages)| backend(&format!("ram{id}"), size, *pages))
        .collect();
    let mut qemu = qemu(None, &objects);
    qemu.wait_for("\"QMP\"", PATIENCE).expect(UNFIT);
    let end = sampler.next().expect(UNFIT).expect(UNFIT);
    assert!(end.is_done(), "{end:?}");
    assert_eq!(end.filled(), Bytes(size.0.0 * total));
    assert!(sampler.next().is_none());
    assert_eq!(pools::free(size), free - total);

    let mut found = backends_of(&mut qemu);
    found.sort_by_key(|backend| backend.length);
    let short: Vec<_> = found
        .iter()
        .map(|backend| {
            assert!(backend.file.starts_with("/memfd:memory-backend-memfd"));
            let bound = backend.bound_to.clone().expect(UNFIT).to_string();
            (backend.length, backend.size, bound, backend.pages.clone())
        })
        .collect();
    let expected: Vec<_> = each
        .iter()
        .map(|pages| {
            (
                Some(Bytes(size.0.0 * pages)),
                Some(size),
                "0".to_owned(),
                [(NodeId(0), *pages)].into(),
            )
        })
        .collect();
    assert_eq!(short, expected);

    qemu.signal(Signal::SIGKILL).expect(UNFIT);
    qemu.finish(PATIENCE).expect(UNFIT);
    held.wait_for_free(size, free);
    held.release();
}

#[test]
fn pages_of_1gi_are_filled_proven_and_given_back() {
    if need::pages_of_1gi(2, "hugepages pages_of_1gi_are_filled_proven_and_given_back") {
        filled_and_given_back(PageSize::GIB_1, &[2]);
    }
}

#[test]
fn pages_of_2mi_in_two_backends_are_told_apart() {
    filled_and_given_back(PageSize::MIB_2, &[3, 5]);
}

/// Pages in use when the pool shrinks leave it when QEMU ends.
#[test]
fn a_pool_shrinks_below_what_is_in_use() {
    let size = PageSize::MIB_2;
    let mut held = Held::hold();
    let free = pools::free(size);
    held.add(size, free + 4);
    let mut qemu = qemu(None, &[backend("ram", size, free + 4)]);
    qemu.wait_for("\"QMP\"", PATIENCE).unwrap();
    held.shrink();
    let surplus: u64 = pools::now().iter().map(|pool| pool.surplus).sum();
    assert!(surplus >= 4, "{:?}", pools::now());
    let found = backends_of(&mut qemu);
    assert_eq!(found[0].pages, [(NodeId(0), free + 4)].into());
    qemu.signal(Signal::SIGKILL).unwrap();
    qemu.finish(PATIENCE).unwrap();
    held.wait_for_free(size, free);
    held.release();
}

#[test]
fn one_page_short_is_told_before_and_after_a_fill() {
    let size = PageSize::MIB_2;
    let mut held = Held::hold();
    held.add(size, 4);
    let root = HostRoot::default();
    let cgroup = Cgroup::read(&root).unwrap();
    let before = Counts::read(&root, &cgroup).unwrap();
    let free = pools::free(size);
    let request = pages(size, free + 1);
    let short = reserve(&request, &before.pools, &before.limits).unwrap_err();
    let nodes = [Bite::Nodes {
        nodes: vec![NodeId(0)],
        wanted: free + 1,
        free,
    }];
    assert_eq!(short.bites, nodes);
    assert_eq!(short.missing()[0].pages, 1);

    let mut qemu = qemu(None, &[backend("ram", size, free + 1)]);
    let status = qemu.finish(PATIENCE).unwrap();
    assert!(!status.success(), "{:?}", qemu.seen());
    held.wait_for_free(size, free);
    let after = Counts::read(&root, &cgroup).unwrap();
    let told = explain(&request, &before, &after).unwrap();
    assert_eq!(told.bites, nodes);
    held.release();
}

/// A v2 group of the test's own, with the hugetlb controller switched on for it.
struct Group {
    path: Utf8PathBuf,
    parent: Utf8PathBuf,
    switched_on: bool,
}

impl Group {
    fn make() -> Self {
        let parent = v2_mount();
        let read = |name| fs::read_to_string(parent.join(name)).expect(UNFIT);
        assert!(
            read("cgroup.controllers").contains("hugetlb"),
            "this test needs the hugetlb controller in `{parent}`"
        );
        let switched_on = !read("cgroup.subtree_control").contains("hugetlb");
        if switched_on {
            fs::write(parent.join("cgroup.subtree_control"), "+hugetlb").expect(UNFIT);
        }
        let path = parent.join(format!("virt-launcher-test-{}", std::process::id()));
        fs::create_dir(&path).expect(UNFIT);
        Self {
            path,
            parent,
            switched_on,
        }
    }

    fn set(&self, name: &str, value: impl ToString) {
        fs::write(self.path.join(name), value.to_string()).expect(UNFIT);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty as soon as the processes in it are reaped.
        let _ = fs::remove_dir(&self.path);
        if self.switched_on {
            let _ = fs::write(self.parent.join("cgroup.subtree_control"), "-hugetlb");
        }
    }
}

fn v2_mount() -> Utf8PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect(UNFIT);
    let mount = mounts.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        (words.get(2) == Some(&"cgroup2")).then(|| words[1].into())
    });
    mount.expect("this test needs cgroup v2 mounted")
}

/// What `explain` says of a fill of 8 pages of 2Mi in a group that may have 4.
fn refused_by_a_group(limit: &str) -> (Shortfall, Utf8PathBuf) {
    let size = PageSize::MIB_2;
    let mut held = Held::hold();
    held.add(size, 8);
    let group = Group::make();
    group.set(limit, 4 * size.0.0);
    let root = HostRoot::default();
    // Something in the group, so that its own view can be read.
    let mut within = Command::new("sh");
    within.args(["-c", "echo $$ > \"$0/cgroup.procs\"; echo in; exec cat"]);
    within.arg(&group.path).stdin(Stdio::piped());
    let mut within = Started::start(&mut within).expect(UNFIT);
    within.wait_for("in", PATIENCE).expect(UNFIT);
    let cgroup = Cgroup::of(&root, pid(&mut within)).expect(UNFIT);
    let before = Counts::read(&root, &cgroup).expect(UNFIT);
    let request = pages(size, 8);
    let short =
        reserve(&request, &before.pools, &before.limits).expect_err("the group has too little");
    assert!(matches!(short.bites[..], [Bite::Limit(_)]), "{short}");

    let mut qemu = qemu(Some(&group.path), &[backend("ram", size, 8)]);
    let status = qemu.finish(PATIENCE).expect(UNFIT);
    assert!(!status.success(), "{:?}", qemu.seen());
    let after = Counts::read(&root, &cgroup).expect(UNFIT);
    let count = |counts: &Counts| -> u64 {
        let of_size = counts.refusals.iter().filter(|it| it.size == size);
        of_size.map(|it| it.count).sum()
    };
    assert!(count(&after) > count(&before), "{after:?}");
    let told = explain(&request, &before, &after).expect(UNFIT);
    let file = group.path.join(limit);
    drop(within);
    drop(group);
    held.release();
    (told, file)
}

#[test]
fn a_groups_limit_on_use_is_told() {
    let (told, file) = refused_by_a_group("hugetlb.2MB.max");
    let [Bite::Limit(limit)] = told.bites.as_slice() else {
        panic!("{told}");
    };
    assert_eq!((limit.of, &limit.file), (Counted::Usage, &file));
    assert_eq!(limit.pages_left(), 4);
}

#[test]
fn a_groups_limit_on_reservations_is_told() {
    let (told, file) = refused_by_a_group("hugetlb.2MB.rsvd.max");
    let [Bite::Limit(limit)] = told.bites.as_slice() else {
        panic!("{told}");
    };
    assert_eq!((limit.of, &limit.file), (Counted::Reservations, &file));
}

/// A holder in a process of its own, its journal in a directory of the test's.
fn holder(state: &Utf8Path, pages: u64) -> Started {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hold_pools"));
    command.args([state.as_str(), "2Mi", &pages.to_string()]);
    let mut holder = Started::start(command.stdin(Stdio::piped())).expect(UNFIT);
    holder.wait_for("grown", PATIENCE).expect(UNFIT);
    holder
}

#[test]
fn a_holder_that_was_killed_is_shrunk_back_and_a_living_one_is_not() {
    let held = Held::hold();
    let keep = tempfile::tempdir().unwrap();
    let state = Utf8Path::from_path(keep.path()).unwrap();
    let root = HostRoot::default();
    let free = pools::free(PageSize::MIB_2);
    let mut killed = holder(state, 3);
    let mut living = holder(state, 2);
    assert_eq!(pools::free(PageSize::MIB_2), free + 5);

    killed.signal(Signal::SIGKILL).unwrap();
    killed.finish(PATIENCE).unwrap();
    assert_eq!(pools::free(PageSize::MIB_2), free + 5);
    let three = Growth {
        node: NodeId(0),
        size: PageSize::MIB_2,
        pages: 3,
    };
    assert_eq!(recover(&root, state).unwrap(), [three]);
    assert_eq!(pools::free(PageSize::MIB_2), free + 2);

    // The end of its input is its word to let go.
    drop(living.child().stdin.take());
    assert!(living.finish(PATIENCE).unwrap().success());
    assert_eq!(recover(&root, state).unwrap(), []);
    held.release();
}
