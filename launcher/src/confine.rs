//! Which files the pod's processes reach, by Landlock: one domain for PID 1, the supervisor and QEMU.
//!
//! PID 1 enters it before it starts anybody, and who is in it cannot leave it; an upgrade in place keeps it. It is one
//! domain, not one each, since a process may look into another's `/proc` only from the same domain or from outside
//! (kernel: `Documentation/userspace-api/landlock.rst`, ptrace restrictions). What is open already, and what has no
//! name (memfds, among them huge pages and the program of an upgrade), is not concerned.

use camino::{Utf8Path, Utf8PathBuf};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::stat::Mode;
use numa::HostRoot;

use crate::pod::PodPaths;

/// The newest that this program knows; an older kernel enforces what it has.
const NEWEST: ABI = ABI::V5;

/// A domain that could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// `no_new_privs` has to come first.
    #[error("cannot set no_new_privs")]
    NoNewPrivileges(#[source] Errno),
    /// The kernel refused.
    #[error("cannot confine this process to its files")]
    Landlock(#[from] RulesetError),
    /// A path that is there cannot be named.
    #[error(transparent)]
    Path(#[from] PathFdError),
    /// It was entered and does not hold.
    #[error("`{path}` can still be opened by a process that is confined to its files")]
    Open {
        /// What should be out of reach.
        path: Utf8PathBuf,
    },
}

/// What is within reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Programs, libraries, firmware, the kernel's facts.
    pub read: Vec<Utf8PathBuf>,
    /// Images, sockets, logs, devices.
    pub write: Vec<Utf8PathBuf>,
}

/// Programs and what they load.
const PROGRAMS: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt"];
/// Out of `/etc`, which holds the machine's secrets in a local run, what libraries look at and what a pod is told.
const SETTINGS: [&str; 15] = [
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "resolv.conf",
    "hosts",
    "nsswitch.conf",
    "passwd",
    "group",
    "localtime",
    "machine-id",
    "podinfo",
    "qemu",
    "gnutls",
    "ssl",
    "crypto-policies",
];
/// Devices that a VM uses, in a local run as in a pod. Which of them are there and for whom, their own modes say.
const DEVICES: [&str; 14] = [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "ptmx",
    "pts",
    "shm",
    "kvm",
    "net",
    "vhost-net",
    "vfio",
    "iommu",
];
/// Huge pages by file, where an image or a claim has them.
const HUGE_PAGES: &str = "hugepages";
/// Where files without a place go; a memory dump may be asked for there.
const SCRATCH: [&str; 2] = ["/tmp", "/var/tmp"];

impl Reach {
    /// What every VM needs, in a pod as in a local run.
    pub fn of_pod(paths: &PodPaths, root: &HostRoot) -> Self {
        let mut reach = Self::default();
        reach.read.extend(PROGRAMS.map(Utf8PathBuf::from));
        reach.read.extend(SETTINGS.map(|name| root.etc(name)));
        reach.read.extend([root.proc(""), root.sys("")]);
        reach.write.extend(DEVICES.map(|name| root.dev(name)));
        reach.write.push(root.dev(HUGE_PAGES));
        // Of this network namespace alone, and only while there is the privilege.
        reach.write.push(root.proc("sys/net"));
        reach.write.extend(SCRATCH.map(Utf8PathBuf::from));
        reach.write.extend(paths.all().map(Utf8Path::to_owned));
        reach
    }

    /// Everything below, for reading.
    pub fn read(&mut self, path: impl Into<Utf8PathBuf>) {
        self.read.push(path.into());
    }

    /// A file or directory for writing; one that is not there yet is made, so that its directory has to be.
    pub fn write(&mut self, path: &Utf8Path) {
        match (path.exists(), path.parent()) {
            (false, Some(parent)) => self.write.push(parent.to_owned()),
            _ => self.write.push(path.to_owned()),
        }
    }
}

/// Confines this thread and all its children to come; the answer is the version of Landlock that does it, none where the
/// kernel has none. What of `reach` is not there is left out.
pub fn confine(reach: &Reach) -> Result<Option<i32>, ConfineError> {
    prctl::set_no_new_privs().map_err(ConfineError::NoNewPrivileges)?;
    let all = AccessFs::from_all(NEWEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?;
    for path in &reach.read {
        rules = rule(rules, path, AccessFs::from_read(NEWEST))?;
    }
    for path in &reach.write {
        rules = rule(rules, path, all)?;
    }
    let status = rules.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Ok(None);
    }
    out_of_reach(Utf8Path::new("/"))?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as i32),
        _ => None,
    })
}

fn rule(
    rules: landlock::RulesetCreated,
    path: &Utf8Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, ConfineError> {
    match PathFd::new(path) {
        Ok(file) => Ok(rules.add_rule(PathBeneath::new(file, access))?),
        // Not here, or not for us: then it is out of reach anyway.
        Err(PathFdError::OpenCall { .. }) => Ok(rules),
        Err(error) => Err(error.into()),
    }
}

/// Read back: a domain that was entered and forbids nothing would be worse than none.
fn out_of_reach(path: &Utf8Path) -> Result<(), ConfineError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match open(path.as_std_path(), flags, Mode::empty()) {
        Err(Errno::EACCES) => Ok(()),
        _ => Err(ConfineError::Open {
            path: path.to_owned(),
        }),
    }
}

/// Whether this process is in a domain, and whether `others` are in the same one or one below it.
///
/// No file tells. But `/` is out of reach in every domain of ours, and a process in a domain may look into another
/// (`PTRACE_MODE_READ`, which a link below `/proc/PID/ns` takes) only if that one is in it too (kernel:
/// `Documentation/userspace-api/landlock.rst`, ptrace restrictions). None of them is shown to be anywhere by a process that
/// is in none.
pub fn shown(root: &HostRoot, others: &[i32]) -> (bool, Vec<bool>) {
    let held = out_of_reach(Utf8Path::new("/")).is_ok();
    let look = |pid: &i32| root.proc(&format!("{pid}/ns/pid")).read_link().is_ok();
    (held, others.iter().map(|pid| held && look(pid)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command};

    use super::*;

    /// Confinement cannot be undone: on a thread that ends with the test.
    fn confined<T: Send + 'static>(
        reach: Reach,
        act: impl FnOnce(Option<i32>) -> T + Send + 'static,
    ) -> T {
        let thread = std::thread::spawn(move || act(confine(&reach).unwrap()));
        thread.join().unwrap()
    }

    #[test]
    fn what_is_not_named_is_out_of_reach() {
        let folder = tempfile::tempdir_in("/var/lib").unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let (inside, outside) = (path.join("inside"), path.join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(inside.join("image"), "x").unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        let mut reach = Reach::of_pod(&PodPaths::default(), &HostRoot::default());
        reach.write(&inside);
        let abi = confined(reach, move |abi| {
            fs::write(inside.join("image"), "y").unwrap();
            fs::rename(inside.join("image"), inside.join("moved")).unwrap();
            assert!(fs::read(outside.join("secret")).is_err());
            assert!(fs::write(outside.join("secret"), "y").is_err());
            assert!(fs::write(outside.join("new"), "y").is_err());
            assert!(fs::read("/etc/shadow").is_err());
            assert!(fs::read_dir("/root").is_err());
            fs::read("/proc/self/status").unwrap();
            fs::write("/dev/null", "x").unwrap();
            abi
        });
        assert!(abi.is_some(), "this kernel has no Landlock");
    }

    /// On which the kernel shows who is where.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            Self(Command::new("sleep").arg("600").spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id().cast_signed()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn who_is_in_the_domain_is_shown_and_who_is_not() {
        let root = HostRoot::default;
        let outside = Sleeper::start();
        let pid = outside.pid();
        assert_eq!(
            shown(&root(), &[pid]),
            (false, vec![false]),
            "nobody is in any"
        );
        let reach = Reach::of_pod(&PodPaths::default(), &root());
        let told = confined(reach, move |_| {
            let inside = Sleeper::start();
            shown(&root(), &[inside.pid(), pid])
        });
        assert_eq!(told, (true, vec![true, false]));
    }

    #[test]
    fn a_file_that_is_to_be_made_needs_its_directory() {
        let mut reach = Reach::default();
        reach.write(Utf8Path::new("/usr/bin/env"));
        reach.write(Utf8Path::new("/usr/no-such-file"));
        assert_eq!(reach.write, ["/usr/bin/env", "/usr"]);
    }
}
