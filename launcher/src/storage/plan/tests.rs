use super::*;
use crate::spec::disk::NoCloud;
use crate::storage::fixture::{claim, container, host_disk, spec};

fn facts(path: &str, format: ImageFormat) -> ImageFacts {
    ImageFacts {
        path: path.into(),
        block: false,
        format,
        has_backing: false,
        unread: None,
        size: Bytes::GIB,
        direct_io: true,
        preallocated: false,
    }
}

fn given(paths: &[(&str, &str)]) -> BTreeMap<String, Utf8PathBuf> {
    let paths = paths.iter();
    paths
        .map(|(name, path)| ((*name).to_owned(), Utf8PathBuf::from(path)))
        .collect()
}

/// One of each kind.
fn sources() -> Vec<(&'static str, Source)> {
    vec![
        ("root", container("quay.io/fedora:40")),
        ("data", claim()),
        ("raw", claim()),
        (
            "scratch",
            Source::EmptyDisk {
                capacity: Bytes::GIB,
            },
        ),
        ("host", host_disk("/srv/images/host.img", None)),
        (
            "made",
            host_disk("/srv/images/made.img", Some(Bytes(1 << 31))),
        ),
        (
            "seed",
            Source::CloudInitNoCloud(NoCloud {
                user_data: b"#cloud-config\n".to_vec(),
                network_data: Some(b"version: 2\n".to_vec()),
            }),
        ),
        ("tray", Source::Empty),
    ]
}

#[test]
fn every_kind_lies_where_kubevirt_has_it() {
    let root = "/var/run/kubevirt/container-disks/disk_0.img";
    let data = "/var/run/kubevirt-private/vmi-disks/data/disk.img";
    let host = "/var/run/kubevirt-private/vmi-disks/host/host.img";
    let images = BTreeMap::from([
        ("root".to_owned(), facts(root, ImageFormat::Qcow2)),
        (
            "data".to_owned(),
            ImageFacts {
                preallocated: true,
                ..facts(data, ImageFormat::Raw)
            },
        ),
        (
            "raw".to_owned(),
            ImageFacts {
                block: true,
                preallocated: true,
                ..facts("/dev/raw", ImageFormat::Raw)
            },
        ),
        (
            "host".to_owned(),
            ImageFacts {
                direct_io: false,
                ..facts(host, ImageFormat::Raw)
            },
        ),
    ]);
    let spec = spec(&sources());
    let planned = plan(&spec, &images, &BTreeMap::new(), &PodPaths::default());
    insta::assert_json_snapshot!("every_kind", planned.expect("no violation"));
}

#[test]
fn a_plan_made_where_nothing_is_says_what_it_assumed() {
    let spec = spec(&sources());
    let planned = plan(
        &spec,
        &BTreeMap::new(),
        &BTreeMap::new(),
        &PodPaths::default(),
    );
    insta::assert_json_snapshot!("nothing_there", planned.expect("no violation"));
}

#[test]
fn given_paths_stand_for_the_pods() {
    let spec = spec(&sources());
    let given = given(&[("root", "/img/root.qcow2"), ("data", "/img/data.qcow2")]);
    let given = local_paths(&spec, &given, &PodPaths::default());
    let (plan, notices) =
        plan(&spec, &BTreeMap::new(), &given, &PodPaths::default()).expect("no violation");
    let path = |name: &str| {
        let disk = plan.disks.iter().find(|disk| disk.name == name);
        let layer = disk.and_then(|disk| disk.backing.as_ref().or(disk.top.as_ref()));
        layer.expect("planned").path.as_str()
    };
    assert_eq!(path("root"), "/img/root.qcow2");
    assert_eq!(path("data"), "/img/data.qcow2");
    assert_eq!(path("host"), "/srv/images/host.img");
    assert_eq!(path("made"), "/srv/images/made.img");
    // Never `/dev/raw` outside a pod.
    assert_eq!(
        path("raw"),
        "/var/run/kubevirt-private/vmi-disks/raw/disk.img"
    );
    let raw = notices
        .iter()
        .find(|notice| notice.path == "spec.volumes[1]");
    assert!(raw.expect("a notice").message.contains("as raw bytes"));
}

#[test]
fn every_wrong_path_is_told() {
    let spec = spec(&sources());
    let given = given(&[("rot", "/img/a"), ("scratch", "/img/b"), ("data", "c.img")]);
    let violations = plan(&spec, &BTreeMap::new(), &given, &PodPaths::default());
    insta::assert_json_snapshot!("wrong_paths", violations.expect_err("three violations"));
}

#[test]
fn a_container_disk_that_names_another_file_is_refused() {
    let hostile = ImageFacts {
        has_backing: true,
        ..facts("/img/root.qcow2", ImageFormat::Qcow2)
    };
    let images = BTreeMap::from([("root".to_owned(), hostile)]);
    let spec = spec(&sources());
    let violations = plan(&spec, &images, &BTreeMap::new(), &PodPaths::default());
    let violations = violations.expect_err("one violation");
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].path, "spec.volumes[0].containerDisk.image");
}

#[test]
fn a_container_disk_that_does_not_answer_is_refused() {
    let silent = ImageFacts {
        unread: Some("it hangs".to_owned()),
        ..facts("/img/root.qcow2", ImageFormat::Raw)
    };
    let images = BTreeMap::from([("root".to_owned(), silent)]);
    let spec = spec(&sources());
    let violations = plan(&spec, &images, &BTreeMap::new(), &PodPaths::default());
    let violations = violations.expect_err("one violation");
    insta::assert_snapshot!(violations[0].to_string(), @"spec.volumes[0].containerDisk.image: what `quay.io/fedora:40` (`/var/run/kubevirt/container-disks/disk_0.img`) is cannot be told: it hangs; see that the file answers, by `head -c 104` of it");
    assert_eq!(violations.len(), 1);
}

#[test]
fn two_seeds_and_a_path_without_a_file_are_refused() {
    let seed = || Source::CloudInitNoCloud(NoCloud::default());
    let spec = spec(&[
        ("one", seed()),
        ("two", seed()),
        ("host", host_disk("/", None)),
    ]);
    let violations = plan(
        &spec,
        &BTreeMap::new(),
        &BTreeMap::new(),
        &PodPaths::default(),
    );
    let paths: Vec<_> = violations
        .expect_err("two violations")
        .into_iter()
        .map(|violation| violation.path)
        .collect();
    assert_eq!(paths, ["spec.volumes[2].hostDisk.path", "spec.volumes"]);
}

#[test]
fn a_plan_survives_its_wire() {
    let spec = spec(&sources());
    let (plan, _) = plan(
        &spec,
        &BTreeMap::new(),
        &BTreeMap::new(),
        &PodPaths::default(),
    )
    .expect("no violation");
    let text = serde_json::to_string(&plan).expect("serialises");
    assert_eq!(
        serde_json::from_str::<StoragePlan>(&text).expect("parses"),
        plan
    );
}
