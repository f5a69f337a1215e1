use std::fs;
use std::io::pipe;

use camino::Utf8Path;

use super::*;
use crate::host::ImageFormat;
use crate::storage::fixture::directory;
use crate::storage::{facts, qcow2};

fn begin(files: Vec<File>, patience: Duration) -> (Reading, Pid) {
    let reading = Reading::begin(files, patience);
    let pid = match &reading.child {
        Some(Ok(child)) => child.pid,
        other => panic!("no child: {other:?}"),
    };
    (reading, pid)
}

fn header(backing: Option<&str>) -> Vec<u8> {
    let backing = backing.map(|path| (Utf8Path::new(path), ImageFormat::Raw));
    let mut image = qcow2::empty(1 << 20, backing).expect("small");
    image.pieces.swap_remove(0).1
}

/// All of one child's images, by what they are.
#[test]
fn hostile_images_are_told_for_what_they_are() {
    let (_guard, root) = directory();
    let image = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        fs::write(&path, bytes).expect("a file");
        facts::open(&path, 0).expect("it is there")
    };
    let with = |at: usize, value: u64| {
        let mut bytes = header(None);
        bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let sparse = root.join("sparse");
    let file = File::create(&sparse).expect("a file");
    file.set_len(1 << 42).expect("sparse");
    let files = vec![
        image("whole", &header(None)),
        image("itself", &header(Some("itself"))),
        image(
            "chain",
            &header(Some("json:{\"file.filename\": \"itself\"}")),
        ),
        image("far", &with(8, u64::MAX)),
        image("apart", &with(72, 1 << 2)),
        image("vast", &with(24, u64::MAX)),
        image("cut", &header(None)[..60]),
        image("empty", b""),
        image("raw", &[0xff; 4096]),
        facts::open(&sparse, 0).expect("it is there"),
    ];
    let told: Vec<String> = Reading::of(files)
        .finish()
        .into_iter()
        .map(|found| match found {
            Ok(None) => "no qcow2".to_owned(),
            Ok(Some(Header {
                virtual_size,
                names_other_file,
            })) => {
                format!(
                    "{virtual_size} {}",
                    if names_other_file {
                        "names another"
                    } else {
                        "whole"
                    }
                )
            }
            Err(error) => error.to_string(),
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
        1048576 whole
        1048576 names another
        1048576 names another
        1048576 names another
        1048576 names another
        18446744073709551615 whole
        no qcow2
        no qcow2
        no qcow2
        no qcow2
        "#);
}

#[test]
fn an_answer_is_remembered_until_the_file_is_written_to() {
    let (_guard, root) = directory();
    let path = root.join("image");
    fs::write(&path, header(None)).expect("a file");
    let open = || facts::open(&path, 0).expect("it is there");
    assert_eq!(of(open()).map(|it| it.is_some()), Ok(true));
    assert!(known().contains_key(&identity(&open()).expect("known")));
    fs::write(&path, header(Some("other"))).expect("a file");
    let found = of(open()).expect("readable").expect("qcow2");
    assert!(found.names_other_file);
}

/// A pipe stands for a file that does not answer.
#[test]
fn a_child_that_hangs_is_confined_and_ended() {
    let (silent, writer) = pipe().expect("a pipe");
    let (_guard, root) = directory();
    let path = root.join("image");
    fs::write(&path, header(None)).expect("a file");
    let good = facts::open(&path, 0).expect("it is there");
    let files = vec![good, File::from(OwnedFd::from(silent))];
    let (reading, pid) = begin(files, Duration::from_secs(2));
    let Some(Ok(child)) = &reading.child else {
        unreachable!()
    };
    // It is past its own steps once it has answered for the first.
    let mut ready = [PollFd::new(child.answers.as_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::NONE).expect("an answer");
    let seen = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).expect("it lives");
    let status = seen("status");
    let told = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.expect("the field is there").trim().to_owned()
    };
    assert_eq!(told("Seccomp:"), "1", "strict");
    assert_eq!(told("NoNewPrivs:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(told(set).trim_matches('0'), "", "{set}");
    }
    let limits = seen("limits");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let words = line.expect("the limit is there").split_whitespace();
        words.take(2).collect::<Vec<_>>().join(" ")
    };
    let all = [
        "cpu time",
        "address space",
        "file size",
        "open files",
        "processes",
        "core file size",
    ]
    .map(|name| format!("{name}: {}", limit(&format!("Max {name}"))));
    insta::assert_snapshot!(all.join(", "), @"cpu time: 1 1, address space: 0 0, file size: 0 0, open files: 0 0, processes: 0 0, core file size: 0 0");
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
    assert_eq!(open.count(), 3, "two images and the answers");
    let found = reading.finish();
    assert!(matches!(found[0], Ok(Some(_))), "{found:?}");
    assert_eq!(found[1], Err(HeaderError::Hangs(Duration::from_secs(2))));
    assert!(
        !Utf8Path::new(&format!("/proc/{pid}")).exists(),
        "it is reaped"
    );
    drop(writer);
}

#[test]
fn who_is_not_waited_for_is_ended() {
    let (silent, _writer) = pipe().expect("a pipe");
    let (reading, pid) = begin(vec![File::from(OwnedFd::from(silent))], PATIENCE);
    drop(reading);
    assert!(
        !Utf8Path::new(&format!("/proc/{pid}")).exists(),
        "it is reaped"
    );
}

#[test]
fn a_child_that_is_killed_is_told() {
    let (silent, _writer) = pipe().expect("a pipe");
    let (reading, pid) = begin(vec![File::from(OwnedFd::from(silent))], PATIENCE);
    kill(pid, Signal::SIGKILL).expect("it is ours");
    let ended = HeaderError::Ended("SIGKILL".to_owned());
    assert_eq!(reading.finish(), [Err(ended)]);
}

#[test]
fn an_image_that_cannot_be_read_is_told() {
    let directory = File::open("/").expect("a directory");
    let found = Reading::of(vec![directory]).finish();
    assert_eq!(found, [Err(HeaderError::Read(Errno::EISDIR))]);
    assert!(
        Reading::of(Vec::new()).child.is_none(),
        "there is nothing to read"
    );
}

#[test]
fn no_answer_is_believed_that_is_none() {
    let mut answer = [0; confined::ANSWER];
    answer[0] = 9;
    assert!(confined::understood(&answer).is_err());
}
