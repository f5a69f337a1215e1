//! Volumes: what backs a disk.

use std::collections::HashMap;

use hugepages::Bytes;

use super::cloud_init::no_cloud;
use super::resources::size;
use super::text::{dns_label, file_path};
use super::{choose, given};
use crate::spec::disk::Source;
use crate::storage::LARGEST_QCOW2;
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{self, Volume};
use crate::vmi::path::Path;

/// Below this it is a unit forgotten.
const LEAST_CAPACITY: Bytes = Bytes(1 << 20);

/// A volume that disks can name.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) index: usize,
    pub(super) path: Path,
    /// None: refused.
    pub(super) source: Option<Source>,
    pub(super) read_only: bool,
}

/// Volumes by name; each name is taken once.
pub(super) fn volumes(written: &[Volume], out: &mut Findings) -> HashMap<String, Backing> {
    let list = Path::of("spec.volumes");
    let mut volumes = HashMap::new();
    for (index, volume) in written.iter().enumerate() {
        let path = list.index(index);
        let backing = Backing {
            index,
            source: source(volume, &path, out),
            read_only: is_read_only(volume),
            path: path.clone(),
        };
        match given(&volume.name) {
            None => out.refuse(
                &path.key("name"),
                "it is missing",
                "give the volume the name of its disk",
            ),
            Some(name) => {
                dns_label(name, &path.key("name"), out);
                if volumes.contains_key(name) {
                    out.refuse(
                        &path.key("name"),
                        format!("`{name}` is there twice"),
                        "give each volume its own name",
                    );
                } else {
                    volumes.insert(name.to_owned(), backing);
                }
            }
        }
    }
    volumes
}

fn is_read_only(volume: &Volume) -> bool {
    let claim = volume.persistent_volume_claim.as_ref();
    claim.and_then(|claim| claim.read_only).unwrap_or(false)
}

/// The one source that a volume has.
fn source(volume: &Volume, at: &Path, out: &mut Findings) -> Option<Source> {
    let sources = [
        ("containerDisk", volume.container_disk.is_some()),
        (
            "persistentVolumeClaim",
            volume.persistent_volume_claim.is_some(),
        ),
        ("dataVolume", volume.data_volume.is_some()),
        ("hostDisk", volume.host_disk.is_some()),
        ("emptyDisk", volume.empty_disk.is_some()),
        ("cloudInitNoCloud", volume.cloud_init_no_cloud.is_some()),
    ];
    let names: Vec<_> = sources
        .iter()
        .filter(|(_, is_there)| *is_there)
        .map(|(name, _)| *name)
        .collect();
    match names.as_slice() {
        // A source that is not done has been refused by name.
        [] if out.refused_within(at) => None,
        [] => {
            out.refuse(
                at,
                "it has no source",
                "add one, such as `emptyDisk: {capacity: 1Gi}`",
            );
            None
        }
        [_] => the_source(volume, at, out),
        [first, second, ..] => {
            out.refuse(
                at,
                format!("it has both `{first}` and `{second}`"),
                "a volume has one source: keep one",
            );
            None
        }
    }
}

fn the_source(volume: &Volume, at: &Path, out: &mut Findings) -> Option<Source> {
    if let Some(disk) = &volume.container_disk {
        let image = required(
            &disk.image,
            &at.key("containerDisk").key("image"),
            "name the image",
            out,
        )?;
        Some(Source::ContainerDisk { image })
    } else if let Some(claim) = &volume.persistent_volume_claim {
        let at = at.key("persistentVolumeClaim").key("claimName");
        let claim = required(&claim.claim_name, &at, "name the claim", out)?;
        Some(Source::Claim { claim })
    } else if let Some(data_volume) = &volume.data_volume {
        let at = at.key("dataVolume").key("name");
        let claim = required(&data_volume.name, &at, "name the data volume", out)?;
        Some(Source::Claim { claim })
    } else if let Some(disk) = &volume.host_disk {
        host_disk(disk, &at.key("hostDisk"), out)
    } else if let Some(disk) = &volume.empty_disk {
        let at = at.key("emptyDisk").key("capacity");
        let capacity = capacity(disk.capacity.as_ref(), &at, out)?;
        if capacity.0 > LARGEST_QCOW2 {
            out.refuse(
                &at,
                format!("`{capacity}` is more than the 2Pi that a qcow2 image holds"),
                "ask for less: it is made as qcow2, and takes no more space than the guest writes",
            );
            return None;
        }
        Some(Source::EmptyDisk { capacity })
    } else {
        let seed = volume.cloud_init_no_cloud.as_ref()?;
        Some(Source::CloudInitNoCloud(no_cloud(
            seed,
            &at.key("cloudInitNoCloud"),
            out,
        )))
    }
}

fn required(value: &Option<String>, at: &Path, hint: &str, out: &mut Findings) -> Option<String> {
    let text = given(value);
    if text.is_none() {
        out.refuse(at, "it is missing", hint);
    }
    text.map(str::to_owned)
}

fn capacity(
    quantity: Option<&crate::quantity::Quantity>,
    at: &Path,
    out: &mut Findings,
) -> Option<Bytes> {
    match quantity {
        Some(quantity) => size(quantity, LEAST_CAPACITY, at, out),
        None => {
            out.refuse(at, "it is missing", "give a size, such as `10Gi`");
            None
        }
    }
}

fn host_disk(written: &mirror::HostDisk, at: &Path, out: &mut Findings) -> Option<Source> {
    let path = required(
        &written.path,
        &at.key("path"),
        "give the path of the image on the host",
        out,
    )
    .and_then(|path| file_path(&path, &at.key("path"), out));
    if given(&written.kind).is_none() {
        out.refuse(
            &at.key("type"),
            "it is missing",
            "use `Disk`, or `DiskOrCreate` with a `capacity`",
        );
        return None;
    }
    let kinds = [("Disk", false), ("DiskOrCreate", true)];
    let creates = choose(
        &written.kind,
        &at.key("type"),
        "a kind of host disk",
        &kinds,
        out,
    )?;
    let at_capacity = at.key("capacity");
    let create = if creates {
        Some(capacity(written.capacity.as_ref(), &at_capacity, out)?)
    } else {
        if written.capacity.is_some() {
            out.refuse(
                &at_capacity,
                "the disk exists and has its own size",
                "remove it, or use `type: DiskOrCreate`",
            );
        }
        None
    };
    Some(Source::HostDisk {
        path: path?,
        create,
    })
}
