//! Which socket: the one that was named, or that of the one VM that runs here.
//!
//! A VM's private directory holds the supervisor's `control.sock` and, in a directory per VM, QEMU's own
//! `qmp.sock`, which is the fallback when no supervisor answers. Sockets of the dead may lie about: one
//! counts only if somebody listens.

use camino::{Utf8Path, Utf8PathBuf};

use super::InspectError;
use crate::pod::PodPaths;

/// Where VMs are looked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// Local runs, a directory each, with the pod's private directory as `private` in it.
    pub runs: Utf8PathBuf,
    /// The private directory of the pod that we are in, if we are.
    pub private: Utf8PathBuf,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            runs: "/run/virt-launcher".into(),
            private: PodPaths::default().private,
        }
    }
}

/// The socket to connect to: the one that was named, that of the named pod, or that of the one VM there is.
pub async fn find(
    socket: Option<&Utf8PathBuf>,
    pod: Option<&Utf8PathBuf>,
    search: &Search,
) -> Result<Utf8PathBuf, InspectError> {
    if let Some(socket) = socket {
        return Ok(socket.clone());
    }
    if let Some(pod) = pod {
        let pod = named(pod, &search.runs).unwrap_or_else(|| pod.clone());
        let looked = private_directories(&pod);
        for directory in &looked {
            match live(directory).await.as_slice() {
                [] => {}
                [one] => return Ok(one.clone()),
                several => {
                    let found = several.to_vec();
                    return Err(InspectError::Several { found });
                }
            }
        }
        return Err(InspectError::NoVm { looked });
    }
    let mut vms = Vec::new();
    let mut directories: Vec<Utf8PathBuf> = entries(&search.runs);
    directories.push(search.private.clone());
    for directory in &directories {
        for private in [directory.join("private"), directory.clone()] {
            for socket in live(&private).await {
                vms.push((directory.clone(), socket));
            }
        }
    }
    match vms.as_slice() {
        [(_, socket)] => Ok(socket.clone()),
        [] => {
            let looked = vec![search.runs.clone(), search.private.clone()];
            match looked
                .iter()
                .chain(&directories)
                .find(|path| is_closed(path))
            {
                Some(path) => Err(InspectError::Closed { path: path.clone() }),
                None => Err(InspectError::NoVm { looked }),
            }
        }
        several => {
            let mut found: Vec<_> = several
                .iter()
                .map(|(directory, _)| directory.clone())
                .collect();
            found.dedup();
            // One directory with several monitors: only the sockets tell them apart.
            if found.len() == 1 {
                found = several.iter().map(|(_, socket)| socket.clone()).collect();
            }
            Err(InspectError::Several { found })
        }
    }
}

/// The one local run of the VM `name`, as `default_masquerade`: its directory has that name, a dash and a random part.
fn named(name: &Utf8Path, runs: &Utf8Path) -> Option<Utf8PathBuf> {
    if name.exists() || name.as_str().contains('/') {
        return None;
    }
    let mut runs = entries(runs).into_iter().filter(|run| {
        let run = run.file_name().unwrap_or_default();
        run == name || run.rsplit_once('-').is_some_and(|(vm, _)| vm == name)
    });
    runs.next().filter(|_| runs.next().is_none())
}

/// Whether there is something that we may not look into.
fn is_closed(path: &Utf8Path) -> bool {
    let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    path.read_dir_utf8().err().is_some_and(denied)
}

/// Where below `pod` the private directory may be: `pod` is it, or a local run's, or a pod's root.
fn private_directories(pod: &Utf8Path) -> Vec<Utf8PathBuf> {
    let inside = PodPaths::default().private;
    vec![
        pod.to_owned(),
        pod.join("private"),
        below(pod, &inside),
        below(pod, Utf8Path::new("/run/kubevirt-private")),
    ]
}

/// The sockets of one private directory at which somebody listens: the supervisor's alone, or else the
/// monitors of the VMs in it.
async fn live(private: &Utf8Path) -> Vec<Utf8PathBuf> {
    let control = private.join("control.sock");
    if listens(&control).await {
        return vec![control];
    }
    let mut monitors = vec![private.join("qmp.sock")];
    monitors.extend(entries(private).iter().map(|vm| vm.join("qmp.sock")));
    let mut found = Vec::new();
    for monitor in monitors {
        if listens(&monitor).await {
            found.push(monitor);
        }
    }
    found
}

async fn listens(socket: &Utf8Path) -> bool {
    qmp::connect(socket.as_std_path()).await.is_ok()
}

/// The directories in a directory, sorted; none where it cannot be read.
fn entries(directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(list) = directory.read_dir_utf8() else {
        return Vec::new();
    };
    let mut found: Vec<Utf8PathBuf> = list
        .filter_map(|entry| Some(entry.ok()?.into_path()))
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// `path` as a process whose root is `root` sees it: an absolute symlink, as `/var/run` often is, starts
/// again at that root and does not lead out to ours.
fn below(root: &Utf8Path, path: &Utf8Path) -> Utf8PathBuf {
    /// As many as the kernel follows (path_resolution(7)).
    const LINKS: usize = 40;
    let mut waiting: Vec<String> = names(path);
    let mut resolved = root.to_owned();
    let mut links = 0;
    while let Some(name) = waiting.pop() {
        if name == ".." {
            if resolved != root {
                resolved.pop();
            }
            continue;
        }
        let next = resolved.join(&name);
        match next.read_link_utf8() {
            Ok(target) if links < LINKS => {
                links += 1;
                if target.is_absolute() {
                    resolved = root.to_owned();
                }
                waiting.extend(names(&target));
            }
            _ => resolved = next,
        }
    }
    resolved
}

/// The names in a path, last first.
fn names(path: &Utf8Path) -> Vec<String> {
    let parts = path.components().rev();
    parts
        .map(|part| part.as_str().to_owned())
        .filter(|name| name != "/" && name != ".")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vms_name_is_that_of_its_one_run() {
        let dir = tempfile::tempdir().expect("a directory");
        let runs = Utf8Path::from_path(dir.path()).expect("utf-8");
        let made = [
            "default_a-x1",
            "default_a-b-x1",
            "default_b-x1",
            "default_b-y2",
        ];
        for run in made {
            std::fs::create_dir(runs.join(run)).expect("made");
        }
        let found = |name: &str| named(Utf8Path::new(name), runs);
        assert_eq!(found("default_a"), Some(runs.join("default_a-x1")));
        assert_eq!(found("default_a-b"), Some(runs.join("default_a-b-x1")));
        // Two runs of one VM, none, and a path.
        for name in ["default_b", "default_c", "./default_a", "/"] {
            assert_eq!(found(name), None, "{name}");
        }
    }

    #[test]
    fn a_pods_absolute_links_stay_in_the_pod() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).expect("utf-8");
        std::fs::create_dir_all(root.join("run/deep")).expect("made");
        std::fs::create_dir_all(root.join("var")).expect("made");
        std::os::unix::fs::symlink("/run", root.join("var/run")).expect("linked");
        std::os::unix::fs::symlink("../../../../run/deep", root.join("var/up")).expect("linked");
        std::os::unix::fs::symlink("loop", root.join("loop")).expect("linked");
        let seen = |path: &str| below(&root, Utf8Path::new(path));
        assert_eq!(
            seen("/var/run/kubevirt-private"),
            root.join("run/kubevirt-private")
        );
        assert_eq!(seen("/var/up"), root.join("run/deep"));
        assert_eq!(seen("/loop"), root.join("loop"));
    }
}
