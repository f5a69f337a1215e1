//! A small ISO 9660 image with Joliet and Rock Ridge names, as bytes.
//!
//! The crate dates everything with the time of day, and offers no way to say otherwise. Equal seeds should give
//! equal bytes, so the dates are put right afterwards, at the offsets that ECMA-119 gives them.

use std::io::Cursor;
use std::sync::Arc;

use hadris_iso::joliet::JolietLevel;
use hadris_iso::read::PathSeparator;
use hadris_iso::rrip::RripOptions;
use hadris_iso::write::options::{BaseIsoLevel, CreationFeatures, IsoFormatOptions};
use hadris_iso::write::{
    InputEntry, InputEntryKind, InputMetadata, InputTree, IsoCreationError, IsoImageWriter,
};

use super::seed::SeedFile;

const SECTOR: usize = 2048;
/// A disk that the guest may write to must be whole blocks of the file system below it where QEMU opens it with
/// `O_DIRECT`; of those 4096 bytes is the largest.
const BLOCK: usize = 4096;
/// Volume descriptors start here (ECMA-119 6.2.1).
const FIRST_DESCRIPTOR: usize = 16;
/// Creation, modification, expiration and effective date in a volume descriptor (8.4.26 to 8.4.29).
const VOLUME_DATES: std::ops::Range<usize> = 813..881;
/// 1970-01-01 00:00:00.00 UTC, as descriptors write it.
const VOLUME_EPOCH: &[u8; 17] = b"1970010100000000\0";
/// "Not specified" (8.4.26.1).
const VOLUME_NO_DATE: &[u8; 17] = b"0000000000000000\0";
/// The same moment as directory records write it (9.1.5): years since 1900, month, day, and the rest zero.
const RECORD_EPOCH: [u8; 7] = [70, 1, 1, 0, 0, 0, 0];

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// The crate would not write it.
    #[error("cannot lay out the ISO image")]
    Write(#[source] IsoCreationError),
    /// The image is not laid out as ECMA-119 has it, so its dates were not found.
    #[error("the ISO image's directory at sector `{sector}` does not read back")]
    Malformed {
        /// Logical sector of the descriptor or directory.
        sector: usize,
    },
}

/// An image whose root holds `files`, with `label` for its volume name. Equal arguments give equal bytes.
pub fn iso(files: &[SeedFile], label: &str) -> Result<Vec<u8>, IsoError> {
    let files = InputTree {
        path_separator: PathSeparator::ForwardSlash,
        entries: files.iter().map(entry).collect(),
    };
    let out = Cursor::new(Vec::new());
    let written = IsoImageWriter::create(out, files, options(label)).map_err(IsoError::Write)?;
    let mut image = written.into_inner();
    fix_dates(&mut image)?;
    image.resize(image.len().next_multiple_of(BLOCK), 0);
    Ok(image)
}

/// Seeds hold passwords and keys: where the guest mounts one, root alone reads it.
fn entry(file: &SeedFile) -> InputEntry {
    InputEntry {
        name: Arc::new(file.name.to_owned()),
        kind: InputEntryKind::File(file.contents.clone()),
        metadata: InputMetadata {
            mode: Some(0o600),
            uid: Some(0),
            gid: Some(0),
            ..InputMetadata::default()
        },
    }
}

fn options(label: &str) -> IsoFormatOptions {
    IsoFormatOptions {
        volume_name: label.to_owned(),
        system_id: None,
        volume_set_id: None,
        publisher_id: None,
        preparer_id: None,
        application_id: None,
        sector_size: SECTOR,
        features: CreationFeatures {
            filenames: BaseIsoLevel::Level1 {
                supports_lowercase: false,
                supports_rrip: true,
            },
            joliet: Some(JolietLevel::Level3),
            rock_ridge: Some(RripOptions {
                // The records' own dates serve, and those we can put right.
                preserve_timestamps: false,
                ..RripOptions::default()
            }),
            ..CreationFeatures::default()
        },
        path_separator: PathSeparator::ForwardSlash,
        // A label of lower-case letters is outside ECMA-119's d-characters, and what cloud-init looks for.
        strict_charset: false,
    }
}

/// Dates every volume descriptor, and every record of its root directory, 1970.
fn fix_dates(image: &mut [u8]) -> Result<(), IsoError> {
    for sector in FIRST_DESCRIPTOR.. {
        let malformed = IsoError::Malformed { sector };
        let start = sector * SECTOR;
        let Some(descriptor) = image.get_mut(start..start + SECTOR) else {
            return Err(malformed);
        };
        match descriptor[0] {
            1 | 2 => {}
            255 => break,
            _ => continue,
        }
        let dates = &mut descriptor[VOLUME_DATES];
        dates[..17].copy_from_slice(VOLUME_EPOCH);
        dates[17..34].copy_from_slice(VOLUME_EPOCH);
        dates[34..51].copy_from_slice(VOLUME_NO_DATE);
        dates[51..].copy_from_slice(VOLUME_NO_DATE);
        // The root directory's record (8.4.18): extent and length, little-endian half first, then its date.
        let extent = little_endian(&descriptor[158..]);
        let length = little_endian(&descriptor[166..]);
        descriptor[174..181].copy_from_slice(&RECORD_EPOCH);
        fix_directory(image, extent, length)?;
    }
    Ok(())
}

fn fix_directory(image: &mut [u8], extent: usize, length: usize) -> Result<(), IsoError> {
    let directory = extent
        .checked_mul(SECTOR)
        .and_then(|start| image.get_mut(start..start.checked_add(length)?))
        .ok_or(IsoError::Malformed { sector: extent })?;
    // Records do not cross sectors; a length of 0 fills the rest of one (6.8.1.1).
    for sector in directory.chunks_mut(SECTOR) {
        let mut rest = sector;
        while let Some(&length @ 1..) = rest.first() {
            let record = rest.get_mut(..usize::from(length));
            let Some(date) = record.and_then(|record| record.get_mut(18..25)) else {
                return Err(IsoError::Malformed { sector: extent });
            };
            date.copy_from_slice(&RECORD_EPOCH);
            rest = &mut rest[usize::from(length)..];
        }
    }
    Ok(())
}

fn little_endian(field: &[u8]) -> usize {
    let value = field
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(len: usize) -> Vec<SeedFile> {
        crate::storage::seed::files("{}", vec![b'u'; len], Some(b"version: 2\n".to_vec()))
    }

    #[test]
    fn equal_seeds_give_equal_bytes_on_any_day() {
        use sha2::Digest as _;
        let image = iso(&seed(5000), "cidata").expect("small");
        let digest = sha2::Sha256::digest(&image);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "3e999ec62381d25e941e27dfc27efc4530366713e4aa951f3e86bc2405a9d12e"
        );
        assert_eq!(image.len() % BLOCK, 0);
        assert_eq!(&image[16 * SECTOR + 40..][..6], b"cidata");
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(32))]
        #[test]
        fn every_length_is_written(len in 0usize..200_000) {
            let image = iso(&seed(len), "cidata").expect("small");
            proptest::prop_assert!(image.len() >= len && image.len().is_multiple_of(BLOCK));
            let whole = vec![b'u'; len];
            let found = len == 0
                || image.chunks(SECTOR).enumerate().any(|(at, _)| image[at * SECTOR..].starts_with(&whole));
            proptest::prop_assert!(found, "contents of {} bytes lie whole at a sector", len);
        }
    }
}
