//! Images that we make, as `qemu-img`, `qemu-io`, `xorriso`, `blkid` and a running QEMU see them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use hugepages::Bytes;
use launcher::host::ImageFormat;
use launcher::storage::lock::{Access, locked};
use launcher::storage::plan::{DiskImage, Layer, Make, StoragePlan};
use launcher::storage::prepare::prepare;
use launcher::storage::{StorageError, seed};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use serde_json::{Value, json};

fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = Utf8Path::from_path(directory.path()).expect("UTF-8");
    let path = path.to_owned();
    (directory, path)
}

/// Runs a tool that the suite needs; its standard output.
fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs `{tool}`: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json_of(tool: &str, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(tool, arguments)).expect("JSON")
}

/// `qemu-io` exits 0 when a pattern does not match, and says so.
fn qemu_io(image: &Utf8Path, command: &str) {
    let said = run("qemu-io", &["-f", "qcow2", "-c", command, image.as_str()]);
    assert!(!said.contains("fail"), "{command}: {said}");
}

fn check(image: &Utf8Path) {
    let report = json_of(
        "qemu-img",
        &["check", "--output=json", "-f", "qcow2", image.as_str()],
    );
    for wrong in ["corruptions", "leaks", "check-errors"] {
        let count = report.get(wrong).and_then(Value::as_u64).unwrap_or(0);
        assert_eq!(count, 0, "{wrong} in {image}");
    }
}

fn make(make: Make) {
    let plan = StoragePlan {
        make: vec![make],
        disks: Vec::new(),
    };
    prepare(&plan).unwrap_or_else(|error| panic!("{error}"));
}

/// Makes an empty image of `size` and has QEMU use its last bytes.
fn empty_image_serves(size: u64) {
    let (_guard, root) = directory();
    let path = root.join("empty.qcow2");
    make(Make::EmptyQcow2 {
        path: path.clone(),
        size: Bytes(size),
    });
    check(&path);
    let info = json_of(
        "qemu-img",
        &["info", "--output=json", "-f", "qcow2", path.as_str()],
    );
    let seen = info["virtual-size"].as_u64().expect("a size");
    assert_eq!(seen, size.next_multiple_of(512));
    assert_eq!(info.get("backing-filename"), None);
    let last = seen - 512;
    qemu_io(&path, &format!("read -P 0 {last} 512"));
    qemu_io(&path, &format!("write -P 0xab {last} 512"));
    qemu_io(&path, &format!("read -P 0xab {last} 512"));
    check(&path);
}

#[test]
fn qemu_takes_empty_images_at_the_edges_of_their_tables() {
    // A sector, an L1 entry (512 MiB) and its neighbours, a cluster of L1 entries (4 TiB) and the next sector.
    for size in [
        1,
        512,
        513,
        1 << 29,
        (1 << 29) + 512,
        1 << 42,
        (1 << 42) + 512,
    ] {
        empty_image_serves(size);
    }
}

/// The largest that clusters of 64 KiB hold: a full L1 table.
#[test]
fn qemu_takes_the_largest_empty_image() {
    let (_guard, root) = directory();
    let path = root.join("empty.qcow2");
    make(Make::EmptyQcow2 {
        path: path.clone(),
        size: Bytes(1 << 51),
    });
    check(&path);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn qemu_takes_empty_images_of_any_size(size in 1u64..(64 << 40)) {
        empty_image_serves(size);
    }
}

/// An image of `format` whose guest sees `bytes`.
fn image(path: &Utf8Path, format: ImageFormat, bytes: &[u8]) {
    let raw = path.with_extension("source");
    std::fs::write(&raw, bytes).expect("writable");
    match format {
        ImageFormat::Raw => std::fs::rename(&raw, path).expect("writable"),
        ImageFormat::Qcow2 => {
            let arguments = [
                "convert",
                "-f",
                "raw",
                "-O",
                "qcow2",
                raw.as_str(),
                path.as_str(),
            ];
            run("qemu-img", &arguments);
        }
    }
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Raw => "raw",
        ImageFormat::Qcow2 => "qcow2",
    }
}

#[test]
fn an_overlay_shows_its_image_and_keeps_writes_to_itself() {
    for (format, length) in [
        (ImageFormat::Raw, 1 << 20),
        (ImageFormat::Raw, 100_001),
        (ImageFormat::Qcow2, 3 << 20),
    ] {
        let (_guard, root) = directory();
        // A comma and a colon, as QEMU's own file name syntax would take them apart.
        let backing = root.join("image, with: odd name");
        image(&backing, format, &vec![0x5a; length]);
        let before = std::fs::read(&backing).expect("readable");
        let path = root.join("deep/er/overlay.qcow2");
        make(Make::Overlay {
            path: path.clone(),
            backing: backing.clone(),
            backing_format: format,
        });
        check(&path);
        let info = json_of(
            "qemu-img",
            &["info", "--output=json", "-f", "qcow2", path.as_str()],
        );
        assert_eq!(info["full-backing-filename"], backing.as_str());
        assert_eq!(info["backing-filename-format"], name(format));
        let arguments = [
            "compare",
            "-f",
            "qcow2",
            "-F",
            name(format),
            path.as_str(),
            backing.as_str(),
        ];
        run("qemu-img", &arguments);
        qemu_io(&path, "write -P 0xab 512 1024");
        qemu_io(&path, "read -P 0xab 512 1024");
        qemu_io(&path, "read -P 0x5a 2048 4096");
        check(&path);
        assert!(
            std::fs::read(&backing).expect("readable") == before,
            "the image changed"
        );
    }
}

/// A paused QEMU with QMP on its standard streams, whose block layer has been opened when this exists.
struct Qemu {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Qemu {
    fn start(arguments: &[String]) -> Self {
        let mut process = Command::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-S"])
            .args([
                "-accel", "tcg", "-machine", "q35", "-m", "64", "-qmp", "stdio",
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs `qemu-system-x86_64`");
        let requests = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut qemu = Self {
            process,
            requests,
            answers,
        };
        qemu.execute("qmp_capabilities");
        qemu
    }

    /// Sends a command, skips greeting and events, and gives what the command returned.
    fn execute(&mut self, command: &str) -> Value {
        writeln!(self.requests, "{}", json!({ "execute": command })).expect("QEMU runs");
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("readable");
            assert!(read > 0, "QEMU ended before it answered `{command}`");
            let mut answer: Value = serde_json::from_str(&line).expect("JSON");
            assert!(answer.get("error").is_none(), "{answer}");
            if let Some(value) = answer.get_mut("return") {
                return value.take();
            }
        }
    }

    fn quit(mut self) {
        self.execute("quit");
        assert!(self.process.wait().expect("our child").success());
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // For a test that failed; one that went well has quit already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `-blockdev` for one layer, over the node `backing` where there is one.
fn blockdev(node: &str, layer: &Layer, read_only: bool, backing: Option<&str>) -> [String; 2] {
    let driver = if layer.block { "host_device" } else { "file" };
    let mut options = json!({
        "node-name": node,
        "driver": name(layer.format),
        "read-only": read_only,
        "file": { "driver": driver, "filename": layer.path, "read-only": read_only },
    });
    if layer.format == ImageFormat::Qcow2 {
        options["backing"] = json!(backing);
    }
    ["-blockdev".to_owned(), options.to_string()]
}

fn device(node: &str) -> [String; 2] {
    let device = json!({ "driver": "virtio-blk-pci", "id": format!("disk-{node}"), "drive": node });
    ["-device".to_owned(), device.to_string()]
}

fn layer(path: &Utf8Path, format: ImageFormat) -> Layer {
    Layer {
        path: path.to_owned(),
        format,
        block: false,
    }
}

fn disk(name: &str, top: Layer, backing: Option<Layer>) -> DiskImage {
    DiskImage {
        name: name.to_owned(),
        top: Some(top),
        backing,
        direct_io: None,
        preallocated: false,
    }
}

#[test]
fn qemu_opens_every_chain() {
    let (_guard, root) = directory();
    let image_path = root.join("image.qcow2");
    image(&image_path, ImageFormat::Qcow2, &[1; 1 << 20]);
    let path = |name: &str| root.join(name);
    let backing = layer(&image_path, ImageFormat::Qcow2);
    let plan = StoragePlan {
        make: vec![
            Make::Overlay {
                path: path("overlay.qcow2"),
                backing: image_path.clone(),
                backing_format: ImageFormat::Qcow2,
            },
            Make::EmptyQcow2 {
                path: path("empty.qcow2"),
                size: Bytes::GIB,
            },
            Make::SparseRaw {
                path: path("host.img"),
                size: Bytes::MIB,
            },
            Make::NoCloudIso {
                path: path("noCloud.iso"),
                meta_data: "{}".into(),
                user_data: seed::encode(b"#cloud-config\n"),
                network_data: None,
            },
        ],
        disks: vec![
            disk(
                "root",
                layer(&path("overlay.qcow2"), ImageFormat::Qcow2),
                Some(backing),
            ),
            disk(
                "scratch",
                layer(&path("empty.qcow2"), ImageFormat::Qcow2),
                None,
            ),
            disk("host", layer(&path("host.img"), ImageFormat::Raw), None),
            disk("seed", layer(&path("noCloud.iso"), ImageFormat::Raw), None),
        ],
    };
    prepare(&plan).unwrap_or_else(|error| panic!("{error}"));
    let mut arguments = Vec::new();
    for disk in &plan.disks {
        let below = format!("{}-backing", disk.name);
        let backing = disk.backing.as_ref().map(|layer| {
            arguments.extend(blockdev(&below, layer, true, None));
            below.as_str()
        });
        let top = disk.top.as_ref().expect("every disk has an image");
        arguments.extend(blockdev(&disk.name, top, false, backing));
        arguments.extend(device(&disk.name));
    }
    let mut qemu = Qemu::start(&arguments);
    let disks = qemu.execute("query-block");
    let size = |disk: usize| disks[disk]["inserted"]["image"]["virtual-size"].as_u64();
    assert_eq!(size(0), Some(1 << 20));
    assert_eq!(size(1), Some(1 << 30));
    assert_eq!(size(2), Some(1 << 20));
    let iso = std::fs::metadata(path("noCloud.iso")).expect("there").len();
    assert_eq!(size(3), Some(iso));
    // A second start would share every disk with the first.
    let failed = prepare(&plan).expect_err("all but the image below the overlay are in use");
    let names: Vec<_> = failed
        .errors
        .iter()
        .map(|error| match error {
            StorageError::InUse { disk, .. } => disk.as_str(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(names, ["root", "scratch", "host", "seed"]);
    qemu.quit();
    prepare(&plan).unwrap_or_else(|error| panic!("nobody has them now: {error}"));
}

/// A loop device, detached when the test ends.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach", &self.0]);
    }
}

#[test]
fn a_block_device_is_told_from_a_file() {
    let (_guard, root) = directory();
    let path = root.join("disk.img");
    image(&path, ImageFormat::Raw, &[0; 1 << 20]);
    let attached = Loop(
        run("losetup", &["--find", "--show", path.as_str()])
            .trim()
            .to_owned(),
    );
    let mut top = layer(Utf8Path::new(&attached.0), ImageFormat::Raw);
    let plan = |top: &Layer| StoragePlan {
        make: Vec::new(),
        disks: vec![disk("data", top.clone(), None)],
    };
    let failed = prepare(&plan(&top)).expect_err("planned as a file");
    let told = failed.to_string();
    assert!(
        told.ends_with("is a block device, not a regular file"),
        "{told}"
    );
    top.block = true;
    prepare(&plan(&top)).unwrap_or_else(|error| panic!("{error}"));
    let mut arguments = Vec::new();
    arguments.extend(blockdev("data", &top, false, None));
    arguments.extend(device("data"));
    let mut qemu = Qemu::start(&arguments);
    let disks = qemu.execute("query-block");
    let size = disks[0]["inserted"]["image"]["virtual-size"].as_u64();
    assert_eq!(size, Some(1 << 20));
    assert!(matches!(
        &prepare(&plan(&top)).expect_err("in use").errors[..],
        [StorageError::InUse { .. }]
    ));
    qemu.quit();
}

#[test]
fn an_image_that_a_qemu_holds_is_seen_to_be_in_use() {
    let (_guard, root) = directory();
    let path = root.join("disk.img");
    image(&path, ImageFormat::Raw, &[0; 1 << 20]);
    let ask = |access| locked(&path, access).expect("readable");
    assert!(!ask(Access::Read) && !ask(Access::Write));
    for (read_only, kept_from) in [(false, (true, true)), (true, (false, true))] {
        let mut arguments = Vec::new();
        arguments.extend(blockdev(
            "disk",
            &layer(&path, ImageFormat::Raw),
            read_only,
            None,
        ));
        arguments.extend(device("disk"));
        let qemu = Qemu::start(&arguments);
        assert_eq!(
            (ask(Access::Read), ask(Access::Write)),
            kept_from,
            "read-only: {read_only}"
        );
        qemu.quit();
        assert!(!ask(Access::Read) && !ask(Access::Write), "released");
    }
}

/// A tmpfs of 128 KiB that this thread, and those it starts, alone see.
fn small_file_system(at: &Utf8Path) {
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    unshare(CloneFlags::CLONE_NEWNS).expect("this test needs root");
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private");
    std::fs::create_dir(at).expect("writable");
    let (kind, options) = (Some("tmpfs"), Some("size=128k"));
    mount(kind, at.as_std_path(), kind, MsFlags::empty(), options).expect("a tmpfs");
}

#[test]
fn a_full_and_a_read_only_file_system_are_told_as_such() {
    let (_guard, root) = directory();
    let small = root.join("small");
    small_file_system(&small);
    let seed = Make::NoCloudIso {
        path: small.join("seeds/noCloud.iso"),
        meta_data: "{}".into(),
        user_data: seed::encode(&[b'#'; 300_000]),
        network_data: None,
    };
    let disk = Make::EmptyQcow2 {
        path: root.join("elsewhere/empty.qcow2"),
        size: Bytes::GIB,
    };
    let plan = StoragePlan {
        make: vec![disk, seed],
        disks: Vec::new(),
    };
    let told = |plan| {
        let failed = prepare(plan).expect_err("no room");
        assert!(failed.left_behind.is_empty());
        failed.to_string().replace(root.as_str(), "ROOT")
    };
    insta::assert_snapshot!(told(&plan), @"cannot write `ROOT/small/seeds/noCloud.iso.new`: No space left on device (os error 28); free some space there");
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let none = None::<&str>;
    mount(none, small.as_std_path(), none, read_only, none).expect("remounted");
    insta::assert_snapshot!(told(&plan), @"cannot create the directory `ROOT/small/seeds`: Read-only file system (os error 30); mount the file system writable");
    let names = |at: &Utf8Path| std::fs::read_dir(at).expect("readable").count();
    assert_eq!(
        (names(&root), names(&small)),
        (1, 0),
        "nothing of ours stays"
    );
}

#[test]
fn other_tools_read_the_seed_back_by_either_tree() {
    let user_data: Vec<u8> = (0..70_000u32).map(|at| at.to_le_bytes()[0]).collect();
    let (_guard, root) = directory();
    let path = root.join("noCloud.iso");
    make(Make::NoCloudIso {
        path: path.clone(),
        meta_data: r#"{"instance-id":"a"}"#.into(),
        user_data: seed::encode(&user_data),
        network_data: Some(seed::encode(b"version: 2\n")),
    });
    let found = run("blkid", &["-p", "-o", "export", path.as_str()]);
    assert!(found.lines().any(|line| line == "LABEL=cidata"), "{found}");
    assert!(found.lines().any(|line| line == "TYPE=iso9660"), "{found}");
    // Rock Ridge, as Linux reads it; and Joliet, as Windows does.
    for tree in ["any", "norock"] {
        let out = root.join(tree);
        let arguments = [
            "-read_fs",
            tree,
            "-osirrox",
            "on",
            "-indev",
            path.as_str(),
            "-extract",
            "/",
            out.as_str(),
        ];
        run("xorriso", &arguments);
        let read = |name: &str| std::fs::read(out.join(name)).expect("extracted");
        assert_eq!(read("meta-data"), br#"{"instance-id":"a"}"#);
        assert!(read("user-data") == user_data);
        assert_eq!(read("network-config"), b"version: 2\n");
        let count = std::fs::read_dir(&out).expect("extracted").count();
        assert_eq!(count, 3);
        if tree == "any" {
            let metadata = std::fs::metadata(out.join("user-data")).expect("extracted");
            assert_eq!(metadata.mode() & 0o777, 0o600, "root alone reads it");
        }
    }
}
