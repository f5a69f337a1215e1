//! Block nodes: the chain of files behind a disk, each opened as planned and never by what an image's header says.

use camino::Utf8Path;

use crate::host::ImageFormat;
use crate::machine::device::Props;
use crate::refusal::{Notice, Violation};
use crate::spec::disk::{Cache, Disk, DiskKind, Io};
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
        push_layer(&mut nodes, &format!("disk{index}-backing"), layer, None, below)
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
            notices.push(Notice::new(
                disk.path.clone(),
                "whether `O_DIRECT` opens the image could not be tried: cache `writethrough`, which always works",
            ));
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
