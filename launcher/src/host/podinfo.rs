//! Waits for `/etc/podinfo/network-info`.
//!
//! It is a file of a projected volume: the kubelet swaps the directory's `..data` link when the controller has annotated
//! the pod, which may be a whole sync period after the container started. The directory is watched; nothing is polled.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use camino::Utf8PathBuf;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use numa::{FactError, HostRoot, file};

use super::network_info::{self, BadNetworkInfo, NetworkDevice};
use crate::readable::Readable;

/// The kubelet syncs a volume at least every 60 s plus its cache's time to live (`syncFrequency`); this is beyond both.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Why the file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum PodinfoError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] FactError),
    /// It says something else.
    #[error("`{path}` is malformed")]
    Malformed {
        /// The file.
        path: Utf8PathBuf,
        /// How.
        #[source]
        source: BadNetworkInfo,
    },
    /// Its directory cannot be watched.
    #[error("cannot watch `{path}`")]
    Watch {
        /// The directory.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the file says; none when the pod has no such file, or it stayed empty until `deadline`.
///
/// # Errors
///
/// [`PodinfoError`].
pub async fn network_info(
    root: &HostRoot,
    deadline: Duration,
) -> Result<Option<Vec<NetworkDevice>>, PodinfoError> {
    let directory = root.etc("podinfo");
    // The kubelet makes volumes before it starts the container: a file that is not there does not come.
    if !root.etc("podinfo/network-info").exists() {
        return Ok(None);
    }
    let unwatched = |source| PodinfoError::Watch {
        path: directory.clone(),
        source,
    };
    // Before the first look, so that no swap falls between the two.
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
        .and_then(|watch| {
            let swaps = AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_CLOSE_WRITE;
            watch.add_watch(directory.as_std_path(), swaps)?;
            Ok(watch)
        })
        .map_err(|errno| unwatched(errno.into()))?;
    let changes = watch
        .as_fd()
        .try_clone_to_owned()
        .and_then(Readable::new)
        .map_err(unwatched)?;
    let written = async {
        loop {
            if let Some(devices) = read(root)? {
                return Ok(Some(devices));
            }
            tracing::info!(
                event = "network-info-awaited",
                "devices: waiting for KubeVirt's controller to write `{directory}/network-info`"
            );
            let mut ready = changes.ready().await.map_err(unwatched)?;
            while watch.read_events().is_ok() {}
            ready.clear_ready();
        }
    };
    tokio::time::timeout(deadline, written)
        .await
        .unwrap_or(Ok(None))
}

pub(super) fn read(root: &HostRoot) -> Result<Option<Vec<NetworkDevice>>, PodinfoError> {
    let path = root.etc("podinfo/network-info");
    let text = file::read(&path, network_info::LONGEST)?.unwrap_or_default();
    network_info::parse(&text).map_err(|source| PodinfoError::Malformed { path, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const TEXT: &str = r#"{"interfaces":[{"network":"fast","deviceInfo":{"pci":{"pci-address":"0000:82:02.1"}}}]}"#;
    const LONG: Duration = Duration::from_secs(60);

    /// A projected volume as the kubelet makes it, with `text` in its only file.
    fn volume(text: &str) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        let podinfo = folder.path().join("etc/podinfo");
        std::fs::create_dir_all(podinfo.join("..first")).unwrap();
        std::fs::write(podinfo.join("..first/network-info"), text).unwrap();
        symlink("..first", podinfo.join("..data")).unwrap();
        symlink("..data/network-info", podinfo.join("network-info")).unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap());
        (folder, root)
    }

    #[tokio::test]
    async fn what_is_there_is_read_at_once() {
        let (_folder, root) = volume(TEXT);
        let devices = network_info(&root, Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(devices[0].network, "fast");
    }

    #[tokio::test]
    async fn the_kubelets_swap_is_heard() {
        let (folder, root) = volume("");
        let podinfo = folder.path().join("etc/podinfo");
        let (devices, ()) = tokio::join!(network_info(&root, LONG), async {
            // The other side has looked and waits.
            tokio::task::yield_now().await;
            std::fs::create_dir(podinfo.join("..second")).unwrap();
            std::fs::write(podinfo.join("..second/network-info"), TEXT).unwrap();
            symlink("..second", podinfo.join("..data_tmp")).unwrap();
            std::fs::rename(podinfo.join("..data_tmp"), podinfo.join("..data")).unwrap();
        });
        assert_eq!(devices.unwrap().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_file_that_stays_empty_or_is_not_there_says_nothing() {
        let (_folder, root) = volume("");
        assert_eq!(
            network_info(&root, Duration::from_millis(10))
                .await
                .unwrap(),
            None
        );
        let empty = tempfile::tempdir().unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(empty.path().to_owned()).unwrap());
        assert_eq!(network_info(&root, LONG).await.unwrap(), None);
        // A volume with other files of KubeVirt's.
        std::fs::create_dir_all(empty.path().join("etc/podinfo")).unwrap();
        assert_eq!(network_info(&root, LONG).await.unwrap(), None);
    }

    #[tokio::test]
    async fn garbage_is_an_error_with_the_path() {
        let (_folder, root) = volume("{");
        let error = network_info(&root, LONG).await.unwrap_err().to_string();
        assert!(
            error.ends_with("/etc/podinfo/network-info` is malformed"),
            "{error}"
        );
    }
}
