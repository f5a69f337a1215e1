use super::*;
use crate::storage::fixture::{claim, container, directory, host_disk, paths, spec};
use crate::storage::qcow2;

fn write(path: &Utf8Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    std::fs::write(path, bytes).expect("a file");
}

fn qcow2(backing: Option<&str>) -> Vec<u8> {
    let backing = backing.map(|path| (Utf8Path::new(path), ImageFormat::Raw));
    let mut image = qcow2::empty(1 << 20, backing).expect("small");
    image.pieces.swap_remove(0).1
}

#[test]
fn only_a_container_disks_bytes_say_its_format() {
    let (_guard, root) = directory();
    let pod = paths(&root);
    write(&root.join("container-disks/disk_0.img"), &qcow2(None));
    write(&root.join("private/vmi-disks/data/disk.img"), &qcow2(None));
    write(&root.join("private/vmi-disks/host/h.img"), &qcow2(None));
    let spec = spec(&[
        ("root", container("i")),
        ("data", claim()),
        ("host", host_disk("/srv/h.img", None)),
    ]);
    let facts = read(&spec, &HostRoot::default(), &BTreeMap::new(), &pod);
    assert_eq!(facts["root"].format, ImageFormat::Qcow2);
    assert_eq!(facts["data"].format, ImageFormat::Raw);
    assert_eq!(facts["host"].format, ImageFormat::Raw);
    assert!(
        facts["data"].preallocated,
        "a small file has all its blocks"
    );
    assert!(!facts["root"].has_backing);
}

#[test]
fn a_header_that_names_another_file_is_seen() {
    let (_guard, root) = directory();
    let image = root.join("evil.img");
    write(&image, &qcow2(Some("/etc/passwd")));
    let spec = spec(&[("root", container("i"))]);
    let given = BTreeMap::from([("root".to_owned(), image.clone())]);
    let facts = read(&spec, &HostRoot::default(), &given, &paths(&root));
    assert!(facts["root"].has_backing);
    assert_eq!(facts["root"].path, image);
}

#[test]
fn what_is_not_there_or_no_image_is_absent() {
    let (_guard, root) = directory();
    let pipe = root.join("pipe");
    nix::unistd::mkfifo(pipe.as_std_path(), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let spec = spec(&[
        ("root", container("i")),
        // A character device of this name exists everywhere, and is no disk.
        ("null", claim()),
        ("pipe", claim()),
        ("tray", Source::Empty),
    ]);
    let given = BTreeMap::from([("pipe".to_owned(), pipe)]);
    let facts = read(&spec, &HostRoot::default(), &given, &paths(&root));
    assert_eq!(facts, BTreeMap::new());
}

#[test]
fn a_device_that_is_no_disk_is_never_opened() {
    let device = HostRoot::default().dev("null");
    let error = open(&device, 0).expect_err("it is no image");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(
        kind(&find(&device).expect("it is there")).expect("known"),
        "character device"
    );
}

#[test]
fn a_sparse_file_is_not_preallocated() {
    let (_guard, root) = directory();
    let image = root.join("sparse.img");
    let file = File::create(&image).expect("a file");
    file.set_len(1 << 30).expect("sparse");
    let spec = spec(&[("data", claim())]);
    let given = BTreeMap::from([("data".to_owned(), image)]);
    let facts = read(&spec, &HostRoot::default(), &given, &paths(&root));
    assert_eq!(facts["data"].size, Bytes::GIB);
    assert!(!facts["data"].preallocated);
}

#[test]
fn a_fixture_tree_says_nothing_of_the_machine() {
    let (_guard, root) = directory();
    let pod = PodPaths::default();
    let below = paths::claim_file(&pod, "data");
    let host = HostRoot::new(root.clone());
    write(&host.at(&below), b"bytes");
    // Somebody's file, and no device.
    write(&host.dev("plain"), b"bytes");
    let spec = spec(&[
        ("data", claim()),
        ("plain", claim()),
        (
            "scratch",
            Source::EmptyDisk {
                capacity: Bytes::GIB,
            },
        ),
    ]);
    let facts = read(&spec, &host, &BTreeMap::new(), &pod);
    assert_eq!(facts["data"].path, below);
    assert!(!facts["data"].direct_io && !facts["data"].preallocated);
    assert!(!facts.contains_key("plain"));
    assert!(!facts.contains_key("scratch"));
}

#[test]
fn whether_a_new_file_takes_direct_io_is_asked_without_a_trace() {
    let (_guard, root) = directory();
    let spec = spec(&[(
        "scratch",
        Source::EmptyDisk {
            capacity: Bytes::GIB,
        },
    )]);
    let facts = read(&spec, &HostRoot::default(), &BTreeMap::new(), &paths(&root));
    let tried = root.join("tried");
    File::create(&tried).expect("a file");
    assert_eq!(
        facts["scratch"].direct_io,
        open(&tried, libc::O_DIRECT).is_ok()
    );
    std::fs::remove_file(&tried).expect("ours");
    assert_eq!(std::fs::read_dir(&root).expect("readable").count(), 0);
}
