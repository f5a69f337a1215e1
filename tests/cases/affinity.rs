//! Threads bound inside and outside of a cpuset that the test makes (cgroup v1), as the kernel has it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;
use nix::sys::signal::Signal;
use numa::{
    AffinityError, Cgroup, CpuSet, HostRoot, NodeId, Resource, Tid, affinity, allowed_of, threads,
};
use tests::need;
use tests::process::Started;

const PATIENCE: Duration = Duration::from_secs(30);

fn set(list: &str) -> CpuSet {
    list.parse().expect("a CPU list")
}

/// A cpuset of the test's own, below the one that it is in.
struct Cpuset {
    path: Utf8PathBuf,
}

impl Cpuset {
    fn make(cpus: &str) -> Self {
        need::root();
        let top = need::path("/sys/fs/cgroup/cpuset");
        let path = top.join(format!("virt-launcher-test-{}", std::process::id()));
        fs::create_dir(&path).expect("a cpuset can be made");
        let made = Self { path };
        made.set("cpuset.mems", "0");
        made.set("cpuset.cpus", cpus);
        made
    }

    fn set(&self, file: &str, value: &str) {
        fs::write(self.path.join(file), value)
            .unwrap_or_else(|error| panic!("`{value}` in `{}/{file}`: {error}", self.path));
    }

    /// A process in it that does nothing until its input ends.
    fn process(&self) -> (Started, i32) {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\"; echo in; exec cat"]);
        command.arg(&self.path).stdin(Stdio::piped());
        let mut process = Started::start(&mut command).expect("a shell starts");
        process
            .wait_for("in", PATIENCE)
            .expect("it moves itself into the cpuset");
        let pid = i32::try_from(process.child().id()).expect("a pid");
        (process, pid)
    }
}

impl Drop for Cpuset {
    fn drop(&mut self) {
        // Empty as soon as the processes in it are reaped.
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn inside_is_bound_and_outside_is_told() {
    let cpuset = Cpuset::make("1");
    let (mut process, pid) = cpuset.process();
    let tid = Tid(pid);
    assert_eq!(affinity::get(tid).unwrap(), set("1"));
    affinity::bind(tid, &set("1")).unwrap();

    // Nothing of it can be had: the kernel refuses.
    assert_eq!(
        affinity::bind(tid, &set("0")),
        Err(AffinityError::NotInCpuset {
            tid,
            wanted: set("0"),
            outside: set("0"),
        })
    );
    // Half of it: the kernel leaves the rest out without a word.
    assert_eq!(
        affinity::bind(tid, &set("0-1")),
        Err(AffinityError::NotInCpuset {
            tid,
            wanted: set("0-1"),
            outside: set("0"),
        })
    );
    assert_eq!(
        affinity::bind(tid, &set("0-1,4000")),
        Err(AffinityError::Offline {
            tid,
            wanted: set("0-1,4000"),
            offline: set("4000"),
            outside: set("0"),
        })
    );
    assert_eq!(affinity::get(tid).unwrap(), set("1"));

    process.signal(Signal::SIGKILL).unwrap();
    process.finish(PATIENCE).unwrap();
    assert_eq!(
        affinity::bind(tid, &set("1")),
        Err(AffinityError::NoThread(tid))
    );
}

#[test]
fn what_a_process_may_use_is_read_at_its_own_group() {
    let root = HostRoot::default();
    let cpuset = Cpuset::make("0-1");
    let (_process, pid) = cpuset.process();
    let cgroup = Cgroup::of(&root, pid).unwrap();
    let allowed = || allowed_of(&root, &cgroup, pid).unwrap();
    assert_eq!((allowed().cpus, allowed().mems), (set("0-1"), set("0")));
    assert_eq!(allowed().disagreements, []);

    // Bound more closely than its cpuset: both are told, and what both allow is used.
    affinity::bind(Tid(pid), &set("1")).unwrap();
    let told = allowed();
    assert_eq!(told.cpus, set("1"));
    let [disagreement] = told.disagreements.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(disagreement.of, Resource::Cpus);
    assert_eq!(disagreement.file, cpuset.path.join("cpuset.effective_cpus"));
    assert_eq!(
        (&disagreement.cpuset, &disagreement.scheduler),
        (&set("0-1"), &set("1"))
    );

    // The cpuset shrinks under it.
    cpuset.set("cpuset.cpus", "0");
    assert_eq!(allowed().cpus, set("0"));
    assert_eq!(affinity::get(Tid(pid)).unwrap(), set("0"));
}

#[test]
fn threads_of_a_process_are_listed() {
    let root = HostRoot::default();
    let cpuset = Cpuset::make("0");
    let (_process, pid) = cpuset.process();
    let found = threads(&root, pid).unwrap();
    let [thread] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(thread.tid, Tid(pid));
    assert!(["sh", "cat"].contains(&thread.name.as_str()), "{thread:?}");
    let topology = numa::Topology::read(&root).unwrap();
    assert_eq!(topology.node_of(numa::CpuId(0)), Some(NodeId(0)));
}
