//! What is made before QEMU starts, and which files it will open.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::Bytes;
use serde::{Deserialize, Serialize};

use super::{paths, seed};
use crate::host::{ImageFacts, ImageFormat};
use crate::pod::PodPaths;
use crate::refusal::{Notice, Violation};
use crate::spec::Spec;
use crate::spec::disk::{Disk, Source};

/// All of the VM's storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoragePlan {
    /// In the order in which they are made; each can be undone.
    pub make: Vec<Make>,
    /// One for each disk of the VMI, in its order.
    pub disks: Vec<DiskImage>,
}

/// One file to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "make", rename_all = "kebab-case")]
pub enum Make {
    /// A fresh qcow2 over a read-only image; replaces what an earlier start left.
    Overlay {
        /// The qcow2 to make.
        path: Utf8PathBuf,
        /// The image below it.
        backing: Utf8PathBuf,
        /// How the image below it is read.
        backing_format: ImageFormat,
    },
    /// An empty qcow2 of a given size, kept when it exists.
    EmptyQcow2 {
        /// The qcow2 to make.
        path: Utf8PathBuf,
        /// What the guest sees.
        size: Bytes,
    },
    /// A sparse raw file, kept when it exists.
    SparseRaw {
        /// The file to make.
        path: Utf8PathBuf,
        /// Its length.
        size: Bytes,
    },
    /// A cloud-init NoCloud ISO.
    NoCloudIso {
        /// The ISO to make.
        path: Utf8PathBuf,
        /// `meta-data`.
        meta_data: String,
        /// `user-data`, base64.
        user_data: String,
        /// `network-config`, base64.
        network_data: Option<String>,
    },
}

/// The image chain behind one disk: what QEMU's block layer opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskImage {
    /// The VMI's disk name.
    pub name: String,
    /// None for an empty CD-ROM drive.
    pub top: Option<Layer>,
    /// Below a top that is an overlay.
    pub backing: Option<Layer>,
    /// `O_DIRECT` is known to open every layer; none when that could not be tried.
    pub direct_io: Option<bool>,
    /// Fully allocated file, or a block device: fit for `io: native`.
    pub preallocated: bool,
}

/// One file or block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Where it is, in the pod.
    pub path: Utf8PathBuf,
    /// `raw` or `qcow2`.
    pub format: ImageFormat,
    /// A block device (`host_device`), not a file.
    pub block: bool,
}

impl Make {
    /// The file that it makes.
    pub fn path(&self) -> &Utf8Path {
        match self {
            Self::Overlay { path, .. }
            | Self::EmptyQcow2 { path, .. }
            | Self::SparseRaw { path, .. }
            | Self::NoCloudIso { path, .. } => path,
        }
    }
}

/// `--disk` paths of a run outside a pod, where nobody mounts volumes: a host disk is at its own path, and a claim
/// only at its file in the pod's directories, never at a device that happens to have the volume's name.
pub fn local_paths(
    spec: &Spec,
    given: &BTreeMap<String, Utf8PathBuf>,
    paths: &PodPaths,
) -> BTreeMap<String, Utf8PathBuf> {
    let own = |disk: &Disk| match &disk.source {
        Source::HostDisk { path, .. } => Some(path.clone()),
        Source::Claim { .. } => Some(paths::claim_file(paths, &disk.name)),
        _ => None,
    };
    let owned = |disk: &Disk| Some((disk.name.clone(), own(disk)?));
    let mut all: BTreeMap<_, _> = spec.disks.iter().filter_map(owned).collect();
    all.extend(
        given
            .iter()
            .map(|(name, path)| (name.clone(), path.clone())),
    );
    all
}

/// Every image of the VM, at the paths that KubeVirt gives them or that `disk_paths` (`--disk NAME=PATH`, absolute)
/// names. `images` is what [`super::facts::read`] found with the same paths.
pub fn plan(
    spec: &Spec,
    images: &BTreeMap<String, ImageFacts>,
    disk_paths: &BTreeMap<String, Utf8PathBuf>,
    paths: &PodPaths,
) -> Result<(StoragePlan, Vec<Notice>), Vec<Violation>> {
    let mut planner = Planner {
        spec,
        images,
        disk_paths,
        paths,
        plan: StoragePlan::default(),
        notices: Vec::new(),
        violations: Vec::new(),
    };
    for (name, path) in disk_paths {
        planner.check_given(name, path);
    }
    for disk in &spec.disks {
        let image = planner.disk(disk);
        planner.plan.disks.extend(image);
    }
    planner.check_collisions();
    if planner.violations.is_empty() {
        Ok((planner.plan, planner.notices))
    } else {
        Err(planner.violations)
    }
}

struct Planner<'a> {
    spec: &'a Spec,
    images: &'a BTreeMap<String, ImageFacts>,
    disk_paths: &'a BTreeMap<String, Utf8PathBuf>,
    paths: &'a PodPaths,
    plan: StoragePlan,
    notices: Vec<Notice>,
    violations: Vec<Violation>,
}

impl Planner<'_> {
    /// One `--disk NAME=PATH`.
    fn check_given(&mut self, name: &str, path: &Utf8Path) {
        let takes_path = |disk: &&Disk| {
            matches!(
                disk.source,
                Source::ContainerDisk { .. } | Source::Claim { .. } | Source::HostDisk { .. }
            )
        };
        let disks = &self.spec.disks;
        if !disks
            .iter()
            .filter(takes_path)
            .any(|disk| disk.name == name)
        {
            let message = match disks.iter().find(|disk| disk.name == name) {
                Some(_) => format!("`{name}` has no image of its own to be named"),
                None => format!("no disk is named `{name}`"),
            };
            let names: Vec<_> = disks
                .iter()
                .filter(takes_path)
                .map(|disk| format!("`{}`", disk.name))
                .collect();
            let hint = match names.is_empty() {
                true => "no disk of this VMI takes a path".to_owned(),
                false => format!("disks that take a path: {}", names.join(", ")),
            };
            self.violations
                .push(Violation::new("--disk", message, hint));
        }
        // An overlay's header would read it from the overlay's own directory.
        if !path.is_absolute() {
            let message = format!("`{path}` for disk `{name}` is not absolute");
            let hint = "give the path from `/`";
            self.violations
                .push(Violation::new("--disk", message, hint));
        }
    }

    /// None when there is a violation.
    fn disk(&mut self, disk: &Disk) -> Option<DiskImage> {
        match &disk.source {
            Source::ContainerDisk { image } => self.container_disk(disk, image),
            Source::Claim { claim } => Some(self.claim(disk, claim)),
            Source::HostDisk { path, create } => self.host_disk(disk, path, *create),
            Source::EmptyDisk { capacity } => {
                let path = paths::empty_disk(self.paths, &disk.name);
                let size = *capacity;
                let make = Make::EmptyQcow2 {
                    path: path.clone(),
                    size,
                };
                self.plan.make.push(make);
                Some(self.image(disk, Some(file(path, ImageFormat::Qcow2)), None))
            }
            Source::CloudInitNoCloud(data) => {
                let path = paths::no_cloud_iso(self.paths, &self.spec.identity);
                self.plan.make.push(Make::NoCloudIso {
                    path: path.clone(),
                    meta_data: seed::meta_data(self.spec),
                    user_data: seed::encode(&data.user_data),
                    network_data: data.network_data.as_deref().map(seed::encode),
                });
                Some(self.image(disk, Some(file(path, ImageFormat::Raw)), None))
            }
            Source::Empty => Some(self.image(disk, None, None)),
        }
    }

    fn container_disk(&mut self, disk: &Disk, image: &str) -> Option<DiskImage> {
        let usual = || paths::container_disk(self.paths, disk.volume_index);
        let path = self
            .disk_paths
            .get(&disk.name)
            .cloned()
            .unwrap_or_else(usual);
        let facts = self.images.get(&disk.name);
        if facts.is_some_and(|facts| facts.has_backing) {
            self.violations.push(Violation::new(
                format!("{}.containerDisk.image", disk.volume_path),
                format!("the qcow2 header of `{image}` (`{path}`) names another file, which could be any file of the pod"),
                "make it whole with `qemu-img convert -O qcow2`",
            ));
            return None;
        }
        if let Some(why) = facts.and_then(|facts| facts.unread.as_ref()) {
            self.violations.push(Violation::new(
                format!("{}.containerDisk.image", disk.volume_path),
                format!("what `{image}` (`{path}`) is cannot be told: {why}"),
                "see that the file answers, by `head -c 104` of it",
            ));
            return None;
        }
        if facts.is_none() {
            self.notice(
                disk,
                format!("`{path}` is not here, so its format is taken to be raw"),
            );
        }
        let backing = Layer {
            format: facts.map_or(ImageFormat::Raw, |facts| facts.format),
            block: facts.is_some_and(|facts| facts.block),
            path,
        };
        let overlay = paths::overlay(self.paths, &disk.name);
        self.plan.make.push(Make::Overlay {
            path: overlay.clone(),
            backing: backing.path.clone(),
            backing_format: backing.format,
        });
        let top = file(overlay, ImageFormat::Qcow2);
        Some(self.image(disk, Some(top), Some(backing)))
    }

    fn claim(&mut self, disk: &Disk, claim: &str) -> DiskImage {
        let given = self.disk_paths.get(&disk.name);
        let facts = self.images.get(&disk.name);
        let path = match (given, facts) {
            (Some(path), _) => path.clone(),
            (None, Some(facts)) => facts.path.clone(),
            (None, None) => {
                let path = paths::claim_file(self.paths, &disk.name);
                let device = paths::claim_device(&disk.name);
                self.notice(
                    disk,
                    format!("claim `{claim}` is taken to be the file `{path}`, as neither it nor the device `{device}` is here"),
                );
                path
            }
        };
        self.raw(disk, path)
    }

    fn host_disk(
        &mut self,
        disk: &Disk,
        own: &Utf8Path,
        create: Option<Bytes>,
    ) -> Option<DiskImage> {
        let path = match (self.disk_paths.get(&disk.name), own.file_name()) {
            (Some(path), _) => path.clone(),
            (None, Some(name)) => paths::host_disk(self.paths, &disk.name, name),
            (None, None) => {
                self.violations.push(Violation::new(
                    format!("{}.hostDisk.path", disk.volume_path),
                    format!("`{own}` does not name a file"),
                    "name an image file, as `/data/disk.img`",
                ));
                return None;
            }
        };
        let block = self.images.get(&disk.name).is_some_and(|facts| facts.block);
        if let (Some(size), false) = (create, block) {
            let path = path.clone();
            self.plan.make.push(Make::SparseRaw { path, size });
        }
        Some(self.raw(disk, path))
    }

    /// A claim or host disk. Always raw (see [`super::facts`]), so an image in another format does not work here.
    fn raw(&mut self, disk: &Disk, path: Utf8PathBuf) -> DiskImage {
        if path
            .extension()
            .is_some_and(|extension| extension == "qcow2")
        {
            self.notice(
                disk,
                format!("`{path}` is given to the guest as raw bytes, whatever its name says; `qemu-img convert -O raw` makes a raw image"),
            );
        }
        let top = Layer {
            path,
            format: ImageFormat::Raw,
            block: self.images.get(&disk.name).is_some_and(|facts| facts.block),
        };
        self.image(disk, Some(top), None)
    }

    fn image(&self, disk: &Disk, top: Option<Layer>, backing: Option<Layer>) -> DiskImage {
        let facts = self.images.get(&disk.name);
        // An overlay is never allocated in full, whatever lies below it.
        let preallocated = backing.is_none() && facts.is_some_and(|facts| facts.preallocated);
        DiskImage {
            name: disk.name.clone(),
            top,
            backing,
            direct_io: facts.map(|facts| facts.direct_io),
            preallocated,
        }
    }

    fn notice(&mut self, disk: &Disk, message: String) {
        self.notices
            .push(Notice::new(disk.volume_path.clone(), message));
    }

    /// Two disks that would make the same file: two cloud-init volumes, in KubeVirt's layout.
    fn check_collisions(&mut self) {
        let mut seen = BTreeSet::new();
        for make in &self.plan.make {
            if !seen.insert(make.path()) {
                self.violations.push(Violation::new(
                    "spec.volumes",
                    format!("two volumes would be the file `{}`", make.path()),
                    "keep one of them",
                ));
            }
        }
    }
}

fn file(path: Utf8PathBuf, format: ImageFormat) -> Layer {
    Layer {
        path,
        format,
        block: false,
    }
}

#[cfg(test)]
mod tests;
