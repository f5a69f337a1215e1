//! Carries out a storage plan: looks at every image first, then makes what has to be made, side by side.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::Bytes;
use nix::sys::statvfs::fstatvfs;

use super::dir::{Dir, Made};
use super::error::{PrepareError, StorageError};
use super::lock::{self, Access};
use super::plan::{DiskImage, Layer, Make, StoragePlan};
use super::qcow2::{self, EmptyImage};
use super::{facts, headers};
use super::{iso, seed};
use crate::host::ImageFormat;

/// KubeVirt's `--less-pvc-space-toleration`: a disk may come out this much smaller than asked.
const TOLERATED_PERCENT: u128 = 10;

/// Storage that QEMU can open.
#[derive(Debug)]
pub struct Prepared {
    /// One for each `make` of the plan, in its order.
    pub steps: Vec<Step>,
    made: Vec<Made>,
}

/// What became of one `make`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The file.
    pub path: Utf8PathBuf,
    /// What was done.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What was done about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new, or new in place of an older one.
    Made,
    /// It was there, and stays as it is.
    Kept,
    /// It is new, and smaller than asked, as its file system has no more room (KubeVirt's ToleratedSmallPV).
    MadeSmaller {
        /// What was asked.
        wanted: Bytes,
        /// What it is.
        got: Bytes,
    },
}

impl Prepared {
    /// Removes what was made, and nothing else. For a start that failed: once a guest ran, its disks hold its data.
    pub fn undo(mut self) -> Vec<StorageError> {
        remove(&mut self.made)
    }
}

/// Looks at every image that must be there, then makes the rest. On failure all that was made is removed again.
pub fn prepare(plan: &StoragePlan) -> Result<Prepared, PrepareError> {
    let errors = inspect(plan);
    if !errors.is_empty() {
        return Err(PrepareError {
            errors,
            left_behind: Vec::new(),
        });
    }
    let mut steps = Vec::new();
    let mut made = Vec::new();
    let mut errors = Vec::new();
    for (done, result) in side_by_side(&plan.make) {
        made.extend(done);
        match result {
            Ok(step) => steps.push(step),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        return Ok(Prepared { steps, made });
    }
    Err(PrepareError {
        errors,
        left_behind: remove(&mut made),
    })
}

type Done = (Vec<Made>, Result<Step, StorageError>);

/// Each file is a few writes without a sync (a start that is cut short begins again), but a network file system
/// makes each of those a round trip.
fn side_by_side(makes: &[Make]) -> Vec<Done> {
    std::thread::scope(|scope| {
        let (first, rest) = match makes.split_first() {
            Some((first, rest)) => (Some(first), rest),
            None => (None, makes),
        };
        let threads: Vec<_> = rest
            .iter()
            .map(|next| scope.spawn(|| timed(next)))
            .collect();
        let here = first.map(timed);
        let rest = threads.into_iter().map(|thread| {
            // What a thread cannot return it was panicking with.
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        here.into_iter().chain(rest).collect()
    })
}

fn timed(what: &Make) -> Done {
    let start = Instant::now();
    let mut made = Vec::new();
    let result = make(what, &mut made).map(|outcome| Step {
        path: what.path().to_owned(),
        outcome,
        took: start.elapsed(),
    });
    (made, result)
}

fn make(what: &Make, made: &mut Vec<Made>) -> Result<Outcome, StorageError> {
    match what {
        Make::Overlay {
            path,
            backing,
            backing_format,
        } => overlay(path, backing, *backing_format, made),
        Make::EmptyQcow2 { path, size } => empty_qcow2(path, *size, made),
        Make::SparseRaw { path, size } => sparse_raw(path, *size, made),
        Make::NoCloudIso {
            path,
            meta_data,
            user_data,
            network_data,
        } => {
            let decode = |field, text: &str| {
                seed::decode(text).map_err(|source| StorageError::Base64 {
                    path: path.clone(),
                    field,
                    source,
                })
            };
            let user = decode("user data", user_data)?;
            let network = network_data.as_deref();
            let network = network
                .map(|text| decode("network data", text))
                .transpose()?;
            let files = seed::files(meta_data, user, network);
            let image = iso::iso(&files, seed::LABEL).map_err(|source| StorageError::Iso {
                path: path.clone(),
                source,
            })?;
            let (dir, name) = split(path, made)?;
            made.push(dir.replace(name, |file| file.write_all_at(&image, 0))?);
            Ok(Outcome::Made)
        }
    }
}

fn overlay(
    path: &Utf8Path,
    backing: &Utf8Path,
    format: ImageFormat,
    made: &mut Vec<Made>,
) -> Result<Outcome, StorageError> {
    let size = virtual_size(backing, format)?;
    // The image below decides whether it can be.
    let image = layout(backing, size, Some((backing, format)))?;
    let (dir, name) = split(path, made)?;
    made.push(dir.replace(name, |file| write_sparse(file, &image))?);
    Ok(Outcome::Made)
}

/// What a guest sees of an image. Its header is checked again, as time has passed since the facts were read.
fn virtual_size(image: &Utf8Path, format: ImageFormat) -> Result<u64, StorageError> {
    let error = |source| StorageError::io("read", image, source);
    let file = facts::open(image, 0).map_err(error)?;
    let length = facts::length(&file).map_err(error)?;
    let header = headers::of(file).map_err(|source| error(source.into()))?;
    match (format, header) {
        (ImageFormat::Qcow2, Some(header)) if header.names_other_file => {
            let file = image.to_owned();
            Err(StorageError::NamesOtherFile { file })
        }
        (ImageFormat::Qcow2, Some(header)) => Ok(header.virtual_size),
        (ImageFormat::Qcow2, None) => Err(StorageError::FormatChanged {
            file: image.to_owned(),
            format: "qcow2",
        }),
        (ImageFormat::Raw, Some(_)) => Err(StorageError::FormatChanged {
            file: image.to_owned(),
            format: "raw",
        }),
        (ImageFormat::Raw, None) => Ok(length),
    }
}

fn empty_qcow2(
    path: &Utf8Path,
    size: Bytes,
    made: &mut Vec<Made>,
) -> Result<Outcome, StorageError> {
    let (dir, name) = split(path, made)?;
    if dir.has_file(name)? {
        return Ok(Outcome::Kept);
    }
    let image = layout(path, size.0, None)?;
    made.push(dir.replace(name, |file| write_sparse(file, &image))?);
    Ok(Outcome::Made)
}

fn layout(
    path: &Utf8Path,
    size: u64,
    backing: Option<(&Utf8Path, ImageFormat)>,
) -> Result<EmptyImage, StorageError> {
    qcow2::empty(size, backing).map_err(|source| StorageError::Qcow2 {
        path: path.to_owned(),
        source,
    })
}

fn write_sparse(file: &File, image: &EmptyImage) -> std::io::Result<()> {
    file.set_len(image.length)?;
    for (offset, bytes) in &image.pieces {
        file.write_all_at(bytes, *offset)?;
    }
    Ok(())
}

/// `hostDisk` with `DiskOrCreate`. As in KubeVirt a disk that could never be filled is not made, but one that is
/// short of room by a little comes out smaller.
fn sparse_raw(
    path: &Utf8Path,
    wanted: Bytes,
    made: &mut Vec<Made>,
) -> Result<Outcome, StorageError> {
    let resolved = resolve(path)?;
    let (dir, name) = split(&resolved, made)?;
    if dir.has_file(name)? {
        return Ok(Outcome::Kept);
    }
    let stat = fstatvfs(dir.as_fd())
        .map_err(|errno| StorageError::io("ask for the free space of", path, errno))?;
    let free = Bytes(stat.blocks_available().saturating_mul(stat.fragment_size()));
    let got = tolerated(wanted, free).ok_or_else(|| StorageError::NoRoom {
        path: path.to_owned(),
        wanted,
        free,
    })?;
    made.push(dir.create(name, |file| file.set_len(got.0))?);
    if got == wanted {
        Ok(Outcome::Made)
    } else {
        Ok(Outcome::MadeSmaller { wanted, got })
    }
}

/// The path without links in the directories that exist. A host disk's are the user's (or the node's), who may have
/// linked them as they like; nothing is replaced there, and the file itself is never a link.
fn resolve(path: &Utf8Path) -> Result<Utf8PathBuf, StorageError> {
    let mut ancestors = path.ancestors().skip(1);
    let Some(existing) = ancestors.find(|at| at.is_dir()) else {
        return Ok(path.to_owned());
    };
    let rest = path.strip_prefix(existing).unwrap_or(path);
    let real = existing.canonicalize_utf8();
    let real = real.map_err(|error| StorageError::io("resolve", existing, error))?;
    Ok(real.join(rest))
}

/// The size a disk gets where `free` is left; none when that is too little.
fn tolerated(wanted: Bytes, free: Bytes) -> Option<Bytes> {
    if wanted <= free {
        return Some(wanted);
    }
    // QEMU and guests count in whole sectors; O_DIRECT wants 4 KiB.
    let got = Bytes(free.0 - free.0 % 4096);
    let least = u128::from(wanted.0) * (100 - TOLERATED_PERCENT) / 100;
    (u128::from(got.0) >= least && got.0 > 0).then_some(got)
}

/// The directory, made where missing, and the file's name in it.
fn split<'a>(path: &'a Utf8Path, made: &mut Vec<Made>) -> Result<(Dir, &'a str), StorageError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if path.is_absolute() => Ok((Dir::open(parent, made)?, name)),
        _ => {
            let path = path.to_owned();
            Err(StorageError::NotAFile { path })
        }
    }
}

/// Files first, then directories from the deepest up.
fn remove(made: &mut Vec<Made>) -> Vec<StorageError> {
    made.sort_by_key(|made| (made.is_directory(), std::cmp::Reverse(made.depth())));
    let removed = made.drain(..).map(|made| made.remove());
    removed.filter_map(Result::err).collect()
}

/// Everything that is wrong with images that must be there before anything is made.
fn inspect(plan: &StoragePlan) -> Vec<StorageError> {
    let made: BTreeSet<&Utf8Path> = plan.make.iter().map(Make::path).collect();
    let mut errors = Vec::new();
    for disk in &plan.disks {
        for layer in disk.top.iter().chain(&disk.backing) {
            if let Err(error) = inspect_layer(disk, layer, made.contains(&*layer.path)) {
                errors.push(error);
            }
        }
    }
    errors
}

fn inspect_layer(disk: &DiskImage, layer: &Layer, made: bool) -> Result<(), StorageError> {
    let name = || disk.name.clone();
    let path = || layer.path.clone();
    let unreadable = |source| StorageError::Unreadable {
        disk: name(),
        file: path(),
        source,
    };
    let there = match facts::find(&layer.path) {
        Ok(there) => there,
        // What we make, and what lies in its place, is looked at when it is made.
        Err(_) if made => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing(disk, layer));
        }
        Err(error) => return Err(unreadable(error)),
    };
    let found = facts::kind(&there).map_err(unreadable)?;
    let wanted = if layer.block {
        "block device"
    } else {
        "regular file"
    };
    if found != wanted && !made {
        return Err(StorageError::WrongKind {
            disk: name(),
            file: path(),
            found,
            wanted,
        });
    }
    let file = match facts::open_found(&there, 0) {
        Ok(file) => file,
        Err(_) if made => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    // A plan does not say whether the guest writes to a disk, so ask only for what every guest needs.
    if lock::in_use(&file, Access::Read).map_err(unreadable)? {
        return Err(StorageError::InUse {
            disk: name(),
            file: path(),
        });
    }
    Ok(())
}

fn missing(disk: &DiskImage, layer: &Layer) -> StorageError {
    let name = &disk.name;
    let hint = if disk.backing.as_ref() == Some(layer) {
        format!(
            "in a pod virt-handler mounts it there, elsewhere `--disk {name}=PATH` names an image"
        )
    } else {
        format!(
            "check that the volume is mounted there, or name an image with `--disk {name}=PATH`"
        )
    };
    StorageError::Missing {
        disk: name.clone(),
        file: layer.path.clone(),
        hint,
    }
}

#[cfg(test)]
mod tests;
