use std::os::unix::fs::{MetadataExt, symlink};

use super::*;
use crate::storage::fixture::directory;

fn layer(path: &Utf8Path, format: ImageFormat) -> Layer {
    Layer {
        path: path.to_owned(),
        format,
        block: false,
    }
}

fn disk(name: &str, top: Layer, backing: Option<Layer>) -> DiskImage {
    DiskImage {
        name: name.into(),
        top: Some(top),
        backing,
        direct_io: None,
        preallocated: false,
    }
}

/// An overlay over a raw image, an empty disk, a host disk to be made and a seed.
fn everything(root: &Utf8Path) -> StoragePlan {
    let image = root.join("image.raw");
    std::fs::write(&image, vec![7; 10_000]).expect("an image");
    let overlay = root.join("ephemeral/disk-data/root/disk.qcow2");
    StoragePlan {
        make: vec![
            Make::Overlay {
                path: overlay.clone(),
                backing: image.clone(),
                backing_format: ImageFormat::Raw,
            },
            Make::EmptyQcow2 {
                path: root.join("libvirt/empty-disks/scratch.qcow2"),
                size: Bytes::GIB,
            },
            Make::SparseRaw {
                path: root.join("private/vmi-disks/host/host.img"),
                size: Bytes::MIB,
            },
            Make::NoCloudIso {
                path: root.join("ephemeral/cloud-init-data/shop/web/noCloud.iso"),
                meta_data: "{}".into(),
                user_data: seed::encode(b"#cloud-config"),
                network_data: None,
            },
        ],
        disks: vec![disk(
            "root",
            layer(&overlay, ImageFormat::Qcow2),
            Some(layer(&image, ImageFormat::Raw)),
        )],
    }
}

fn names(root: &Utf8Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).expect("readable");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

fn outcomes(prepared: &Prepared) -> Vec<Outcome> {
    prepared.steps.iter().map(|step| step.outcome).collect()
}

#[test]
fn what_guests_wrote_is_kept_and_what_is_thrown_away_is_fresh() {
    use Outcome::{Kept, Made};
    let (_guard, root) = directory();
    let plan = everything(&root);
    let first = prepare(&plan).expect("first start");
    assert_eq!(outcomes(&first), [Made, Made, Made, Made]);
    for make in &plan.make {
        std::fs::write(make.path(), b"written by a guest").expect("writable");
    }
    let second = prepare(&plan).expect("second start");
    assert_eq!(outcomes(&second), [Made, Kept, Kept, Made]);
    let start = |index: usize| std::fs::read(plan.make[index].path()).expect("there")[..4].to_vec();
    assert_eq!(start(0), b"QFI\xfb");
    assert_eq!(start(1), b"writ");
    assert_eq!(start(2), b"writ");
    assert_eq!(start(3), [0; 4]);
    // What the first start made, a later one uses: undoing the second removes its own alone.
    assert!(second.undo().is_empty());
    assert!(!plan.make[0].path().exists());
    assert!(plan.make[1].path().exists() && plan.make[2].path().exists());
}

#[test]
fn undo_leaves_nothing_of_ours() {
    let (_guard, root) = directory();
    let plan = everything(&root);
    let prepared = prepare(&plan).expect("made");
    assert_eq!(
        names(&root),
        ["ephemeral", "image.raw", "libvirt", "private"]
    );
    assert!(prepared.undo().is_empty());
    assert_eq!(names(&root), ["image.raw"]);
}

#[test]
fn undo_leaves_everything_of_others() {
    let (_guard, root) = directory();
    let plan = everything(&root);
    let prepared = prepare(&plan).expect("made");
    let theirs = root.join("libvirt/empty-disks/other.qcow2");
    std::fs::write(&theirs, b"theirs").expect("writable");
    let replaced = plan.make[0].path();
    std::fs::write(root.join("newer"), b"newer").expect("writable");
    std::fs::rename(root.join("newer"), replaced).expect("renamed");
    assert!(prepared.undo().is_empty());
    assert_eq!(std::fs::read(&theirs).expect("kept"), b"theirs");
    assert_eq!(std::fs::read(replaced).expect("kept"), b"newer");
}

#[test]
fn one_failure_undoes_the_rest() {
    let (_guard, root) = directory();
    let mut plan = everything(&root);
    // A directory in the place of a file.
    let taken = root.join("taken");
    std::fs::create_dir(&taken).expect("a directory");
    plan.make.push(Make::EmptyQcow2 {
        path: taken.clone(),
        size: Bytes::GIB,
    });
    plan.make.push(Make::EmptyQcow2 {
        path: root.join("none.qcow2"),
        size: Bytes(0),
    });
    let failed = prepare(&plan).expect_err("two failures");
    assert!(matches!(&failed.errors[..], [
        StorageError::NotAFile { path },
        StorageError::Qcow2 { .. },
    ] if *path == taken));
    assert!(failed.left_behind.is_empty());
    assert_eq!(names(&root), ["image.raw", "taken"]);
}

#[test]
fn all_missing_images_are_told_before_anything_is_made() {
    let (_guard, root) = directory();
    let mut plan = everything(&root);
    std::fs::remove_file(root.join("image.raw")).expect("there");
    let data = root.join("data.img");
    plan.disks
        .push(disk("data", layer(&data, ImageFormat::Raw), None));
    let odd = layer(&root, ImageFormat::Raw);
    plan.disks.push(disk("odd", odd, None));
    let failed = prepare(&plan).expect_err("nothing is there");
    let told = failed.to_string().replace(root.as_str(), "ROOT");
    assert_eq!(names(&root), Vec::<String>::new());
    insta::assert_snapshot!(told, @r"
    disk `root`: `ROOT/image.raw` does not exist; in a pod virt-handler mounts it there, elsewhere `--disk root=PATH` names an image
    disk `data`: `ROOT/data.img` does not exist; check that the volume is mounted there, or name an image with `--disk data=PATH`
    disk `odd`: `ROOT` is a directory, not a regular file
    ");
}

/// Makes another user the owner of a link.
fn give_away(link: &Utf8Path) {
    let nobody = Some(nix::unistd::Uid::from_raw(65534));
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        link.as_std_path(),
        nobody,
        None,
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .expect("run as root: a link is given to another user");
}

#[test]
fn a_link_in_a_directory_of_ours_leads_nowhere() {
    let (_guard, root) = directory();
    let elsewhere = root.join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    let planted = root.join("ephemeral/disk-data");
    std::fs::create_dir(root.join("ephemeral")).expect("a directory");
    symlink(&elsewhere, &planted).expect("a link");
    give_away(&planted);
    let failed = prepare(&everything(&root)).expect_err("a planted link");
    assert!(matches!(
        &failed.errors[..],
        [StorageError::ForeignLink { link, owner: 65534 }] if *link == planted
    ));
    assert_eq!(names(&elsewhere), Vec::<String>::new());
}

#[test]
fn a_link_in_a_files_place_is_replaced_or_refused_but_never_followed() {
    let (_guard, root) = directory();
    let mut plan = everything(&root);
    let victim = root.join("victim");
    std::fs::write(&victim, b"precious").expect("writable");
    for make in &plan.make {
        std::fs::create_dir_all(make.path().parent().expect("a parent")).expect("directories");
    }
    // In the place of the overlay, and of the file that it is before it is whole.
    let overlay = plan.make[0].path().to_owned();
    symlink(&victim, &overlay).expect("a link");
    symlink(&victim, format!("{overlay}.new")).expect("a link");
    prepare(&plan).expect("replaced");
    assert!(
        std::fs::symlink_metadata(&overlay)
            .expect("there")
            .is_file()
    );
    // In the place of a file that would be kept.
    let kept = root.join("kept.img");
    symlink(&victim, &kept).expect("a link");
    plan.make = vec![Make::SparseRaw {
        path: kept.clone(),
        size: Bytes::MIB,
    }];
    let failed = prepare(&plan).expect_err("a link");
    assert!(matches!(&failed.errors[..], [StorageError::NotAFile { path }] if *path == kept));
    assert_eq!(std::fs::read(&victim).expect("there"), b"precious");
}

#[test]
fn links_are_followed_where_their_maker_may_lead_us() {
    let (_guard, root) = directory();
    std::fs::create_dir_all(root.join("run/deep")).expect("directories");
    std::fs::create_dir(root.join("var")).expect("a directory");
    symlink("../run", root.join("var/run")).expect("a link");
    let mut plan = everything(&root);
    plan.make.truncate(1);
    plan.disks.clear();
    let path = root.join("var/run/kubevirt/disk.qcow2");
    if let Make::Overlay { path: overlay, .. } = &mut plan.make[0] {
        *overlay = path;
    }
    prepare(&plan).expect("run as root: links of root are followed");
    assert!(root.join("run/kubevirt/disk.qcow2").exists());
    // A user's own links lead to that user's images.
    let image = root.join("var/run/user/host.img");
    symlink("deep", root.join("run/user")).expect("a link");
    give_away(&root.join("run/user"));
    plan.make = vec![Make::SparseRaw {
        path: image.clone(),
        size: Bytes::MIB,
    }];
    prepare(&plan).expect("followed");
    assert!(root.join("run/deep/host.img").exists());
    // A circle of them ends.
    symlink("b", root.join("a")).expect("a link");
    symlink("a", root.join("b")).expect("a link");
    plan.make = vec![Make::EmptyQcow2 {
        path: root.join("a/x.img"),
        size: Bytes::MIB,
    }];
    let failed = prepare(&plan).expect_err("a circle");
    assert!(failed.to_string().contains("Too many"), "{failed}");
}

#[test]
fn images_are_sparse_and_for_their_group_to_read_at_most() {
    let (_guard, root) = directory();
    let plan = everything(&root);
    prepare(&plan).expect("made");
    for make in &plan.make {
        let metadata = std::fs::metadata(make.path()).expect("there");
        assert_eq!(metadata.mode() & 0o137, 0, "{}", make.path());
        assert!(metadata.blocks() * 512 <= 600_000, "{}", make.path());
    }
}

#[test]
fn a_backing_image_that_changed_since_the_plan_is_refused() {
    let (_guard, root) = directory();
    let plan = everything(&root);
    let image = root.join("image.raw");
    let evil = qcow2::empty(512, Some((Utf8Path::new("/etc/passwd"), ImageFormat::Raw)));
    std::fs::write(&image, &evil.expect("small").pieces[0].1).expect("writable");
    let failed = prepare(&plan).expect_err("it is qcow2 now");
    assert!(matches!(
        &failed.errors[..],
        [StorageError::FormatChanged { .. }]
    ));
    let make = virtual_size(&image, ImageFormat::Qcow2);
    assert!(matches!(make, Err(StorageError::NamesOtherFile { .. })));
}

#[test]
fn a_disk_short_of_room_by_a_little_is_smaller_and_by_a_lot_is_refused() {
    let wanted = Bytes(100 << 20);
    assert_eq!(tolerated(wanted, Bytes::GIB), Some(wanted));
    assert_eq!(tolerated(wanted, wanted), Some(wanted));
    assert_eq!(
        tolerated(wanted, Bytes((95 << 20) + 1)),
        Some(Bytes(95 << 20))
    );
    assert_eq!(tolerated(wanted, Bytes(90 << 20)), Some(Bytes(90 << 20)));
    assert_eq!(tolerated(wanted, Bytes((90 << 20) - 1)), None);
    assert_eq!(tolerated(Bytes(1), Bytes(0)), None);
    assert_eq!(tolerated(Bytes(u64::MAX), Bytes(1)), None);

    let (_guard, root) = directory();
    let plan = StoragePlan {
        make: vec![Make::SparseRaw {
            path: root.join("sub/huge.img"),
            size: Bytes(u64::MAX),
        }],
        disks: Vec::new(),
    };
    let failed = prepare(&plan).expect_err("no file system is so large");
    assert!(matches!(&failed.errors[..], [StorageError::NoRoom { .. }]));
    assert_eq!(names(&root), Vec::<String>::new());
}
