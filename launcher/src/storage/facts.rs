//! What is known of each image before QEMU opens it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::Bytes;
use nix::libc;
use numa::HostRoot;

use super::headers::{Found, Reading};
use super::paths;
use crate::host::{ImageFacts, ImageFormat};
use crate::pod::PodPaths;
use crate::spec::Spec;
use crate::spec::disk::{Disk, Source};

/// Looks at the image of every disk that has one, by disk name. What cannot be opened is not in the map.
///
/// A disk whose image a start makes (empty disk, cloud-init, host disk with `DiskOrCreate`) has an entry where its
/// directory can be asked about `O_DIRECT`. Below a `root` that is not the machine nothing is said about `O_DIRECT` and allocation: those
/// would be the fixture's, not the host's.
pub fn read(
    spec: &Spec,
    root: &HostRoot,
    disk_paths: &BTreeMap<String, Utf8PathBuf>,
    paths: &PodPaths,
) -> BTreeMap<String, ImageFacts> {
    begin(spec, root, disk_paths, paths).finish()
}

/// As [`read`], with what a child has to read on its way: there is time for other things.
pub fn begin(
    spec: &Spec,
    root: &HostRoot,
    disk_paths: &BTreeMap<String, Utf8PathBuf>,
    paths: &PodPaths,
) -> Looking {
    let mut reader = Reader {
        root,
        disk_paths,
        paths,
        spec,
        built: Vec::new(),
    };
    let mut facts = BTreeMap::new();
    for disk in &spec.disks {
        if let Some(seen) = reader.disk(disk) {
            facts.insert(disk.name.clone(), seen);
        }
    }
    let (names, files) = reader.built.into_iter().unzip();
    Looking {
        facts,
        names,
        headers: Reading::of(files),
    }
}

/// Images that are being looked at.
#[derive(Debug)]
pub struct Looking {
    facts: BTreeMap<String, ImageFacts>,
    /// Whose headers are being read.
    names: Vec<String>,
    headers: Reading,
}

impl Looking {
    /// What is known of each image.
    pub fn finish(mut self) -> BTreeMap<String, ImageFacts> {
        for (name, found) in self.names.iter().zip(self.headers.finish()) {
            if let Some(facts) = self.facts.get_mut(name) {
                take(facts, found);
            }
        }
        self.facts
    }
}

/// Adds what an image says of itself.
fn take(facts: &mut ImageFacts, found: Found) {
    match found {
        Ok(Some(header)) => {
            facts.format = ImageFormat::Qcow2;
            facts.has_backing = header.names_other_file;
            facts.preallocated = false;
        }
        Ok(None) => {}
        Err(error) => facts.unread = Some(error.to_string()),
    }
}

struct Reader<'a> {
    root: &'a HostRoot,
    disk_paths: &'a BTreeMap<String, Utf8PathBuf>,
    paths: &'a PodPaths,
    spec: &'a Spec,
    /// Images whose first bytes say what they are, by disk.
    built: Vec<(String, File)>,
}

impl Reader<'_> {
    fn disk(&mut self, disk: &Disk) -> Option<ImageFacts> {
        let given = self.disk_paths.get(&disk.name);
        let name = &disk.name;
        match &disk.source {
            Source::ContainerDisk { .. } => {
                let usual = || paths::container_disk(self.paths, disk.volume_index);
                let path = given.cloned().unwrap_or_else(usual);
                let mut facts = self.container_disk(name, &path)?;
                // The guest writes to the overlay, so `O_DIRECT` has to open both.
                let overlay = self.direct_io_of_new(&paths::overlay(self.paths, name));
                facts.direct_io &= overlay.unwrap_or(true);
                Some(facts)
            }
            Source::Claim { .. } => match given {
                Some(path) => self.raw(path),
                // The file first: a pod has one of the two, and on a machine `/dev` holds devices of its own.
                None => self
                    .raw(&paths::claim_file(self.paths, name))
                    .or_else(|| self.raw(&paths::claim_device(name)).filter(|it| it.block)),
            },
            Source::HostDisk { path, create } => {
                let in_pod = || Some(paths::host_disk(self.paths, name, path.file_name()?));
                let path = given.cloned().or_else(in_pod)?;
                let made = || self.to_be_made(path.clone(), ImageFormat::Raw);
                self.raw(&path).or_else(|| create.and_then(|_| made()))
            }
            Source::EmptyDisk { .. } => {
                self.to_be_made(paths::empty_disk(self.paths, name), ImageFormat::Qcow2)
            }
            Source::CloudInitNoCloud(_) => {
                let path = paths::no_cloud_iso(self.paths, &self.spec.identity);
                self.to_be_made(path, ImageFormat::Raw)
            }
            Source::Empty => None,
        }
    }

    /// An image that somebody built and no guest ever wrote to: its first bytes say what it is.
    ///
    /// Nothing here but these bytes is looked at, and never by `qemu-img`: the image may be hostile.
    fn container_disk(&mut self, name: &str, path: &Utf8Path) -> Option<ImageFacts> {
        let facts = self.raw(path)?;
        let file = open(&self.root.at(path), 0).ok()?;
        self.built.push((name.to_owned(), file));
        Some(facts)
    }

    /// A claim or host disk: raw, whatever its bytes say. The guest writes those bytes: were the format probed, a
    /// guest could write a qcow2 header that names any file of the pod as its backing file, and read it after
    /// the next start.
    fn raw(&self, path: &Utf8Path) -> Option<ImageFacts> {
        let at = self.root.at(path);
        let file = open(&at, 0).ok()?;
        let metadata = file.metadata().ok()?;
        let block = metadata.file_type().is_block_device();
        let machine = self.root.is_machine();
        let size = length(&file).ok()?;
        // `st_blocks` counts 512 bytes each (stat(2)).
        let allocated = metadata.blocks().saturating_mul(512);
        Some(ImageFacts {
            path: path.to_owned(),
            block,
            format: ImageFormat::Raw,
            has_backing: false,
            unread: None,
            size: Bytes(size),
            direct_io: machine && open(&at, libc::O_DIRECT).is_ok(),
            preallocated: machine && (block || (size > 0 && allocated >= size)),
        })
    }

    fn to_be_made(&self, path: Utf8PathBuf, format: ImageFormat) -> Option<ImageFacts> {
        let direct_io = self.direct_io_of_new(&path)?;
        let size = open(&self.root.at(&path), 0).and_then(|file| length(&file));
        Some(ImageFacts {
            block: false,
            format,
            has_backing: false,
            unread: None,
            size: Bytes(size.unwrap_or(0)),
            direct_io,
            preallocated: false,
            path,
        })
    }

    /// Whether `O_DIRECT` will open a file that a start makes; none when that cannot be told.
    ///
    /// Only opening a file tells, so one without a name is opened: it leaves no trace (`O_TMPFILE`, open(2)).
    fn direct_io_of_new(&self, path: &Utf8Path) -> Option<bool> {
        if !self.root.is_machine() {
            return None;
        }
        let directory = path.ancestors().skip(1).find(|at| at.is_dir())?;
        let nameless = |flags| {
            File::options()
                .read(true)
                .write(true)
                .mode(0o600)
                .custom_flags(libc::O_TMPFILE | flags)
                .open(directory)
        };
        match nameless(libc::O_DIRECT) {
            Ok(_) => Some(true),
            // Refused with it, accepted without it: it is `O_DIRECT` that this file system lacks.
            Err(_) => nameless(0).is_ok().then_some(false),
        }
    }
}

/// Finds a file without opening it (`O_PATH`, open(2)): to open a device may be to start it, as a watchdog is.
pub(super) fn find(path: &Utf8Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
}

/// Opens for reading what was found, and nothing that has come in its place since. What no image is in is refused
/// unopened.
pub(super) fn open_found(found: &File, flags: libc::c_int) -> io::Result<File> {
    let kind = found.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | flags)
        .open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

/// Opens an image, a regular file or block device, for reading.
pub(super) fn open(path: &Utf8Path, flags: libc::c_int) -> io::Result<File> {
    open_found(&find(path)?, flags)
}

/// Length of a file or block device, in bytes. The file stands at its beginning then.
pub(super) fn length(mut file: &File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    Ok(length)
}

/// What a file is, in words.
pub(super) fn kind(file: &File) -> io::Result<&'static str> {
    let kind = file.metadata()?.file_type();
    Ok(if kind.is_file() {
        "regular file"
    } else if kind.is_block_device() {
        "block device"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "pipe"
    } else {
        "character device"
    })
}

#[cfg(test)]
mod tests;
