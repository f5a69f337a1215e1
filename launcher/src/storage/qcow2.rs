//! The little of qcow2 that we read and write ourselves (QEMU's `docs/interop/qcow2.rst`).
//!
//! `qemu-img create` takes 17 ms for each image on an idle machine, and opens a container disk's image, which
//! may be hostile, outside any sandbox. An empty image is a header, one refcount table, one refcount block and
//! a hole: written in microseconds. Tests have `qemu-img` check, measure and compare every image made here.

use camino::Utf8Path;

use crate::host::ImageFormat;

/// `QFI\xfb`.
const MAGIC: [u8; 4] = *b"QFI\xfb";
/// 64 KiB, QEMU's default.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one L1 entry covers: an L2 table of one cluster, 8 bytes an entry.
const PER_L1_ENTRY: u64 = CLUSTER * (CLUSTER / 8);
/// QEMU refuses an L1 table above 32 MiB (`QCOW_MAX_L1_SIZE`).
const MAX_L1_ENTRIES: u64 = (32 << 20) / 8;
/// The largest disk that an image holds, in bytes: 2 PiB.
pub const LARGEST: u64 = MAX_L1_ENTRIES * PER_L1_ENTRY;
/// QEMU refuses a longer name.
const MAX_BACKING_NAME: usize = 1023;
/// Version 3 without the compression type.
const HEADER_LENGTH: u32 = 104;
/// Header extension: format of the backing file.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// `incompatible_features`: guest data lies in another file.
const EXTERNAL_DATA_FILE: u64 = 1 << 2;
/// `refcount_order` 4: 16 bits a refcount.
const REFCOUNT_ORDER: u32 = 4;

/// How many bytes [`Header::parse`] needs.
pub(super) const HEADER_READ: usize = 104;

/// What an image's header says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// What the guest sees, in bytes.
    pub(super) virtual_size: u64,
    /// It has a backing file or an external data file: QEMU would open a path that the image chose.
    pub(super) names_other_file: bool,
}

impl Header {
    /// Reads the first bytes of a file; none when it is no qcow2 that QEMU would take for one.
    pub(super) fn parse(start: &[u8]) -> Option<Self> {
        let version = u32_at(start, 4)?;
        if start.get(..4)? != MAGIC || version < 2 {
            return None;
        }
        let features = if version >= 3 { u64_at(start, 72)? } else { 0 };
        Some(Self {
            virtual_size: u64_at(start, 24)?,
            names_other_file: u64_at(start, 8)? != 0 || features & EXTERNAL_DATA_FILE != 0,
        })
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_be_bytes(*field))
}

/// Why an image cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Error {
    /// Neither QEMU nor a guest can use it.
    #[error("a disk of 0 bytes is of no use")]
    Empty,
    /// The L1 table would be longer than QEMU reads.
    #[error("`{size}` bytes are more than the 2 PiB that qcow2 holds")]
    TooLarge {
        /// In bytes.
        size: u64,
    },
    /// QEMU reads at most 1023 bytes.
    #[error("the backing file's path has `{length}` bytes, and qcow2 holds 1023")]
    NameTooLong {
        /// In bytes.
        length: usize,
    },
}

/// An image in which nothing is written yet: pieces in a file that is otherwise a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EmptyImage {
    /// Offset in bytes, and what stands there.
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
    /// The file's length in bytes.
    pub(super) length: u64,
}

/// An empty image of `size` bytes (rounded up to a sector), over `backing` where given.
pub(super) fn empty(
    size: u64,
    backing: Option<(&Utf8Path, ImageFormat)>,
) -> Result<EmptyImage, Qcow2Error> {
    if size == 0 {
        return Err(Qcow2Error::Empty);
    }
    let size = size
        .checked_next_multiple_of(512)
        .ok_or(Qcow2Error::TooLarge { size })?;
    let l1_entries = size.div_ceil(PER_L1_ENTRY);
    if l1_entries > MAX_L1_ENTRIES {
        return Err(Qcow2Error::TooLarge { size });
    }
    // Header, refcount table and refcount block have a cluster each; the L1 table follows. At most 515 clusters,
    // so one refcount block (32768 entries) always counts them all.
    let clusters = 3 + (l1_entries * 8).div_ceil(CLUSTER);
    let refcount_block = (0..clusters).flat_map(|_| 1u16.to_be_bytes()).collect();
    Ok(EmptyImage {
        pieces: vec![
            (0, header(size, l1_entries, backing)?),
            (CLUSTER, (2 * CLUSTER).to_be_bytes().to_vec()),
            (2 * CLUSTER, refcount_block),
        ],
        length: clusters * CLUSTER,
    })
}

fn header(
    size: u64,
    l1_entries: u64,
    backing: Option<(&Utf8Path, ImageFormat)>,
) -> Result<Vec<u8>, Qcow2Error> {
    let extensions = extensions(backing.map(|(_, format)| format));
    let name = backing.map_or("", |(path, _)| path.as_str());
    let name_length = u32::try_from(name.len())
        .ok()
        .filter(|_| name.len() <= MAX_BACKING_NAME)
        .ok_or(Qcow2Error::NameTooLong { length: name.len() })?;
    let name_offset = match backing {
        Some(_) => u64::from(HEADER_LENGTH) + extensions.len() as u64,
        None => 0,
    };
    let l1_size = u32::try_from(l1_entries).map_err(|_| Qcow2Error::TooLarge { size })?;

    let mut out = Vec::new();
    let u32_field = |out: &mut Vec<u8>, value: u32| out.extend(value.to_be_bytes());
    let u64_field = |out: &mut Vec<u8>, value: u64| out.extend(value.to_be_bytes());
    out.extend(MAGIC);
    u32_field(&mut out, 3);
    u64_field(&mut out, name_offset);
    u32_field(&mut out, name_length);
    u32_field(&mut out, CLUSTER_BITS);
    u64_field(&mut out, size);
    u32_field(&mut out, 0); // no encryption
    u32_field(&mut out, l1_size);
    u64_field(&mut out, 3 * CLUSTER); // L1 table
    u64_field(&mut out, CLUSTER); // refcount table
    u32_field(&mut out, 1); // its length in clusters
    u32_field(&mut out, 0); // no snapshots
    u64_field(&mut out, 0);
    u64_field(&mut out, 0); // incompatible features
    u64_field(&mut out, 0); // compatible features
    u64_field(&mut out, 0); // autoclear features
    u32_field(&mut out, REFCOUNT_ORDER);
    u32_field(&mut out, HEADER_LENGTH);
    out.extend(extensions);
    out.extend(name.as_bytes());
    Ok(out)
}

/// The backing file's format, without which QEMU would have to guess it from what a guest wrote.
fn extensions(backing: Option<ImageFormat>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(format) = backing {
        let (name, length): (&[u8; 8], u32) = match format {
            ImageFormat::Raw => (b"raw\0\0\0\0\0", 3),
            ImageFormat::Qcow2 => (b"qcow2\0\0\0", 5),
        };
        out.extend(BACKING_FORMAT.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(name);
    }
    out.extend([0; 8]); // end of extensions
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let backing = (Utf8Path::new("/images/disk.img"), ImageFormat::Raw);
        let image = empty(1000, Some(backing)).expect("small");
        let header = Header::parse(&image.pieces[0].1).expect("qcow2");
        assert_eq!(header.virtual_size, 1024);
        assert!(header.names_other_file);
        let image = empty(1 << 30, None).expect("small");
        let header = Header::parse(&image.pieces[0].1).expect("qcow2");
        assert!(!header.names_other_file);
        assert_eq!(image.length, 4 * CLUSTER);
    }

    #[test]
    fn what_qcow2_cannot_hold_is_refused() {
        assert!(empty(LARGEST, None).is_ok());
        let size = LARGEST + 1;
        let rounded = LARGEST + 512;
        assert_eq!(
            empty(size, None),
            Err(Qcow2Error::TooLarge { size: rounded })
        );
        let size = u64::MAX;
        assert_eq!(empty(size, None), Err(Qcow2Error::TooLarge { size }));
        assert_eq!(empty(0, None), Err(Qcow2Error::Empty));
        let name = "x".repeat(1024);
        let backing = Some((Utf8Path::new(&name), ImageFormat::Raw));
        let length = 1024;
        assert_eq!(empty(512, backing), Err(Qcow2Error::NameTooLong { length }));
    }

    #[test]
    fn an_external_data_file_is_another_file() {
        let mut start = empty(512, None).expect("small").pieces.swap_remove(0).1;
        start[79] = 4;
        assert!(Header::parse(&start).expect("qcow2").names_other_file);
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(start: Vec<u8>) {
            let _ = Header::parse(&start);
            let _ = Header::parse(&[&MAGIC[..], &start].concat());
        }
    }
}
