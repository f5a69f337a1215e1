//! Block nodes: the chain of files behind a disk, each opened as planned and never by what an image's header says.

use camino::Utf8Path;

use crate::host::ImageFormat;
use crate::machine::device::Props;
use crate::refusal::{Notice, Violation};
use crate::spec::disk::{Cache, Disk, DiskKind, Io, Source};
use crate::storage::plan::{DiskImage, Layer};

/// What a disk's device plugs its drive into.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Backend {
    /// Nodes, each after those that it refers to.
    pub nodes: Vec<Props>,
    /// The topmost node; none for an empty drive.
    pub node: Option<String>,
    /// How writes are cached.
    pub cache: CacheMode,
}

/// How writes are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// `O_DIRECT`; the guest flushes.
    None,
    /// Page cache; every write is flushed.
    #[default]
    WriteThrough,
    /// Page cache; the guest flushes.
    WriteBack,
}

/// The chain of the disk with this position in the VMI.
pub fn backend(
    index: usize,
    disk: &Disk,
    image: &DiskImage,
    notices: &mut Vec<Notice>,
) -> Result<Backend, Violation> {
    let Some(top) = &image.top else {
        return Ok(Backend::default());
    };
    if matches!(disk.kind, DiskKind::CdRom { tray_open: true }) {
        notices.push(Notice::new(
            format!("{}.cdrom.tray", disk.path),
            "the tray starts open: the medium is not in the drive",
        ));
        return Ok(Backend::default());
    }
    let cache = cache_mode(disk, image, notices)?;
    let aio = aio(disk, image, top, cache)?;
    let open = Opening {
        cache,
        aio,
        discard: disk.kind == DiskKind::Disk,
        read_only: disk.read_only,
    };
    let mut nodes = Vec::new();
    let backing = image.backing.as_ref().map(|layer| {
        let below = Opening {
            discard: false,
            read_only: true,
            ..open
        };
        push_layer(
            &mut nodes,
            &format!("disk{index}-backing"),
            layer,
            None,
            below,
        )
    });
    let node = push_layer(&mut nodes, &format!("disk{index}"), top, backing, open);
    Ok(Backend {
        nodes,
        node: Some(node),
        cache,
    })
}

/// How every layer of a chain is opened.
#[derive(Debug, Clone, Copy)]
struct Opening {
    cache: CacheMode,
    aio: Io,
    discard: bool,
    read_only: bool,
}

/// Adds a file and the format on top of it; the format node's name.
fn push_layer(
    nodes: &mut Vec<Props>,
    name: &str,
    layer: &Layer,
    backing: Option<String>,
    open: Opening,
) -> String {
    let storage = format!("{name}-storage");
    let format = format!("{name}-format");
    nodes.push(protocol(&storage, &layer.path, layer.block, open));
    let driver = match layer.format {
        ImageFormat::Raw => "raw",
        ImageFormat::Qcow2 => "qcow2",
    };
    let mut node = common(driver, &format, open).with("file", storage.as_str());
    if layer.format == ImageFormat::Qcow2 {
        // Said even when there is none: else QEMU opens whatever file the header names.
        node = node.with("backing", backing);
    }
    nodes.push(node);
    format
}

fn protocol(name: &str, path: &Utf8Path, block: bool, open: Opening) -> Props {
    let driver = if block { "host_device" } else { "file" };
    common(driver, name, open)
        .with("filename", path.as_str())
        .with(
            "aio",
            match open.aio {
                Io::Native => "native",
                Io::Threads => "threads",
            },
        )
}

fn common(driver: &str, name: &str, open: Opening) -> Props {
    let mut node = Props::new()
        .with("driver", driver)
        .with("node-name", name)
        .with("read-only", open.read_only)
        .with(
            "cache",
            serde_json::json!({"direct": open.cache == CacheMode::None, "no-flush": false}),
        );
    if open.discard {
        node = node.with("discard", "unmap");
    }
    node
}

/// `cache` as asked; else as KubeVirt chooses (facts 4.7).
fn cache_mode(
    disk: &Disk,
    image: &DiskImage,
    notices: &mut Vec<Notice>,
) -> Result<CacheMode, Violation> {
    match (disk.cache, image.direct_io) {
        (Some(Cache::None), Some(false)) => Err(Violation::new(
            format!("{}.cache", disk.path),
            "cache `none` needs `O_DIRECT`, with which the image cannot be opened",
            "leave `cache` out, or use `writethrough`",
        )),
        (Some(Cache::None), _) | (None, Some(true)) => Ok(CacheMode::None),
        (Some(Cache::WriteThrough), _) | (None, Some(false)) => Ok(CacheMode::WriteThrough),
        (Some(Cache::WriteBack), _) => Ok(CacheMode::WriteBack),
        (None, None) => {
            // Nobody minds how a seed is read.
            if !matches!(disk.source, Source::CloudInitNoCloud(_)) {
                notices.push(Notice::new(
                    disk.path.clone(),
                    "whether `O_DIRECT` opens the image could not be tried: cache `writethrough`, which always works",
                ));
            }
            Ok(CacheMode::WriteThrough)
        }
    }
}

/// `io` as asked; else native where it cannot block: `O_DIRECT` to blocks that are allocated.
fn aio(disk: &Disk, image: &DiskImage, top: &Layer, cache: CacheMode) -> Result<Io, Violation> {
    match disk.io {
        Some(Io::Native) if cache != CacheMode::None => Err(Violation::new(
            format!("{}.io", disk.path),
            "io `native` needs cache `none`",
            "set `cache: none`, or leave `io` out",
        )),
        Some(io) => Ok(io),
        None if cache == CacheMode::None && (top.block || image.preallocated) => Ok(Io::Native),
        None => Ok(Io::Threads),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures;
    use crate::spec::disk::Bus;

    fn image(direct_io: Option<bool>, preallocated: bool) -> DiskImage {
        DiskImage {
            name: "d".to_owned(),
            top: Some(fixtures::layer("/d.qcow2", ImageFormat::Qcow2, false)),
            backing: None,
            direct_io,
            preallocated,
        }
    }

    fn build(disk: &Disk, image: &DiskImage) -> Result<Backend, Violation> {
        backend(0, disk, image, &mut Vec::new())
    }

    fn aio_of(backend: &Backend) -> &str {
        backend.nodes[0]
            .get("aio")
            .and_then(|aio| aio.as_str())
            .unwrap()
    }

    #[test]
    fn the_backing_file_of_a_header_is_never_followed() {
        let disk = fixtures::disk(0, "d", Bus::Virtio);
        let alone = build(&disk, &image(None, false)).unwrap();
        let top = alone.nodes.last().unwrap();
        assert_eq!(top.get("backing"), Some(&serde_json::Value::Null));
    }

    #[test]
    fn the_cache_is_none_only_where_direct_io_is_known_to_work() {
        let disk = fixtures::disk(0, "d", Bus::Virtio);
        for (direct_io, cache) in [
            (Some(true), CacheMode::None),
            (Some(false), CacheMode::WriteThrough),
            (None, CacheMode::WriteThrough),
        ] {
            assert_eq!(build(&disk, &image(direct_io, false)).unwrap().cache, cache);
        }
    }

    #[test]
    fn io_is_native_only_with_direct_io_to_allocated_blocks() {
        let disk = fixtures::disk(0, "d", Bus::Virtio);
        for (direct_io, preallocated, aio) in [
            (true, true, "native"),
            (true, false, "threads"),
            (false, true, "threads"),
        ] {
            let backend = build(&disk, &image(Some(direct_io), preallocated)).unwrap();
            assert_eq!(aio_of(&backend), aio);
        }
        let mut threads = disk;
        threads.io = Some(Io::Threads);
        let backend = build(&threads, &image(Some(true), true)).unwrap();
        assert_eq!(aio_of(&backend), "threads");
    }

    #[test]
    fn an_open_tray_holds_nothing() {
        let mut cdrom = fixtures::cdrom(0, "d", Bus::Sata);
        cdrom.kind = DiskKind::CdRom { tray_open: true };
        let mut notices = Vec::new();
        let backend = backend(0, &cdrom, &image(None, false), &mut notices).unwrap();
        assert_eq!(backend, Backend::default());
        assert_eq!(notices.len(), 1);
    }

    #[test]
    fn what_is_below_an_overlay_is_read_only() {
        let disk = fixtures::disk(0, "d", Bus::Virtio);
        let mut chain = image(Some(true), false);
        chain.backing = Some(fixtures::layer("/base", ImageFormat::Raw, false));
        let backend = build(&disk, &chain).unwrap();
        let read_only: Vec<_> = backend
            .nodes
            .iter()
            .map(|node| {
                node.get("read-only")
                    .and_then(|value| value.as_bool())
                    .unwrap()
            })
            .collect();
        assert_eq!(read_only, [true, true, false, false]);
    }
}
